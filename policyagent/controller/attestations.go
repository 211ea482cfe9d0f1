package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlcontroller "sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/verifier"
)

const (
	// fetchers is how many Attestations are worked on at once.
	fetchers = 4
	// fetchTimeout bounds one look for attestations.
	fetchTimeout = 30 * time.Second
	// keptFor is how long an Attestation stays that nobody asks for.
	keptFor = 7 * 24 * time.Hour
	// maxAnswerMessage and maxAnswerSource are what the schema takes, in characters.
	maxAnswerMessage, maxAnswerSource = 1024, 64
)

// AttestationSource is where the controller finds attestations that not every node shall ask for.
type AttestationSource interface {
	attestations.Source
	// Covers says whether it knows about a repository.
	Covers(repository string) bool
}

// NewAttestationSource makes the source. Notes returns the notes of the authorities that there are.
type NewAttestationSource func(notes func(context.Context) ([]string, error)) (AttestationSource, error)

// fetching answers questions that nodes and webhooks write into Attestations.
type fetching struct {
	client client.Client
	// live reads what is, not what the cache has: a look too many costs quota.
	live   client.Reader
	source AttestationSource // nil: none
	log    *slog.Logger
}

// addAttestations adds what answers, if the cluster has the kind. Without the kind nobody can ask.
func addAttestations(m manager.Manager, newSource NewAttestationSource, log *slog.Logger) error {
	kind := v1beta1.GroupVersion().WithKind(v1beta1.KindAttestation)
	if _, err := m.GetRESTMapper().RESTMapping(kind.GroupKind(), kind.Version); meta.IsNoMatchError(err) {
		log.Warn("the cluster has no kind Attestation, so nothing is fetched for nodes: apply the CRDs of this version, then restart the controller")
		return nil
	} else if err != nil {
		return fmt.Errorf("looking for the kind Attestation: %w", err)
	}
	f := &fetching{client: m.GetClient(), live: m.GetAPIReader(), log: log}
	if newSource != nil {
		source, err := newSource(func(ctx context.Context) ([]string, error) { return notes(ctx, m.GetClient()) })
		if err != nil {
			return err
		}
		f.source = source
	}
	return builder.ControllerManagedBy(m).Named("attestations").
		Watches(newObject(v1beta1.KindAttestation), &firstQuestions{}).
		WithOptions(ctrlcontroller.Options{MaxConcurrentReconciles: fetchers}).
		Complete(f)
}

// slim keeps of an object what is used: of an Attestation not its statements, which are the bulk of it.
func slim(o any) (any, error) {
	if u, ok := o.(*unstructured.Unstructured); ok && u.GetKind() == v1beta1.KindAttestation {
		unstructured.RemoveNestedField(u.Object, "spec", "statements")
	}
	return cache.TransformStripManagedFields()(o)
}

