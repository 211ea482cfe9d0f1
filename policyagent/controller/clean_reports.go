package controller

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// removeReports deletes the policy reports, of each kind that the cluster has.
func (w *cleaner) removeReports(ctx context.Context) {
	for _, kind := range reportKinds() {
		w.removeReportsOf(ctx, kind)
	}
}

func (w *cleaner) removeReportsOf(ctx context.Context, kind schema.GroupVersionKind) {
	for next := ""; ; {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		err := w.client.List(ctx, list, client.MatchingLabels{policyReportLabel: fieldOwner}, client.Limit(page), client.Continue(next))
		if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
			return
		}
		if err != nil {
			w.problems.add(fmt.Errorf("listing policy reports: %w; those of this product may be left", err))
			return
		}
		for i := range list.Items {
			o := &list.Items[i]
			if o.Name != PolicyReportName {
				continue
			}
			o.SetGroupVersionKind(kind)
			switch err := w.client.Delete(ctx, o, client.Preconditions{UID: &o.UID}); {
			case err == nil:
				w.done.Reports++
			case !apierrors.IsNotFound(err):
				w.problems.add(fmt.Errorf("deleting the policy report of namespace %s: %w", o.Namespace, err))
			}
		}
		if next = list.Continue; next == "" {
			return
		}
	}
}
