package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"time"

	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kritis-node/kritis-node/policyagent/nodereport"
)

// conflictPause is how long the cache gets to catch up with somebody else's change of a Node.
const conflictPause = time.Second

// nodes keeps the condition nodereport.Condition of every node, from the nodes' reports.
type nodes struct {
	client    client.Client
	namespace string
	recorder  events.EventRecorder
	log       *slog.Logger
	metrics   *metrics
	renewals  renewals
}

func newNodes(m manager.Manager, cfg Config, metrics *metrics) *nodes {
	return &nodes{
		client: m.GetClient(), namespace: cfg.Namespace, recorder: m.GetEventRecorder(reportingController), log: cfg.Log, metrics: metrics,
		renewals: renewals{seen: map[string]renewal{}},
	}
}

func addNodes(m manager.Manager, n *nodes) error {
	byLease := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		node, ok := nodereport.NodeName(o.GetName())
		if !ok {
			return nil
		}
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: node}}}
	})
	return builder.ControllerManagedBy(m).Named("nodes").
		Watches(&core.Node{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(predicate.Funcs{UpdateFunc: matters})).
		Watches(&coordination.Lease{}, byLease).
		Complete(n)
}

// slimNode keeps of a Node what is used here. A large cluster's Nodes are large.
func slimNode(o any) (any, error) {
	node, ok := o.(*core.Node)
	if !ok {
		return o, nil
	}
	slim := &core.Node{ObjectMeta: metav1.ObjectMeta{Name: node.Name, UID: node.UID, ResourceVersion: node.ResourceVersion}}
	if os, ok := node.Labels[core.LabelOSStable]; ok {
		slim.Labels = map[string]string{core.LabelOSStable: os}
	}
	if c := condition(node); c != nil {
		slim.Status.Conditions = []core.NodeCondition{*c}
	}
	return slim, nil
}

// matters says whether a change of a Node is one that is used here. Most are kubelet's, which writes every few minutes.
func matters(e event.UpdateEvent) bool {
	before, ok := e.ObjectOld.(*core.Node)
	after, ok2 := e.ObjectNew.(*core.Node)
	return !ok || !ok2 || before.Labels[core.LabelOSStable] != after.Labels[core.LabelOSStable] ||
		!reflect.DeepEqual(condition(before), condition(after))
}

func condition(node *core.Node) *core.NodeCondition {
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == nodereport.Condition {
			return &node.Status.Conditions[i]
		}
	}
	return nil
}

// Reconcile implements reconcile.Reconciler. The request's name is that of a node.
func (n *nodes) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	node := &core.Node{}
	if err := n.client.Get(ctx, request.NamespacedName, node); apierrors.IsNotFound(err) {
		n.forget(request.Name)
		return reconcile.Result{}, nil
	} else if err != nil {
		return reconcile.Result{}, fmt.Errorf("reading node %s: %w", request.Name, err)
	}
	lease, err := n.lease(ctx, node.Name)
	if err != nil {
		return reconcile.Result{}, err
	}
	if lease == nil && node.Labels[core.LabelOSStable] != string(core.Linux) {
		n.forget(node.Name)
		return reconcile.Result{}, nil // nobody reports from there
	}
	now := time.Now()
	left := n.renewals.left(node.Name, lease, now)
	next, mode := judgeNode(node.Name, lease, left > 0)
	n.metrics.setNode(node.Name, mode)
	written, err := n.write(ctx, node, next, now)
	switch {
	case err != nil:
		return reconcile.Result{}, err
	case !written:
		return reconcile.Result{RequeueAfter: conflictPause}, nil
	}
	return reconcile.Result{RequeueAfter: max(left, 0)}, nil
}

func (n *nodes) forget(node string) {
	n.renewals.forget(node)
	n.metrics.setNode(node, "")
}

// lease returns a node's Lease, nil if there is none.
func (n *nodes) lease(ctx context.Context, node string) (*coordination.Lease, error) {
	name, err := nodereport.LeaseName(node)
	if err != nil {
		return nil, nil // it cannot have one
	}
	lease := &coordination.Lease{}
	err = n.client.Get(ctx, types.NamespacedName{Namespace: n.namespace, Name: name}, lease)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading the report of node %s: %w", node, err)
	}
	return lease, nil
}

// write gives a node the condition if it does not have it, and tells of the change. Other conditions are not touched. The
// resource version keeps a change from being told twice: whoever has read an old node does not write, and has to read anew.
func (n *nodes) write(ctx context.Context, node *core.Node, next core.NodeCondition, now time.Time) (written bool, err error) {
	last := condition(node)
	if last != nil && last.Status == next.Status && last.Reason == next.Reason && last.Message == next.Message {
		return true, nil
	}
	next.LastHeartbeatTime, next.LastTransitionTime = metav1.NewTime(now), metav1.NewTime(now)
	if last != nil && last.Status == next.Status {
		next.LastTransitionTime = last.LastTransitionTime
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": node.ResourceVersion},
		"status":   map[string]any{"conditions": []core.NodeCondition{next}},
	})
	if err != nil {
		return false, fmt.Errorf("encoding the condition of node %s: %w", node.Name, err)
	}
	target := &core.Node{ObjectMeta: metav1.ObjectMeta{Name: node.Name}}
	err = n.client.Status().Patch(ctx, target, client.RawPatch(types.StrategicMergePatchType, patch), client.FieldOwner(fieldOwner))
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		n.log.DebugContext(ctx, "a node changed before its condition was written", "node", node.Name, "error", err)
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("writing the condition of node %s: %w", node.Name, err)
	}
	n.log.InfoContext(ctx, "condition of a node written", "node", node.Name, "status", next.Status, "reason", next.Reason, "message", next.Message)
	if last == nil {
		return true, nil
	}
	switch was, is := last.Status == core.ConditionTrue, next.Status == core.ConditionTrue; {
	case was && !is:
		n.recorder.Eventf(node, nil, core.EventTypeWarning, EventNotEnforcing, next.Reason, "%s", next.Message)
	case is && !was:
		n.recorder.Eventf(node, nil, core.EventTypeNormal, EventEnforcing, next.Reason, "%s", next.Message)
	}
	return true, nil
}

// renewals tells how old reports are by this machine's clock. Clocks of nodes may be wrong: what counts is when a renewal
// was seen, not when the node says it was made. Only the first that is seen of a node is believed, if it is not of the
// future, so that a restart does not make silent nodes talk.
type renewals struct {
	mu   sync.Mutex
	seen map[string]renewal
}

type renewal struct {
	made time.Time // as the node says
	seen time.Time
}

// left is for how long the Lease may still be believed; nothing if it is not positive.
func (r *renewals) left(node string, lease *coordination.Lease, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if lease == nil || lease.Spec.RenewTime == nil {
		delete(r.seen, node)
		return 0
	}
	made := lease.Spec.RenewTime.Time
	known, ok := r.seen[node]
	if !ok || !known.made.Equal(made) {
		known.seen, known.made = now, made
		if !ok && made.Before(now) {
			known.seen = made
		}
		r.seen[node] = known
	}
	return nodereport.StaleAfter - now.Sub(known.seen)
}

func (r *renewals) forget(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.seen, node)
}
