package controller

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	admission "k8s.io/api/admissionregistration/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// checkEvery is how often the certificate is looked at if nothing happens.
const checkEvery = 12 * time.Hour

// Certificates names whose certificate is kept, and where.
type Certificates struct {
	// Service is the webhook's, Secret takes the certificate: both in the namespace of the product.
	Service, Secret string
	// Configuration is the ValidatingWebhookConfiguration whose webhooks at Service get the authority.
	Configuration string
}

func (c *Certificates) check() error {
	if c.Service == "" || c.Secret == "" || c.Configuration == "" {
		return errors.New("the webhook's Service, Secret and configuration must all be named, or certificates be left to somebody else")
	}
	return nil
}

// certificates makes the webhook's certificate, renews it, and tells the API server of its authority.
type certificates struct {
	Certificates
	namespace string
	client    client.Client
	// live reads past the cache: what an old Secret looks like must not replace a new one.
	live    client.Reader
	issuer  *issuer
	log     *slog.Logger
	metrics *metrics
}

func newCertificates(m manager.Manager, cfg Config, metrics *metrics) *certificates {
	return &certificates{
		Certificates: *cfg.Certificates, namespace: cfg.Namespace, client: m.GetClient(), live: m.GetAPIReader(),
		issuer: newIssuer(cfg.Certificates.Service + "." + cfg.Namespace + ".svc"), log: cfg.Log, metrics: metrics,
	}
}

func addCertificates(m manager.Manager, c *certificates) error {
	one := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: c.secretName()}}
	})
	// Neither object need exist for the first look.
	atStart := source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		queue.Add(reconcile.Request{NamespacedName: c.secretName()})
		return nil
	})
	return builder.ControllerManagedBy(m).Named("certificates").
		Watches(&core.Secret{}, one).
		Watches(&admission.ValidatingWebhookConfiguration{}, one).
		WatchesRawSource(atStart).
		Complete(c)
}

func (c *certificates) secretName() types.NamespacedName {
	return types.NamespacedName{Namespace: c.namespace, Name: c.Secret}
}

// Reconcile implements reconcile.Reconciler. There is one request.
func (c *certificates) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	now := time.Now()
	present, before, err := c.secret(ctx, now)
	if err != nil {
		return reconcile.Result{}, err
	}
	until, err := c.inject(ctx, present, before, now)
	if err != nil {
		return reconcile.Result{}, err
	}
	authority, err := first(present.caCert)
	if err != nil {
		return reconcile.Result{}, err
	}
	server, err := first(present.cert)
	if err != nil {
		return reconcile.Result{}, err
	}
	c.metrics.setExpiry(authority, server)
	next := checkEvery
	if !until.IsZero() {
		next = min(next, until.Sub(now)+time.Second)
	}
	for _, end := range []time.Time{authority.NotAfter, server.NotAfter} {
		next = min(next, max(end.Add(-renewBefore).Sub(now)+time.Second, time.Second))
	}
	return reconcile.Result{RequeueAfter: next}, nil
}

// secret returns the chain of the Secret, which it makes or repairs first, and the authority that was there before.
func (c *certificates) secret(ctx context.Context, now time.Time) (present chain, before []byte, err error) {
	found := &core.Secret{}
	err = c.live.Get(ctx, c.secretName(), found)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return chain{}, nil, fmt.Errorf("reading Secret %s: %w", c.secretName(), err)
	}
	old := chainOf(found.Data)
	present, why, err := c.issuer.renew(old, now)
	if err != nil || why == "" {
		return present, nil, err
	}
	if missing {
		why = "there is none"
	}
	if err := c.write(ctx, found, present); err != nil {
		return chain{}, nil, err
	}
	c.log.InfoContext(ctx, "webhook's certificate made", "secret", c.secretName().String(), "why", why, "newAuthority", !bytes.Equal(old.caCert, present.caCert))
	return present, old.caCert, nil
}

// write applies the Secret. A new one is made by the same request, which names it, so that the right to make Secrets can
// be limited to this one.
func (c *certificates) write(ctx context.Context, found *core.Secret, present chain) error {
	secret := map[string]any{
		"apiVersion": "v1", "kind": "Secret",
		"metadata": map[string]any{"namespace": c.namespace, "name": c.Secret},
		"type":     cmp.Or(found.Type, core.SecretTypeTLS), // it cannot be changed, and left out it would be
		"data":     present.data(),
	}
	if found.ResourceVersion != "" {
		// Somebody who was faster wins.
		secret["metadata"].(map[string]any)["resourceVersion"] = found.ResourceVersion
	}
	data, err := json.Marshal(secret)
	if err != nil {
		return fmt.Errorf("encoding Secret %s: %w", c.secretName(), err)
	}
	target := &core.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: c.Secret}}
	if err := c.client.Patch(ctx, target, client.RawPatch(types.ApplyPatchType, data), client.ForceOwnership, client.FieldOwner(fieldOwner)); err != nil {
		return fmt.Errorf("writing Secret %s: %w", c.secretName(), err)
	}
	return nil
}

// inject makes the API server trust the chain's authority, for every webhook at our Service. until is as trust has it.
func (c *certificates) inject(ctx context.Context, present chain, before []byte, now time.Time) (until time.Time, err error) {
	configuration := &admission.ValidatingWebhookConfiguration{}
	err = c.client.Get(ctx, types.NamespacedName{Name: c.Configuration}, configuration)
	if apierrors.IsNotFound(err) {
		return time.Time{}, nil // its coming is watched for
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("reading ValidatingWebhookConfiguration %s: %w", c.Configuration, err)
	}
	var changes []map[string]any
	for _, w := range configuration.Webhooks {
		service := w.ClientConfig.Service
		if service == nil || service.Name != c.Service || service.Namespace != c.namespace {
			continue
		}
		bundle, end, err := trust(present.caCert, [][]byte{w.ClientConfig.CABundle, before}, now)
		if err != nil {
			return time.Time{}, err
		}
		if end.After(until) {
			until = end
		}
		if !bytes.Equal(bundle, w.ClientConfig.CABundle) {
			changes = append(changes, map[string]any{"name": w.Name, "clientConfig": map[string]any{"caBundle": bundle}})
		}
	}
	if len(changes) == 0 {
		return until, nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": configuration.ResourceVersion},
		"webhooks": changes, // merged by name
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("encoding ValidatingWebhookConfiguration %s: %w", c.Configuration, err)
	}
	target := &admission.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: c.Configuration}}
	if err := c.client.Patch(ctx, target, client.RawPatch(types.StrategicMergePatchType, patch), client.FieldOwner(fieldOwner)); err != nil {
		if apierrors.IsConflict(err) {
			// What changed it comes here too, or has come and waits.
			c.log.DebugContext(ctx, "the webhook's configuration changed before it was written", "error", err)
			return now, nil
		}
		return time.Time{}, fmt.Errorf("writing the authority into ValidatingWebhookConfiguration %s: %w", c.Configuration, err)
	}
	c.log.InfoContext(ctx, "webhook's authority told to the API server", "configuration", c.Configuration, "webhooks", len(changes))
	return until, nil
}
