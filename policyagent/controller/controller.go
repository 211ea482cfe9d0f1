package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	admission "k8s.io/api/admissionregistration/v1"
	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/kritis-node/kritis-node/policyagent/nodereport"
	"github.com/kritis-node/kritis-node/policyagent/securitycenter"
)

// LeaseName is the name of the Lease by which replicas agree on who works.
const LeaseName = "kritis-controller"

// fieldOwner is the controller's name as a writer of fields, and reportingController its name in events.
const (
	fieldOwner          = "kritis-controller"
	reportingController = "kritis.grafeas.io/controller"
)

// Config says what a Controller works on.
type Config struct {
	// REST is how the API server is reached.
	REST *rest.Config
	// Namespace is the product's: of node reports, the leader's Lease and the webhook's Secret.
	Namespace string
	// WithoutLeaderElection is for one replica that never runs twice at a time.
	WithoutLeaderElection bool
	// Certificates are made and kept up if set.
	Certificates *Certificates
	// Attestations makes the source of the attestations that are fetched once for all nodes; nil: there is none, and who asks
	// is told so.
	Attestations NewAttestationSource
	// SecurityCenter's witnesses and policies become objects if set.
	SecurityCenter *securitycenter.Config
	// Listen is the TCP address of /metrics, /healthz and /readyz; empty: none.
	Listen string
	// Registry takes the controller's metrics, and is what /metrics shows.
	Registry Registry
	Log      *slog.Logger
}

// Registry is a registry of metrics: that of controller-runtime, which has its own in it.
type Registry interface {
	prometheus.Registerer
	prometheus.Gatherer
}

// Controller keeps statuses, conditions and the certificate up to date.
type Controller struct {
	manager manager.Manager
}

func (c *Config) check() error {
	switch {
	case c.REST == nil || c.Registry == nil || c.Log == nil:
		return errors.New("a controller needs an API server, a registry of metrics and a logger")
	case c.Namespace == "":
		return errors.New("the controller's namespace is not known: name it with --namespace")
	case c.Certificates != nil:
		return c.Certificates.check()
	}
	return nil
}

// New returns a controller that has asked the API server only for what kinds there are. There can be one in a process:
// controller-runtime's names are the process's.
func New(cfg Config) (*Controller, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	m, err := manager.New(cfg.REST, manager.Options{
		Scheme:  scheme,
		Logger:  logr.FromSlogHandler(cfg.Log.Handler()),
		Cache:   cfg.cache(),
		Client:  client.Options{Cache: &client.CacheOptions{Unstructured: true}},
		Metrics: metricsserver.Options{BindAddress: "0"}, // ours bounds its connections

		LeaderElection:          !cfg.WithoutLeaderElection,
		LeaderElectionID:        LeaseName,
		LeaderElectionNamespace: cfg.Namespace,
		// Safe because the process ends when Run returns.
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return nil, fmt.Errorf("reaching the API server %s: %w; is it there, and do the credentials hold?", cfg.REST.Host, err)
	}
	metrics := newMetrics()
	if err := cfg.Registry.Register(metrics); err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	statuses := statusWriter{client: m.GetClient(), log: cfg.Log}
	steps := []func() error{
		func() error { return addPolicies(m, &policies{statuses, metrics}) },
		func() error { return addAllowlists(m, &allowlists{statuses, metrics}) },
		func() error { return addNodes(m, newNodes(m, cfg, metrics)) },
		func() error { return addAttestations(m, cfg.Attestations, cfg.Log) },
		func() error { return addPolicyReports(m, cfg) },
	}
	if cfg.SecurityCenter != nil {
		steps = append(steps, func() error { return securitycenter.Add(m, *cfg.SecurityCenter, cfg.Registry) })
	}
	if cfg.Certificates != nil {
		steps = append(steps, func() error { return addCertificates(m, newCertificates(m, cfg, metrics)) })
	}
	if cfg.Listen != "" {
		steps = append(steps, func() error { return addServer(m, cfg) })
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, fmt.Errorf("preparing the controller: %w", err)
		}
	}
	return &Controller{m}, nil
}

// Run works until the context ends, and returns nil then; or until leadership is lost. The process must end after it.
func (c *Controller) Run(ctx context.Context) error {
	if err := c.manager.Start(ctx); err != nil {
		return fmt.Errorf("running the controller: %w", err)
	}
	return nil
}

func newScheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{core.AddToScheme, coordination.AddToScheme, admission.AddToScheme} {
		if err := add(s); err != nil {
			return nil, fmt.Errorf("registering kinds: %w", err)
		}
	}
	return s, nil
}

// cache asks for no more than is used: of objects, and of each object.
func (c *Config) cache() cache.Options {
	here := map[string]cache.Config{c.Namespace: {}}
	o := cache.Options{
		DefaultTransform: slim,
		ByObject: map[client.Object]cache.ByObject{
			&core.Node{}:          {Transform: slimNode},
			&coordination.Lease{}: {Namespaces: here, Label: labels.SelectorFromSet(labels.Set{nodereport.Label: nodereport.LabelValue})},
		},
	}
	if c.Certificates != nil {
		name := func(n string) fields.Selector { return fields.OneTermEqualSelector("metadata.name", n) }
		o.ByObject[&core.Secret{}] = cache.ByObject{Namespaces: here, Field: name(c.Certificates.Secret)}
		o.ByObject[&admission.ValidatingWebhookConfiguration{}] = cache.ByObject{Field: name(c.Certificates.Configuration)}
	}
	return o
}
