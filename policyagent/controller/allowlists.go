package controller

import (
	"context"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/policyagent/kube"
	"github.com/kritis-node/kritis-node/verifier"
)

// lookAgain is how long a moment is waited for at most. A clock may be set meanwhile.
const lookAgain = time.Hour

// allowlists keeps the statuses of allow-lists.
type allowlists struct {
	statusWriter
	metrics *metrics
}

func addAllowlists(m manager.Manager, a *allowlists) error {
	return builder.ControllerManagedBy(m).Named("allowlists").
		Watches(newObject(v1beta1.KindAllowlist), &handler.EnqueueRequestForObject{}).
		Complete(a)
}

// Reconcile implements reconcile.Reconciler.
func (a *allowlists) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	u := newObject(v1beta1.KindAllowlist)
	if err := a.client.Get(ctx, request.NamespacedName, u); apierrors.IsNotFound(err) {
		a.metrics.setProblems("allow-list "+request.Name, nil)
		return reconcile.Result{}, nil
	} else if err != nil {
		return reconcile.Result{}, fmt.Errorf("reading an allow-list: %w", err)
	}
	object, err := asKube(u)
	if err != nil {
		return reconcile.Result{}, err
	}
	understood, problems, err := kube.Understand([]kube.Object{object})
	if err != nil {
		return reconcile.Result{}, err
	}
	a.metrics.setProblems("allow-list "+request.Name, problems)
	now := time.Now()
	ready, next := allowlistReady(u.GetGeneration(), understood.Allowlists[0].Spec.Patterns, problems, now)
	if err := a.write(ctx, u, ready, nil); err != nil {
		return reconcile.Result{}, err
	}
	if next.IsZero() {
		return reconcile.Result{}, nil
	}
	// Not a moment before, or the pattern would still count.
	return reconcile.Result{RequeueAfter: min(next.Sub(now)+time.Millisecond, lookAgain)}, nil
}

// allowlistReady returns the condition of an allow-list at a moment, and when the next pattern expires; never if zero.
func allowlistReady(generation int64, patterns []v1beta1.AllowPattern, problems []verifier.Problem, now time.Time) (metav1.Condition, time.Time) {
	var next time.Time
	var expired []int
	for i, p := range patterns {
		switch {
		case p.Expires == nil || p.Expires.IsZero(): // zero is a problem of its own
		case !now.Before(p.Expires.Time): // as verifier has it
			expired = append(expired, i)
		case next.IsZero() || p.Expires.Time.Before(next):
			next = p.Expires.Time
		}
	}
	ready := v1beta1.Ready(generation, problems)
	if len(expired) == 0 || len(problems) > 0 {
		return ready, next
	}
	if len(expired) == len(patterns) {
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, ReasonExpired, textExpired
		return ready, next
	}
	var which strings.Builder
	for n, i := range expired {
		if n == maxNamed {
			fmt.Fprintf(&which, " and %d more", len(expired)-n)
			break
		}
		if n > 0 {
			which.WriteString(", ")
		}
		fmt.Fprintf(&which, "spec.patterns[%d]", i)
	}
	ready.Reason, ready.Message = ReasonSomeExpired, fmt.Sprintf(textSomeExpired, &which)
	return ready, next
}
