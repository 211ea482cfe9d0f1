package controller

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/verifier"
)

// Answers that are no better than the last are asked for ever more rarely, up to a limit, and others at once again.
func TestPause(t *testing.T) {
	now := time.Now()
	answer := func(state string, statements int, held time.Duration) *v1beta1.RepositoryAnswer {
		return &v1beta1.RepositoryAnswer{State: state, Statements: statements, ObservedAt: metav1.NewTime(now), NextAt: metav1.NewTime(now.Add(held))}
	}
	const complete, failed, none = v1beta1.AnswerComplete, v1beta1.AnswerFailed, v1beta1.AnswerNotCovered
	for name, c := range map[string]struct {
		last *v1beta1.RepositoryAnswer
		next *v1beta1.RepositoryAnswer
		want time.Duration
	}{
		"none at first":        {nil, answer(complete, 0, 0), 10 * time.Second},
		"none again":           {answer(complete, 0, 10*time.Second), answer(complete, 0, 0), 20 * time.Second},
		"none for long":        {answer(complete, 0, 40*time.Second), answer(complete, 0, 0), time.Minute},
		"failed at first":      {nil, answer(failed, 0, 0), 10 * time.Second},
		"failed with some":     {nil, answer(failed, 3, 0), 10 * time.Second},
		"failed again":         {answer(failed, 0, 10*time.Second), answer(failed, 0, 0), 20 * time.Second},
		"failed for long":      {answer(failed, 0, 20*time.Second), answer(failed, 0, 0), 20 * time.Second},
		"failed with some yet": {answer(failed, 3, 20*time.Second), answer(failed, 3, 0), 20 * time.Second},
		"failed, then none":    {answer(failed, 0, 20*time.Second), answer(complete, 0, 0), 10 * time.Second},
		"some at first":        {nil, answer(complete, 1, 0), 10 * time.Minute},
		"some after none":      {answer(complete, 0, time.Minute), answer(complete, 1, 0), 10 * time.Minute},
		"the same some":        {answer(complete, 1, 10*time.Minute), answer(complete, 1, 0), 20 * time.Minute},
		"some for long":        {answer(complete, 1, time.Hour), answer(complete, 1, 0), time.Hour},
		"more":                 {answer(complete, 1, time.Hour), answer(complete, 2, 0), 10 * time.Minute},
		"some no longer":       {answer(complete, 1, time.Hour), answer(complete, 0, 0), 10 * time.Second},
		"not covered":          {nil, answer(none, 0, 0), 5 * time.Minute},
		"a last one backwards": {answer(complete, 0, -time.Hour), answer(complete, 0, 0), 10 * time.Second},
	} {
		if got := pause(c.last, *c.next); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// Who has something that does not suffice is answered by a new look unless the last was a moment ago.
func TestHolds(t *testing.T) {
	looked := time.Now()
	for name, c := range map[string]struct {
		held, age    time.Duration
		enough, lack bool // for whom it suffices, and for whom it does not
	}{
		"just now":           {time.Hour, 0, true, true},
		"for 10 s":           {time.Hour, 10*time.Second - 1, true, true},
		"then":               {time.Hour, 10 * time.Second, true, false},
		"its last moment":    {time.Hour, time.Hour - 1, true, false},
		"its end":            {time.Hour, time.Hour, false, false},
		"shorter than 10 s":  {time.Second, time.Second, false, false},
		"too far ahead":      {3 * time.Hour, 0, false, false},
		"never":              {-time.Second, 0, false, false},
		"a clock set back":   {time.Hour, -time.Second, true, false},
		"by a clock of hers": {time.Hour, -2 * time.Hour, false, false},
	} {
		a := v1beta1.RepositoryAnswer{ObservedAt: metav1.NewTime(looked), NextAt: metav1.NewTime(looked.Add(c.held))}
		if enough, lack := holds(a, looked.Add(c.age), false), holds(a, looked.Add(c.age), true); enough != c.enough || lack != c.lack {
			t.Errorf("%s: %v, %v", name, enough, lack)
		}
	}
}

// counting is a source that tells how often it is asked, and what it has.
type counting struct {
	calls int
	found []verifier.Attestation
	err   error
}

func (c *counting) Name() string         { return "a test" }
func (c *counting) Covers(r string) bool { return true }
func (c *counting) Attestations(context.Context, string, verifier.Digest) ([]verifier.Attestation, error) {
	c.calls++
	return c.found, c.err
}

// taking is an API server that takes what is written.
type taking struct{ client.Client }

func (taking) Patch(context.Context, client.Object, client.Patch, ...client.PatchOption) error {
	return nil
}

// However often twenty ask, the source is asked when an answer ends; for whom it does not suffice, after 10 s each time.
func TestHowOftenIsLooked(t *testing.T) {
	const askers, every = 20, 3 * time.Second
	one := []verifier.Attestation{{Format: verifier.FormatKritis, Payload: []byte("p"), Signatures: []verifier.Signature{{Value: []byte("s")}}}}
	hour := &v1beta1.RepositoryAnswer{State: v1beta1.AnswerComplete, Statements: 1}
	for name, c := range map[string]struct {
		source       counting
		last         *v1beta1.RepositoryAnswer
		insufficient bool
		during       time.Duration
		want         int
	}{
		"it suffices, until the first answer ends": {source: counting{found: one}, during: 10*time.Minute - every, want: 1},
		"it suffices, for the first hour":          {source: counting{found: one}, during: time.Hour, want: 3}, // and after 10 and 30 minutes
		"it suffices, for any hour after":          {source: counting{found: one}, last: hour, during: time.Hour - every, want: 1},
		"it does not suffice":                      {source: counting{found: one}, insufficient: true, during: 2 * time.Minute, want: 10},
		"there is none, and nobody is in need":     {during: 10 * time.Minute, want: 12},
		"there is none":                            {insufficient: true, during: 2 * time.Minute, want: 10},
		"it fails":                                 {source: counting{err: errors.New("down")}, during: 2 * time.Minute, want: 7},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fetching{client: taking{}, source: &c.source, log: slog.New(slog.DiscardHandler)}
				o, last, began := &v1beta1.Attestation{}, c.last, time.Now()
				if last != nil { // an answer that ends now, and held for an hour
					last.ObservedAt, last.NextAt = metav1.NewTime(began.Add(-time.Hour)), metav1.NewTime(began)
				}
				for time.Since(began) < c.during {
					for range askers {
						w := v1beta1.Wanted{Repository: "r", AskedAt: metav1.Now(), Insufficient: c.insufficient}
						a, err := f.look(t.Context(), o, w, last, "sha256:x")
						check(t, err)
						if !a.AskedAt.Equal(&w.AskedAt) {
							t.Fatalf("an answer to another question: %+v", a)
						}
						last = &a
					}
					time.Sleep(every)
				}
				if c.source.calls != c.want {
					t.Errorf("%d calls, want %d", c.source.calls, c.want)
				}
			})
		})
	}
}

