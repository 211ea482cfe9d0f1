package controller

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
)

// removeAttestations deletes the objects that were made by asking, and hold what can be asked for again. Those with
// statements that somebody else wrote stay, as policies do.
func (w *cleaner) removeAttestations(ctx context.Context) {
	for next := ""; ; {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(v1beta1.GroupVersion().WithKind(v1beta1.KindAttestation + "List"))
		err := w.client.List(ctx, list, client.MatchingLabels{v1beta1.LabelAsked: v1beta1.LabelAskedValue}, client.Limit(page), client.Continue(next))
		if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
			return // the kind is gone, and its objects with it
		}
		if err != nil {
			w.problems.add(fmt.Errorf("listing Attestations: %w; those that were made by asking may be left", err))
			return
		}
		for i := range list.Items {
			o := &list.Items[i]
			if foreign(o.ManagedFields) {
				continue
			}
			err := w.client.Delete(ctx, o, client.Preconditions{UID: &o.UID, ResourceVersion: &o.ResourceVersion})
			switch {
			case err == nil:
				w.done.Attestations++
			case !apierrors.IsNotFound(err):
				w.problems.add(fmt.Errorf("deleting Attestation %s: %w", o.Name, err))
			}
		}
		if next = list.Continue; next == "" {
			return
		}
	}
}
