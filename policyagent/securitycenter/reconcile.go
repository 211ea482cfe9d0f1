package securitycenter

import (
	"context"
	"errors"
	"fmt"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
)

// maxRounds bounds how often a namespace is begun anew: each name that is taken costs one.
const maxRounds = 100

// reconciler makes a namespace's objects like the state. One namespace at a time, so it needs no lock.
type reconciler struct {
	engine   *engine
	client   client.Client
	reader   client.Reader // asks the API server itself: the cache may lag behind what was written here
	recorder events.EventRecorder
	made     map[removed]made
}

// made is what was last seen of an object of ours.
type made struct {
	uid, namespaceUID types.UID
	want              string // as it was written, empty if that was before this process
	condition         condition
	before            string // resource version before the condition was written: whoever sees that sees what was
}

// Reconcile implements reconcile.Reconciler. The request's name is that of a namespace.
func (r *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	for range maxRounds {
		again, err := r.round(ctx, request.Name)
		if err != nil || !again {
			return reconcile.Result{}, err
		}
	}
	return reconcile.Result{}, fmt.Errorf("namespace %s: too many names are taken by others' objects", request.Name)
}

// round returns true if what is wanted has changed meanwhile.
func (r *reconciler) round(ctx context.Context, ns string) (again bool, err error) {
	w, err := r.engine.wanted(ns)
	if err != nil || w == nil || len(w.objects)+len(w.gone) == 0 {
		return false, err
	}
	place := &metav1.PartialObjectMetadata{}
	place.SetGroupVersionKind(core.SchemeGroupVersion.WithKind("Namespace"))
	err = r.client.Get(ctx, types.NamespacedName{Name: ns}, place)
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("reading namespace %s: %w", ns, err)
	}
	if err != nil || place.DeletionTimestamp != nil {
		r.leave(ns, w) // when it comes, this comes here too
		return false, nil
	}
	if again, err = r.lookForDeleted(ctx, w, place.UID); again || err != nil {
		return again, err
	}
	var failures []error
	for i := range w.objects {
		o := &w.objects[i]
		clash, err := r.ensure(ctx, o, place.UID)
		switch {
		case err != nil:
			failures = append(failures, err) // a policy must be there all the more if its authority cannot be
		case clash && !r.engine.takeAlternative(o):
			failures = append(failures, fmt.Errorf("%s %s/%s: both names are taken by users' objects: rename one", o.kind, ns, o.name))
		case clash:
			again = true // policies name authorities by these names
		}
		if again {
			return true, errors.Join(failures...)
		}
	}
	if len(failures) > 0 {
		return false, errors.Join(failures...)
	}
	for _, g := range w.gone {
		if err := r.remove(ctx, g); err != nil {
			return false, err // authorities come after policies
		}
	}
	return false, nil
}

// leave forgets a namespace's objects, which go with it. They are made again when it is.
func (r *reconciler) leave(ns string, w *wanted) {
	for k := range r.made {
		if k.namespace == ns {
			delete(r.made, k)
		}
	}
	for _, g := range w.gone {
		r.engine.isGone(g)
	}
}

// lookForDeleted finds policies that somebody deleted while the namespace stayed.
func (r *reconciler) lookForDeleted(ctx context.Context, w *wanted, place types.UID) (again bool, err error) {
	for i := range w.objects {
		o := &w.objects[i]
		k := removed{o.namespace, o.kind, o.name}
		before, ok := r.made[k]
		if !ok || o.kind != kindPolicy {
			continue
		}
		if before.namespaceUID != place && before.namespaceUID != "" {
			delete(r.made, k) // it went with its namespace
			continue
		}
		u := newObject(o.kind)
		if err := r.client.Get(ctx, types.NamespacedName{Namespace: o.namespace, Name: o.name}, u); err == nil {
			continue
		}
		if err := r.reader.Get(ctx, types.NamespacedName{Namespace: o.namespace, Name: o.name}, u); err == nil {
			continue
		} else if !apierrors.IsNotFound(err) {
			return false, fmt.Errorf("reading %s %s/%s: %w", o.kind, o.namespace, o.name, err)
		}
		delete(r.made, k)
		given := r.engine.confirmed(o.namespace, o.cloud)
		r.engine.Log.WarnContext(ctx, "somebody deleted an object that comes from Security Center", "object", o.namespace+"/"+o.name, "made again", !given)
		again = again || given
	}
	return again, nil
}