// Whose statements are whose is read from what the API server writes.
func TestOwners(t *testing.T) {
	fields := func(manager, tree string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Operation: "Apply", FieldsV1: metav1.NewFieldsV1(tree)}
	}
	const some = `{"f:spec":{"f:statements":{"k:{\"id\":\"0123456789abcdef\"}":{".":{},"f:id":{}},"k:{\"id\":\"fedcba9876543210\"}":{".":{}}}}}`
	ours := v1beta1.FetcherFor("r")
	status := fields("kritis-controller", some)
	status.Subresource = "status"
	all := []metav1.ManagedFieldsEntry{fields(v1beta1.AskerFor("r"), `{"f:spec":{"f:wanted":{}}}`), fields(ours, some), {Manager: ours}, fields(ours, "{"), fields(ours, `{"f:spec":{"f:statements":{"v:1":{}}}}`)}
	if got := owned(all, ours); len(got) != 2 {
		t.Errorf("%v", got)
	}
	if got := owned(all, v1beta1.FetcherFor("other")); got != nil {
		t.Errorf("%v", got)
	}
	if foreign(all) {
		t.Error("ours are somebody else's")
	}
	for manager, want := range map[string]bool{"kubectl": true, "kritis-controller": true, ours: false} {
		if foreign([]metav1.ManagedFieldsEntry{fields(manager, some)}) != want {
			t.Errorf("%s", manager)
		}
	}
	if foreign([]metav1.ManagedFieldsEntry{fields("kubectl", `{"f:spec":{"f:wanted":{}}}`)}) {
		t.Error("a question is no statement")
	}
}

// Statements do not stay in memory.
func TestSlim(t *testing.T) {
	u := newObject(v1beta1.KindAttestation)
	u.Object["spec"] = map[string]any{"statements": []any{"x"}, "wanted": []any{"y"}}
	u.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "m"}})
	o, err := slim(u)
	check(t, err)
	spec := o.(*unstructured.Unstructured).Object["spec"].(map[string]any)
	if len(spec) != 1 || spec["wanted"] == nil || u.GetManagedFields() != nil {
		t.Errorf("%v", o)
	}
	policy := newObject(v1beta1.KindPolicy)
	policy.Object["spec"] = map[string]any{"statements": "kept"}
	if _, err := slim(policy); err != nil || policy.Object["spec"].(map[string]any)["statements"] != "kept" {
		t.Errorf("%v, %v", policy, err)
	}
}
