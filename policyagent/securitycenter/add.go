package securitycenter

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
)

// reportingController is this package's name in events.
const reportingController = "kritis.grafeas.io/security-center"

// loadRetry is the pause after objects could not be listed.
const loadRetry = time.Second

// Add has a manager keep objects in sync while it leads.
func Add(m manager.Manager, cfg Config, registry prometheus.Registerer) error {
	if err := cfg.check(); err != nil {
		return err
	}
	metrics := newMetrics()
	if err := registry.Register(metrics); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	look := make(chan event.GenericEvent)
	e := newEngine(cfg, metrics, func(ctx context.Context, namespaces []string) {
		for _, ns := range namespaces {
			o := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: ns}}
			select {
			case look <- event.GenericEvent{Object: o}:
			case <-ctx.Done():
				return
			}
		}
	})
	r := &reconciler{
		engine: e, client: m.GetClient(), reader: m.GetAPIReader(), recorder: m.GetEventRecorder(reportingController), made: map[removed]made{},
	}
	byNamespace := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: o.GetNamespace()}}}
	})
	comesOrGoes := predicate.Funcs{UpdateFunc: func(event.UpdateEvent) bool { return false }}
	err := builder.ControllerManagedBy(m).Named("securitycenter").
		Watches(newObject(v1beta1.KindAuthority), byNamespace).
		Watches(newObject(v1beta1.KindPolicy), byNamespace).
		WatchesMetadata(&core.Namespace{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(comesOrGoes)).
		WatchesRawSource(source.Channel(look, &handler.EnqueueRequestForObject{})).
		Complete(r)
	if err != nil {
		return fmt.Errorf("watching what Security Center's objects depend on: %w", err)
	}
	return m.Add(manager.RunnableFunc(func(ctx context.Context) error {
		if s, surplus, ok := load(ctx, m.GetClient(), cfg); ok {
			e.start(ctx, s, surplus)
			e.run(ctx)
		}
		return nil
	}))
}

// load reads the objects that there are. Without them nothing can be told from what is new, so it tries until they are
// there or the context ends.
func load(ctx context.Context, c client.Client, cfg Config) (state, []removed, bool) {
	for {
		var items []unstructured.Unstructured
		var err error
		for _, kind := range []string{kindAuthority, kindPolicy} {
			list := &unstructured.UnstructuredList{}
			list.SetGroupVersionKind(v1beta1.GroupVersion().WithKind(kind + "List"))
			if err = c.List(ctx, list); err != nil {
				break
			}
			items = append(items, list.Items...)
		}
		if err == nil {
			s, surplus := read(items)
			return s, surplus, true
		}
		cfg.Log.WarnContext(ctx, "objects that come from Security Center cannot be listed; nothing is changed until they can", "error", err)
		select {
		case <-ctx.Done():
			return nil, nil, false
		case <-time.After(loadRetry):
		}
	}
}
