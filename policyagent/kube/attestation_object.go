package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/watch"
	kjson "sigs.k8s.io/json"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/verifier"
)

// maxAttestationObject bounds an Attestation's JSON, in bytes. etcd takes objects of 1.5 MiB.
const maxAttestationObject = 2 << 20

// errUnreadable: the object is not what the kind says.
var errUnreadable = errors.New("it cannot be read: correct it, or delete it")

// attestationObject is an Attestation as it is read. The zero value is one that is not there.
type attestationObject struct {
	Kind     string   `json:"kind"`
	Metadata identity `json:"metadata"`
	Spec     struct {
		// Each is read by itself, so that a bad one does not take the others with it.
		Statements []json.RawMessage `json:"statements"`
		Wanted     []v1beta1.Wanted  `json:"wanted"`
	} `json:"spec"`
	Status v1beta1.AttestationStatus `json:"status"`
}

func decodeAttestation(data []byte) (o attestationObject, err error) {
	defer survive(&err)
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &o); err != nil || o.Kind != v1beta1.KindAttestation {
		return attestationObject{}, errUnreadable
	}
	return o, nil
}

// statements returns what can be read, and why there may be more.
func (o attestationObject) statements(name string) ([]verifier.Attestation, error) {
	var list attestations.List
	var failed error
	bad := 0
	raw := o.Spec.Statements
	if len(raw) > v1beta1.MaxStatements {
		raw, failed = raw[:v1beta1.MaxStatements], fmt.Errorf("it has more than %d statements: remove old ones", v1beta1.MaxStatements)
		bad++
	}
	for i, r := range raw {
		a, err := decodeStatement(r)
		if err == nil {
			a.Source = "Attestation " + name
			err = list.Add(a)
		}
		if err != nil {
			bad++
			if failed == nil {
				failed = fmt.Errorf("spec.statements[%d]: %w", i, err)
			}
		}
	}
	switch {
	case failed == nil:
		return list.Items(), nil
	case bad > 1:
		failed = fmt.Errorf("%w; and %d more", failed, bad-1)
	}
	return list.Items(), fmt.Errorf("Attestation %s: %w", name, failed) //nolint:staticcheck // it begins with the name of a kind
}

func decodeStatement(raw []byte) (a verifier.Attestation, err error) {
	defer survive(&err)
	var s v1beta1.Statement
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &s); err != nil {
		return verifier.Attestation{}, errUnreadable
	}
	return s.Attestation()
}

// standing is how a question stands.
type standing struct {
	// pending: somebody has asked, and that is not answered yet. age is how long ago.
	pending bool
	age     time.Duration
	// insufficient: whoever asked that had something that did not suffice.
	insufficient bool
	// answered: the last question has an answer. due: it is time for another; old: it is for those for whom it does not
	// suffice.
	answered, due, old bool
	// answer is the last there was; without a state: none.
	answer v1beta1.RepositoryAnswer
}

func (o attestationObject) standing(repository string, now time.Time) standing {
	var s standing
	for _, answer := range o.Status.Answers {
		if answer.Repository == repository {
			s.answer = answer
		}
	}
	for _, w := range o.Spec.Wanted {
		if w.Repository != repository {
			continue
		}
		if s.answer.State == "" || !w.AskedAt.Equal(&s.answer.AskedAt) {
			s.pending, s.age, s.insufficient = true, now.Sub(w.AskedAt.Time), w.Insufficient
			break
		}
		s.answered = true
		ahead := s.answer.NextAt.Sub(now)
		s.due = ahead <= 0 || ahead > maxAhead
		// The controller's clock may be ahead of ours. It judges by its own.
		s.old = now.Sub(s.answer.ObservedAt.Time).Abs() >= v1beta1.LookInterval
	}
	return s
}

// verdict is what an answer means for what was found: nil, or that there may be more.
func (s standing) verdict() error {
	switch s.answer.State {
	case v1beta1.AnswerComplete, v1beta1.AnswerNotCovered:
		return nil
	case v1beta1.AnswerFailed:
		return fmt.Errorf("the controller could not tell: %w", oneLine(errors.New(s.answer.Message)))
	default:
		return fmt.Errorf("the controller's answer is %.40q, which means nothing here: run one version everywhere", s.answer.State)
	}
}

// await watches the object until the controller has answered.
func (q *question) await(ctx context.Context, o attestationObject) (_ attestationObject, err error) {
	defer survive(&err)
	late := fmt.Errorf("the controller has not answered within %s: is kritis-controller running? see its log", waitForAnswer)
	ctx, cancel := context.WithTimeoutCause(ctx, waitForAnswer, late)
	defer cancel()
	if s := o.standing(q.repository, time.Now()); s.answered {
		return o, s.verdict()
	}
	body, err := q.client.Get().AbsPath(path(v1beta1.Group, v1beta1.Version, "", v1beta1.ResourceAttestations)).
		SetHeader("Accept", "application/json").Param("watch", "true").Param("fieldSelector", "metadata.name="+q.name).
		Param("resourceVersion", o.Metadata.ResourceVersion).Stream(ctx)
	if err != nil {
		return o, q.unanswered(ctx, err)
	}
	defer body.Close()
	m := &meter{from: body}
	events := kjson.NewDecoderCaseSensitivePreserveInts(m)
	for {
		var event struct {
			Type   watch.EventType `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		m.left = maxEvent
		if err := events.Decode(&event); err != nil {
			return o, q.unanswered(ctx, err)
		}
		switch event.Type {
		case watch.Added, watch.Modified:
			if o, err = decodeAttestation(event.Object); err != nil {
				return o, q.failed(ctx, "reading", err)
			}
			if s := o.standing(q.repository, time.Now()); s.answered {
				return o, s.verdict()
			}
		case watch.Deleted:
			return o, errors.New("the question to the controller was deleted before it was answered: it is asked again")
		case watch.Bookmark:
		default:
			return o, errors.New("the API server ended the watch for the controller's answer: it is tried again")
		}
	}
}

// unanswered tells why there is no answer. A caller who waits no longer has the same reason as a controller that is late.
func (q *question) unanswered(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		if cause := context.Cause(ctx); !errors.Is(cause, context.DeadlineExceeded) {
			return cause
		}
		return errors.New("the controller has not answered in time: is kritis-controller running? see its log")
	}
	return q.failed(ctx, "waiting for the controller's answer in", err)
}
