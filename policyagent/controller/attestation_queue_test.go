package controller

import (
	"fmt"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Who asks for the first time waits for nobody who was denied and asks again.
func TestFirstQuestionsGoFirst(t *testing.T) {
	attestation := func(name, version string, wanted []string, answered ...string) *event.UpdateEvent {
		list := func(repositories []string, askedAt string) (all []any) {
			for _, r := range repositories {
				all = append(all, map[string]any{"repository": r, "askedAt": askedAt, "observedAt": "2026-01-02T03:04:05Z", "nextAt": "2026-01-02T03:04:05Z", "state": "Complete", "statements": int64(0)})
			}
			return all
		}
		o := newObject("Attestation")
		o.SetName(name)
		o.SetResourceVersion(version)
		o.Object["spec"], o.Object["status"] = map[string]any{"wanted": list(wanted, "2026-01-02T03:04:15Z")}, map[string]any{"answers": list(answered, "2026-01-02T03:04:05Z")}
		return &event.UpdateEvent{ObjectOld: newObject("Attestation"), ObjectNew: o}
	}
	q := priorityqueue.New[reconcile.Request]("test")
	defer q.ShutDown()
	h := &firstQuestions{}
	for i := range 3 {
		h.Update(t.Context(), *attestation(fmt.Sprint("denied", i), "2", []string{"a"}, "a"), q)
	}
	unreadable := attestation("unreadable", "2", []string{"a"})
	unreadable.ObjectNew.(interface{ UnstructuredContent() map[string]any }).UnstructuredContent()["spec"] = "x"
	h.Update(t.Context(), *unreadable, q)
	h.Update(t.Context(), *attestation("another repository", "2", []string{"a", "b"}, "a"), q)
	h.Create(t.Context(), event.CreateEvent{Object: attestation("new", "1", []string{"a"}).ObjectNew}, q)
	h.Create(t.Context(), event.CreateEvent{Object: attestation("old", "1", []string{"a"}, "a").ObjectNew, IsInInitialList: true}, q)
	h.Create(t.Context(), event.CreateEvent{Object: attestation("from before", "1", []string{"a"}).ObjectNew, IsInInitialList: true}, q)
	h.Delete(t.Context(), event.DeleteEvent{Object: attestation("gone", "1", []string{"a"}).ObjectNew}, q)
	for i, want := range []string{"another repository", "new", "from before", "denied0", "denied1", "denied2", "unreadable", "gone", "old"} {
		got, _ := q.Get()
		if got.Name != want {
			t.Errorf("%d: %q, want %q", i, got.Name, want)
		}
		q.Done(got)
	}
}
