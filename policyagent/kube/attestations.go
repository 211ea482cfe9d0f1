package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/verifier"
)

const (
	// attestationsPerSecond and attestationBurst are what one process may ask of the API server about attestations: two
	// hundred pods may come at once.
	attestationsPerSecond = 50
	attestationBurst      = 100
	// attestationTimeout bounds one request, and waitForAnswer how long a controller is waited for.
	attestationTimeout = 3 * time.Second
	waitForAnswer      = 10 * time.Second
	// silenceFor is how long nothing is asked after the API server gave no answer, so that images whose attestations are
	// elsewhere do not wait for it one by one.
	silenceFor = 5 * time.Second
	// patienceFor is the age of a question that nobody has answered from which on nobody waits for the answer.
	patienceFor = 20 * time.Second
	// maxAhead is how far in the future an answer may put the next look. Beyond it a clock is wrong.
	maxAhead = 2 * time.Hour
)

// Attestations are the objects of kind Attestation, as a source of attestations. For registries whose attestations only
// the controller can fetch it asks the controller, through the object, and waits for its answer.
type Attestations struct {
	server *Server
	client rest.Interface
	asked  []string

	mu          sync.Mutex
	silence     error
	silentUntil time.Time
}

var _ attestations.Source = (*Attestations)(nil)

// NewAttestations returns the source. The controller is asked about repositories whose host matches one of the patterns: a
// host, or "*." and the end of one.
func NewAttestations(s *Server, patterns []string) (*Attestations, error) {
	for _, p := range patterns {
		if host := strings.TrimPrefix(p, "*."); host == "" || strings.ContainsAny(host, "*/ ") || strings.ToLower(host) != host {
			return nil, fmt.Errorf(`%q is not a pattern of registry hosts: write "registry.example" or "*.registry.example", in lower case`, p)
		}
	}
	config := rest.CopyConfig(s.config)
	config.QPS, config.Burst = attestationsPerSecond, attestationBurst
	client, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("preparing a client of the API server %s: %w", config.Host, err)
	}
	return &Attestations{server: s, client: client, asked: slices.Clone(patterns)}, nil
}

// Name returns "cluster" and the kind.
func (a *Attestations) Name() string { return "cluster, kind " + v1beta1.KindAttestation }

// Attestations returns the statements of the digest's object. An error means that there may be more.
func (a *Attestations) Attestations(ctx context.Context, repository string, d verifier.Digest) ([]verifier.Attestation, error) {
	if err := a.silenced(time.Now()); err != nil {
		return nil, err
	}
	q := question{Attestations: a, repository: repository, name: v1beta1.AttestationName(d), asks: a.asks(repository), insufficient: attestations.IsInsufficient(ctx)}
	o, err := q.get(ctx)
	if err != nil {
		return nil, q.failed(ctx, "reading", err)
	}
	if q.asks {
		if o, err = q.settle(ctx, o); err != nil {
			found, unread := o.statements(q.name)
			if unread != nil {
				err = fmt.Errorf("%w; %w", err, unread)
			}
			return found, err
		}
	}
	return o.statements(q.name)
}

// asks says whether the controller is asked about a repository.
func (a *Attestations) asks(repository string) bool {
	host, _, _ := strings.Cut(repository, "/")
	return slices.ContainsFunc(a.asked, func(pattern string) bool {
		if end, ok := strings.CutPrefix(pattern, "*"); ok {
			return strings.HasSuffix(host, end) && len(host) > len(end)
		}
		return host == pattern
	})
}

func (a *Attestations) silenced(now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Before(a.silentUntil) {
		return a.silence
	}
	return nil
}

// question is one repository and digest.
type question struct {
	*Attestations
	repository, name string
	asks             bool
	// insufficient: what was known did not suffice.
	insufficient bool
}

func attestationPath(name string) string {
	return path(v1beta1.Group, v1beta1.Version, "", v1beta1.ResourceAttestations) + "/" + name
}

