package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/policyagent/kube"
)

// status is what the statuses of the three kinds hold; only authorities have fingerprints.
type status = v1beta1.AuthorityStatus

// statusWriter writes statuses that changed.
type statusWriter struct {
	client client.Client
	log    *slog.Logger
}

// newObject returns an empty object of a kind. The three kinds are read as they are, not as Go types: one object that does
// not fit its type would keep all others of its kind from being read.
func newObject(kind string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(v1beta1.GroupVersion().WithKind(kind))
	return u
}

// asKube returns an object in the form that nodes read.
func asKube(u *unstructured.Unstructured) (kube.Object, error) {
	raw, err := u.MarshalJSON()
	if err != nil {
		return kube.Object{}, fmt.Errorf("encoding %s %s/%s: %w", u.GetKind(), u.GetNamespace(), u.GetName(), err)
	}
	return kube.Object{Kind: u.GetKind(), Namespace: u.GetNamespace(), Name: u.GetName(), JSON: raw}, nil
}

// readStatus returns the status that an object has. One that cannot be read is as good as none: it is replaced.
func readStatus(u *unstructured.Unstructured) status {
	var s status
	m, ok, err := unstructured.NestedMap(u.Object, "status")
	if err != nil || !ok || runtime.DefaultUnstructuredConverter.FromUnstructured(m, &s) != nil {
		return status{}
	}
	return s
}

// write gives an object the condition and the fingerprints if it does not have them. Conditions of others stay. Somebody
// else's change in between makes that change come here too, so it is no error.
func (w *statusWriter) write(ctx context.Context, u *unstructured.Unstructured, ready metav1.Condition, fingerprints []string) error {
	s := readStatus(u)
	changed := meta.SetStatusCondition(&s.Conditions, ready)
	if !changed && s.ObservedGeneration == u.GetGeneration() && slices.Equal(s.KeyFingerprints, fingerprints) {
		return nil
	}
	next := map[string]any{"observedGeneration": u.GetGeneration(), "conditions": s.Conditions}
	if u.GetKind() == v1beta1.KindAuthority {
		next["keyFingerprints"] = fingerprints // null removes them
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": u.GetResourceVersion()},
		"status":   next,
	})
	if err != nil {
		return fmt.Errorf("encoding the status of %s: %w", name(u), err)
	}
	target := newObject(u.GetKind())
	target.SetNamespace(u.GetNamespace())
	target.SetName(u.GetName())
	err = w.client.Status().Patch(ctx, target, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(fieldOwner))
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		w.log.DebugContext(ctx, "an object changed before its status was written", "object", name(u), "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("writing the status of %s: %w", name(u), err)
	}
	w.log.InfoContext(ctx, "status written", "object", name(u), "ready", ready.Status, "reason", ready.Reason)
	return nil
}

func name(u *unstructured.Unstructured) string {
	return v1beta1.ObjectName(u.GetKind(), &metav1.ObjectMeta{Namespace: u.GetNamespace(), Name: u.GetName()})
}