// notes returns the note of every authority once, in order.
func notes(ctx context.Context, c client.Reader) ([]string, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(v1beta1.GroupVersion().WithKind(v1beta1.KindAuthority + "List"))
	if err := c.List(ctx, list); err != nil {
		return nil, fmt.Errorf("listing authorities: %w", err)
	}
	var all []string
	for i := range list.Items {
		note, _, err := unstructured.NestedString(list.Items[i].Object, "spec", "noteReference")
		if err == nil && note != "" {
			all = append(all, note)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// Reconcile implements reconcile.Reconciler.
func (f *fetching) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	digest, err := v1beta1.AttestationDigest(request.Name)
	if err != nil {
		return reconcile.Result{}, nil // the schema refuses such names
	}
	o, err := f.read(ctx, f.client, request.Name)
	if err != nil || o == nil {
		return reconcile.Result{}, err
	}
	if slices.ContainsFunc(o.Spec.Wanted, func(w v1beta1.Wanted) bool { return pending(o, w) }) {
		if o, err = f.read(ctx, f.live, request.Name); err != nil || o == nil {
			return reconcile.Result{}, err
		}
		if err := f.answer(ctx, o, digest); err != nil {
			return reconcile.Result{}, err
		}
	}
	return f.expire(ctx, o)
}

// read returns nil if there is no such object. One that cannot be read is nobody's question.
func (f *fetching) read(ctx context.Context, from client.Reader, name string) (*v1beta1.Attestation, error) {
	u := newObject(v1beta1.KindAttestation)
	if err := from.Get(ctx, types.NamespacedName{Name: name}, u); apierrors.IsNotFound(err) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("reading an Attestation: %w", err)
	}
	o := &v1beta1.Attestation{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, o); err != nil {
		f.log.WarnContext(ctx, "an Attestation cannot be read: delete it", "name", name, "error", err)
		return nil, nil
	}
	return o, nil
}

// answerOf returns the answer about a repository, nil if there is none.
func answerOf(o *v1beta1.Attestation, repository string) *v1beta1.RepositoryAnswer {
	i := slices.IndexFunc(o.Status.Answers, func(a v1beta1.RepositoryAnswer) bool { return a.Repository == repository })
	if i < 0 {
		return nil
	}
	return &o.Status.Answers[i]
}

// pending says whether a question has no answer yet.
func pending(o *v1beta1.Attestation, w v1beta1.Wanted) bool {
	a := answerOf(o, w.Repository)
	return a == nil || !a.AskedAt.Equal(&w.AskedAt)
}

// answer answers what is asked, and writes the status. Answers to questions that were taken back go.
func (f *fetching) answer(ctx context.Context, o *v1beta1.Attestation, digest verifier.Digest) error {
	var all []v1beta1.RepositoryAnswer
	for _, w := range o.Spec.Wanted {
		last := answerOf(o, w.Repository)
		if !pending(o, w) {
			all = append(all, *last)
			continue
		}
		next, err := f.look(ctx, o, w, last, digest)
		if err != nil {
			return err
		}
		all = append(all, next)
	}
	patch, err := json.Marshal(map[string]any{"status": v1beta1.AttestationStatus{Answers: all}})
	if err != nil {
		return fmt.Errorf("encoding the status of Attestation %s: %w", o.Name, err)
	}
	target := newObject(v1beta1.KindAttestation)
	target.SetName(o.Name)
	err = f.client.Status().Patch(ctx, target, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(fieldOwner))
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("writing the status of Attestation %s: %w", o.Name, err)
	}
	o.Status.Answers = all
	return nil
}

// look looks for a repository's attestations, unless the last answer holds for the new question too: however many ask, the
// source is not asked more often.
func (f *fetching) look(ctx context.Context, o *v1beta1.Attestation, w v1beta1.Wanted, last *v1beta1.RepositoryAnswer, digest verifier.Digest) (v1beta1.RepositoryAnswer, error) {
	now := time.Now()
	if last != nil && holds(*last, now, w.Insufficient) {
		again := *last
		again.AskedAt = w.AskedAt
		return again, nil
	}
	a := v1beta1.RepositoryAnswer{Repository: w.Repository, State: v1beta1.AnswerNotCovered, AskedAt: w.AskedAt}
	if f.source != nil && f.source.Covers(w.Repository) {
		found, failure := f.fetch(ctx, w.Repository, digest)
		if ctx.Err() != nil {
			return a, context.Cause(ctx) // what was cut short says nothing
		}
		kept, refused, err := f.keep(ctx, o, w.Repository, found, failure != nil)
		if err != nil {
			return a, err
		}
		a.Source, a.Statements, a.State = clip(f.source.Name(), maxAnswerSource), kept, v1beta1.AnswerComplete
		if problems := slices.DeleteFunc([]error{failure, refused}, func(err error) bool { return err == nil }); len(problems) > 0 {
			var texts []string
			for _, p := range problems {
				texts = append(texts, strings.Join(strings.Fields(p.Error()), " "))
			}
			a.State, a.Message = v1beta1.AnswerFailed, clip(strings.Join(texts, "; "), maxAnswerMessage)
		}
		f.log.InfoContext(ctx, "attestations fetched", "attestation", o.Name, "repository", w.Repository, "insufficient", w.Insufficient, "state", a.State, "statements", a.Statements, "message", a.Message)
	}
	a.ObservedAt = metav1.NewTime(now)
	a.NextAt = metav1.NewTime(now.Add(pause(last, a)))
	return a, nil
}

func (f *fetching) fetch(ctx context.Context, repository string, digest verifier.Digest) (found []verifier.Attestation, err error) {
	defer func() {
		if p := recover(); p != nil {
			found, err = nil, fmt.Errorf("bug of this program, please report it: %v", p)
		}
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, fetchTimeout, fmt.Errorf("no answer within %s", fetchTimeout))
	defer cancel()
	return f.source.Attestations(ctx, repository, digest)
}

func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
