package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/verifier"
)

// lookedLately is how old a look may be whose result is the answer here. A node for which it does not suffice has the
// controller look again after v1beta1.LookInterval; a person reads slower, and an image that stays denied is looked for often.
const lookedLately = time.Minute

// StoredAttestations are the objects of kind Attestation as they are: the source of a person's command. It writes nothing,
// so the controller is not asked. Where a node would ask it, nobody can tell from here whether there is more.
type StoredAttestations struct {
	server *Server
	asks   func(repository string) bool
	note   func(string)
}

var _ attestations.Source = (*StoredAttestations)(nil)

// NewStoredAttestations returns the source. The patterns are those of NewAttestations, as nodes have them. What to know
// about how far the controller has looked is told to note, a line for people each time.
func NewStoredAttestations(s *Server, patterns []string, note func(string)) (*StoredAttestations, error) {
	nodes, err := NewAttestations(s, patterns)
	if err != nil {
		return nil, err
	}
	return &StoredAttestations{s, nodes.asks, note}, nil
}

// Name returns "cluster" and the kind.
func (a *StoredAttestations) Name() string { return "cluster, kind " + v1beta1.KindAttestation }

// Attestations returns the statements of the digest's object. An error means that there may be more.
func (a *StoredAttestations) Attestations(ctx context.Context, repository string, d verifier.Digest) ([]verifier.Attestation, error) {
	name := v1beta1.AttestationName(d)
	o, err := a.get(ctx, name, a.asks(repository))
	if err != nil {
		return nil, err
	}
	found, unread := o.statements(name)
	now := time.Now()
	untold := a.untold(o.standing(repository, now), repository, now)
	if unread != nil && untold != nil {
		return found, fmt.Errorf("%w; %w", unread, untold)
	}
	return found, errors.Join(unread, untold)
}

// get reads the object. One that is not there is as good as an empty one. Other than on nodes, a lack of rights is never
// "none": whoever judges by hand has other rights than nodes have.
func (a *StoredAttestations) get(ctx context.Context, name string, asked bool) (attestationObject, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, readTimeout, fmt.Errorf("no answer within %s", readTimeout))
	defer cancel()
	data, err := read(ctx, a.server.client.Get().AbsPath(attestationPath(name)).SetHeader("Accept", "application/json"), maxAttestationObject)
	if status, ok := errors.AsType[*apierrors.StatusError](err); ok && apierrors.IsNotFound(err) {
		if details := status.ErrStatus.Details; asked && (details == nil || details.Name != name) {
			return attestationObject{}, errNoKind
		}
		return attestationObject{}, nil
	}
	if err != nil {
		return attestationObject{}, a.server.explain(because(ctx, err), "get", Objects{Group: v1beta1.Group, Version: v1beta1.Version, Resource: v1beta1.ResourceAttestations})
	}
	o, err := decodeAttestation(data)
	if err != nil {
		return attestationObject{}, fmt.Errorf("reading Attestation %s: %w", name, err)
	}
	return o, nil
}

// untold says why a node may find more than there is now, which it would ask the controller for.
func (a *StoredAttestations) untold(s standing, repository string, now time.Time) error {
	const whatNext = "a node makes the cluster look: create the pod, and ask again"
	stale := s.due || !s.answered || s.answer.State == v1beta1.AnswerComplete && now.Sub(s.answer.ObservedAt.Time).Abs() > lookedLately
	switch {
	case s.pending:
		a.note(fmt.Sprintf("the controller was asked for attestations of %s %s ago and has not answered: ask again; if that stays so, see the log of kritis-controller", repository, max(s.age, 0).Truncate(time.Second)))
		return errors.New("the controller has not answered yet")
	case s.answer.State != "" && stale:
		a.note(fmt.Sprintf("the cluster has not looked for attestations of %s since %s: %s", repository, s.answer.ObservedAt.UTC().Format(time.RFC3339), whatNext))
		return errors.New("the cluster has not looked for attestations lately")
	case s.answer.State != "":
		if s.answer.State == v1beta1.AnswerComplete {
			a.note(fmt.Sprintf("the cluster looked for attestations of %s at %s", repository, s.answer.ObservedAt.UTC().Format(time.RFC3339)))
		}
		return s.verdict()
	case a.asks(repository):
		a.note(fmt.Sprintf("the cluster has not looked for attestations of %s yet: %s", repository, whatNext))
		return errors.New("the cluster has not looked for attestations yet")
	default:
		return nil
	}
}