// get reads the object. One that is not there is as good as an empty one.
func (q *question) get(ctx context.Context) (attestationObject, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, attestationTimeout, fmt.Errorf("no answer within %s", attestationTimeout))
	defer cancel()
	data, err := read(ctx, q.client.Get().AbsPath(attestationPath(q.name)).SetHeader("Accept", "application/json"), maxAttestationObject)
	if status, ok := errors.AsType[*apierrors.StatusError](err); ok && apierrors.IsNotFound(err) {
		if details := status.ErrStatus.Details; details != nil && details.Name == q.name {
			return attestationObject{}, nil
		}
		err = errNoKind
	}
	if !q.asks && (errors.Is(err, errNoKind) || apierrors.IsForbidden(err)) {
		// Nobody relies on such objects here.
		return attestationObject{}, nil
	}
	if err != nil {
		return attestationObject{}, because(ctx, err)
	}
	return decodeAttestation(data)
}

// errNoKind: the CRD is not installed.
var errNoKind = errors.New("the cluster has no kind Attestation: apply the CRDs of this version")

// because returns why a context ended, if that is why a request failed.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// failed says in one line what failed and what to do. If the API server gave no answer, it is left alone for a moment.
func (q *question) failed(ctx context.Context, doing string, err error) error {
	told := fmt.Errorf("%s Attestation %s: %s", doing, q.name, adviseRight(err, "get, watch, create and patch attestations.kritis.grafeas.io", "it is tried again"))
	if ctx.Err() != nil || errors.Is(err, errNoKind) || errors.Is(err, errUnreadable) {
		return told
	}
	if reason := apierrors.ReasonForError(err); reason == metav1.StatusReasonUnknown || apierrors.IsTooManyRequests(err) || apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsTimeout(err) {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.silence, q.silentUntil = fmt.Errorf("the API server did not answer a moment ago: %w", told), time.Now().Add(silenceFor)
	}
	return told
}

// settle returns the object as it is when the controller has answered, after asking it if need be. What is returned beside
// an error is what was known before.
func (q *question) settle(ctx context.Context, o attestationObject) (attestationObject, error) {
	now := time.Now()
	s := o.standing(q.repository, now)
	switch {
	case s.answered && !s.due && (!q.insufficient || !s.old):
		return o, s.verdict()
	case s.pending && s.age >= patienceFor:
		return o, fmt.Errorf("the controller has not answered for %s: is kritis-controller running? see its log", s.age.Truncate(time.Second))
	case !s.pending, q.insufficient && !s.insufficient:
		asked, err := q.ask(ctx, now)
		if err != nil {
			return o, q.failed(ctx, "asking the controller by", err)
		}
		o = asked
	}
	if s.answer.Statements > 0 && !q.insufficient {
		return o, nil // there are some: the controller looks for more meanwhile
	}
	return q.await(ctx, o)
}

// ask writes that the repository is wanted now, and returns the object. A field manager for each repository keeps askers
// from taking each other's questions back; those about the same repository are one.
func (q *question) ask(ctx context.Context, now time.Time) (attestationObject, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, attestationTimeout, fmt.Errorf("no answer within %s", attestationTimeout))
	defer cancel()
	body, err := json.Marshal(map[string]any{
		"apiVersion": v1beta1.APIVersion, "kind": v1beta1.KindAttestation,
		"metadata": map[string]any{"name": q.name, "labels": map[string]string{v1beta1.LabelAsked: v1beta1.LabelAskedValue}},
		"spec":     map[string]any{"wanted": []v1beta1.Wanted{{Repository: q.repository, AskedAt: metav1.NewTime(now), Insufficient: q.insufficient}}},
	})
	if err != nil {
		return attestationObject{}, err
	}
	data, err := read(ctx, q.client.Patch(types.ApplyPatchType).AbsPath(attestationPath(q.name)).
		Param("fieldManager", v1beta1.AskerFor(q.repository)).Param("force", "true").
		SetHeader("Accept", "application/json").Body(body), maxAttestationObject)
	if err != nil {
		return attestationObject{}, because(ctx, err)
	}
	return decodeAttestation(data)
}