// ensure makes an object as wanted, and its condition. It returns true if a user's object has the name.
func (r *reconciler) ensure(ctx context.Context, w *want, place types.UID) (clash bool, err error) {
	k := removed{w.namespace, w.kind, w.name}
	at := types.NamespacedName{Namespace: w.namespace, Name: w.name}
	text := fmt.Sprint(w.spec, w.annotations)
	u := newObject(w.kind)
	err = r.client.Get(ctx, at, u)
	if err != nil || !r.ours(u) || !w.is(u) {
		u = newObject(w.kind)
		err = r.reader.Get(ctx, at, u)
	}
	switch {
	case apierrors.IsNotFound(err):
		// Without force: whoever made an object of this name meanwhile keeps it.
		u = w.object("")
		err = r.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(FieldManager))
		if err != nil {
			return false, fmt.Errorf("making %s %s/%s: %w", w.kind, w.namespace, w.name, err)
		}
		r.engine.Log.InfoContext(ctx, "object made", "kind", w.kind, "object", w.namespace+"/"+w.name, "name in Security Center", w.cloud)
	case err != nil:
		return false, fmt.Errorf("reading %s %s/%s: %w", w.kind, w.namespace, w.name, err)
	case !r.ours(u):
		r.tellClash(ctx, u, w)
		return true, nil
	case !w.is(u):
		u = w.object(string(u.GetUID())) // of this object, not of another of its name
		err = r.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(FieldManager), client.ForceOwnership)
		if err != nil {
			return false, fmt.Errorf("writing %s %s/%s: %w", w.kind, w.namespace, w.name, err)
		}
		tampered := r.made[k].want == text
		r.engine.Log.InfoContext(ctx, "object written", "kind", w.kind, "object", w.namespace+"/"+w.name, "name in Security Center", w.cloud, "put right", tampered)
		if tampered {
			r.engine.metrics.repairs.Inc()
			r.recorder.Eventf(u, nil, core.EventTypeWarning, EventPutRight, "PutRight", "%s", textPutRight)
		}
	}
	m := r.made[k]
	if m.uid != u.GetUID() {
		m = made{} // it is another object
	}
	m.uid, m.namespaceUID, m.want = u.GetUID(), place, text
	r.made[k] = m
	if w.condition.reason == "" || m.condition == w.condition && m.before == u.GetResourceVersion() {
		return false, nil
	}
	m.condition, m.before = w.condition, u.GetResourceVersion()
	if err := r.writeCondition(ctx, u, w.condition); err != nil {
		return false, err
	}
	r.made[k] = m
	return false, nil
}

// ours says whether an object may be written: it is marked, or it was ours before somebody took the marks off.
func (r *reconciler) ours(u *unstructured.Unstructured) bool {
	before, ok := r.made[removed{u.GetNamespace(), u.GetKind(), u.GetName()}]
	return marked(u) || ok && before.uid == u.GetUID()
}

func (r *reconciler) tellClash(ctx context.Context, u *unstructured.Unstructured, w *want) {
	what := "witness"
	if w.kind == kindPolicy {
		what = "policy"
	}
	r.engine.metrics.clashes.Inc()
	r.engine.Log.WarnContext(ctx, "a user's object has the name of one from Security Center", "kind", w.kind, "object", w.namespace+"/"+w.name, "instead", alternativeName(w.cloud))
	r.recorder.Eventf(u, nil, core.EventTypeWarning, EventNameTaken, "NameTaken", "%s",
		v1beta1.Message(fmt.Sprintf(textNameTaken, what, brief(w.cloud), alternativeName(w.cloud))))
}

// remove deletes an object if it is ours.
func (r *reconciler) remove(ctx context.Context, g removed) error {
	u := newObject(g.kind)
	err := r.reader.Get(ctx, types.NamespacedName{Namespace: g.namespace, Name: g.name}, u)
	if err == nil && r.ours(u) {
		err = r.client.Delete(ctx, u, client.Preconditions{UID: new(u.GetUID())})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("removing %s %s/%s: %w", g.kind, g.namespace, g.name, err)
	}
	delete(r.made, g)
	r.engine.isGone(g)
	return nil
}

// writeCondition gives an object the condition if it has another. Others' conditions are others' by server-side apply.
func (r *reconciler) writeCondition(ctx context.Context, u *unstructured.Unstructured, c condition) error {
	next := metav1.Condition{Type: ConditionInSync, Status: metav1.ConditionFalse, Reason: c.reason, Message: c.message, LastTransitionTime: metav1.Now()}
	if c.reason == ReasonInSync {
		next.Status = metav1.ConditionTrue
	}
	last := readCondition(u)
	if last != nil && last.Status == next.Status {
		next.LastTransitionTime = last.LastTransitionTime
		if last.Reason == next.Reason && last.Message == next.Message {
			return nil
		}
	}
	o := newObject(u.GetKind())
	o.SetNamespace(u.GetNamespace())
	o.SetName(u.GetName())
	o.SetUID(u.GetUID())
	o.Object["status"] = map[string]any{"conditions": []any{map[string]any{
		"type": next.Type, "status": string(next.Status), "reason": next.Reason, "message": next.Message,
		"lastTransitionTime": next.LastTransitionTime.UTC().Format("2006-01-02T15:04:05Z"),
	}}}
	err := r.client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner(FieldManager), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("writing the status of %s %s/%s: %w", u.GetKind(), u.GetNamespace(), u.GetName(), err)
	}
	r.engine.Log.InfoContext(ctx, "condition written", "kind", u.GetKind(), "object", u.GetNamespace()+"/"+u.GetName(), "reason", next.Reason, "message", next.Message)
	// An outage shows on every object at once: the log and the metrics tell of it, and the conditions.
	if next.Status == metav1.ConditionFalse && next.Reason != ReasonCloudUnavailable {
		r.recorder.Eventf(u, nil, core.EventTypeWarning, next.Reason, "Sync", "%s", next.Message)
	}
	return nil
}
