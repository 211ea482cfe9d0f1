package controller

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/policyagent/kube"
	"github.com/kritis-node/kritis-node/verifier"
)

// policies keeps the statuses of authorities and policies. It takes a namespace at a time, because a policy depends on the
// authorities of its namespace and on nothing outside it.
type policies struct {
	statusWriter
	metrics *metrics
}

func addPolicies(m manager.Manager, p *policies) error {
	byNamespace := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: o.GetNamespace()}}}
	})
	return builder.ControllerManagedBy(m).Named("policies").
		Watches(newObject(v1beta1.KindAuthority), byNamespace).
		Watches(newObject(v1beta1.KindPolicy), byNamespace).
		Complete(p)
}

// Reconcile implements reconcile.Reconciler. The request's name is that of a namespace.
func (p *policies) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	var items []unstructured.Unstructured
	for _, kind := range []string{v1beta1.KindAuthority, v1beta1.KindPolicy} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(v1beta1.GroupVersion().WithKind(kind + "List"))
		if err := p.client.List(ctx, list, client.InNamespace(request.Name)); err != nil {
			return reconcile.Result{}, fmt.Errorf("listing %s: %w", kind, err)
		}
		items = append(items, list.Items...)
	}
	objects := make([]kube.Object, len(items))
	for i := range items {
		var err error
		if objects[i], err = asKube(&items[i]); err != nil {
			return reconcile.Result{}, err
		}
	}
	understood, problems, err := kube.Understand(objects)
	if err != nil {
		return reconcile.Result{}, err
	}
	p.metrics.setProblems("namespace "+request.Name, problems)
	of := map[string][]verifier.Problem{}
	for _, problem := range problems {
		of[problem.Object] = append(of[problem.Object], problem)
	}
	fingerprints := map[string][]string{}
	for _, a := range understood.Authorities {
		fingerprints[v1beta1.ObjectName(v1beta1.KindAuthority, &a.ObjectMeta)] = a.KeyFingerprints()
	}
	var failures []error
	for i := range items {
		u := &items[i]
		ready := v1beta1.Ready(u.GetGeneration(), of[name(u)])
		failures = append(failures, p.write(ctx, u, ready, fingerprints[name(u)]))
	}
	return reconcile.Result{}, errors.Join(failures...)
}
