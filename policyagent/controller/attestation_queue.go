package controller

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
)

// firstQuestions queues Attestations, and those with a question that never had an answer before all others: images that are
// denied again and again must not use the source up before an image that is attested.
type firstQuestions struct {
	handler.EnqueueRequestForObject
}

// Create implements handler.EventHandler.
func (h *firstQuestions) Create(ctx context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
	if !prefer(e.Object, q) {
		h.EnqueueRequestForObject.Create(ctx, e, q)
	}
}

// Update implements handler.EventHandler.
func (h *firstQuestions) Update(ctx context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
	if !prefer(e.ObjectNew, q) {
		h.EnqueueRequestForObject.Update(ctx, e, q)
	}
}

// prefer queues an object if it is to go first.
func prefer(object client.Object, q workqueue.TypedRateLimitingInterface[reconcile.Request]) bool {
	queue, ok := q.(priorityqueue.PriorityQueue[reconcile.Request])
	if !ok || !unanswered(object) {
		return false
	}
	queue.AddWithOpts(priorityqueue.AddOpts{Priority: new(1)}, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(object)})
	return true
}

// unanswered says whether there is a question that never had an answer.
func unanswered(object client.Object) bool {
	u, ok := object.(*unstructured.Unstructured)
	if !ok {
		return false
	}
	o := &v1beta1.Attestation{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, o); err != nil {
		return false
	}
	return slices.ContainsFunc(o.Spec.Wanted, func(w v1beta1.Wanted) bool { return answerOf(o, w.Repository) == nil })
}
