package controller

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
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
		"none for long":        {answer(complete, 0, 4*time.Minute), answer(complete, 0, 0), 5 * time.Minute},
		"failed at first":      {nil, answer(failed, 0, 0), 10 * time.Second},
		"failed with some":     {nil, answer(failed, 3, 0), 10 * time.Second},
		"failed again":         {answer(failed, 0, 40*time.Second), answer(failed, 0, 0), 80 * time.Second},
		"failed, then none":    {answer(failed, 0, 5*time.Minute), answer(complete, 0, 0), 10 * time.Second},
		"some at first":        {nil, answer(complete, 1, 0), 10 * time.Minute},
		"some after none":      {answer(complete, 0, 5*time.Minute), answer(complete, 1, 0), 10 * time.Minute},
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
	for held, want := range map[time.Duration]bool{time.Second: true, -time.Second: false, 0: false, time.Hour: true, 3 * time.Hour: false} {
		if holds(*answer(complete, 0, held), now.Truncate(time.Nanosecond)) != want {
			t.Errorf("%s", held)
		}
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
