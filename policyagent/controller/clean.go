package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kritis-node/kritis-node/policyagent/nodereport"
)

const (
	// Writers selects the pods that write what Clean removes, as the chart labels them. The Job that runs Clean is none.
	Writers = "app.kubernetes.io/part-of=kritis-node,app.kubernetes.io/component in (node,webhook,controller)"
	// writersPause is between two looks at them.
	writersPause = time.Second
	// page is how many objects one list asks for: Nodes are large, and thousands of them have to fit into the memory.
	page = 100
	// maxProblems is how many problems are told one by one.
	maxProblems = 20
)

// Cleaning says what Clean removes, and from where.
type Cleaning struct {
	// REST is how the API server is reached.
	REST *rest.Config
	// Namespace is the one that the product was in.
	Namespace string
	// Patience is how long pods of the product may take to end before the rest is done without them.
	Patience time.Duration
}

// Cleaned is what Clean removed.
type Cleaned struct {
	// Conditions is the number of Nodes that had the condition, Leases that of node reports and of the leader's Lease,
	// Attestations that of objects made by asking, Reports that of policy reports.
	Conditions, Leases, Attestations, Reports int
}

// Clean removes what an uninstallation leaves, because no manifest lists it: the condition of Nodes, node reports, the
// leader's Lease, Attestations that were made by asking, and policy reports. It first waits for the pods that write these. What is not there is as good as removed, so it can be
// repeated. The error has a line for each thing that is not certain to be gone; the rest is removed all the same.
func Clean(ctx context.Context, c Cleaning) (Cleaned, error) {
	if c.REST == nil || c.Namespace == "" {
		return Cleaned{}, errors.New("an API server and a namespace are needed: name it with --namespace")
	}
	scheme, err := newScheme()
	if err != nil {
		return Cleaned{}, err
	}
	api, err := client.New(c.REST, client.Options{Scheme: scheme})
	if err != nil {
		return Cleaned{}, fmt.Errorf("preparing for the API server %s: %w; do the credentials hold?", c.REST.Host, err)
	}
	w := &cleaner{client: api, namespace: c.Namespace}
	w.awaitWriters(ctx, c.Patience)
	w.removeConditions(ctx)
	w.removeLeases(ctx)
	w.removeAttestations(ctx)
	w.removeReports(ctx)
	return w.done, w.problems.error()
}

type cleaner struct {
	client    client.Client
	namespace string
	done      Cleaned
	problems  problems
}

// awaitWriters waits until nobody is left who would write anew what is removed: Helm does not wait for pods to end.
func (w *cleaner) awaitWriters(ctx context.Context, patience time.Duration) {
	selector, err := labels.Parse(Writers)
	if err != nil {
		w.problems.add(fmt.Errorf("selecting the product's pods: %w", err))
		return
	}
	// A pod that came to its end, evicted say, writes nothing and may stay for long.
	alive := fields.AndSelectors(fields.OneTermNotEqualSelector("status.phase", string(core.PodSucceeded)),
		fields.OneTermNotEqualSelector("status.phase", string(core.PodFailed)))
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	pause := time.NewTicker(writersPause)
	defer pause.Stop()
	for over := false; ; {
		pods := &core.PodList{}
		err := w.client.List(ctx, pods, client.InNamespace(w.namespace), client.MatchingLabelsSelector{Selector: selector},
			client.MatchingFieldsSelector{Selector: alive}, client.Limit(page))
		switch {
		case err != nil:
			w.problems.add(fmt.Errorf("looking whether pods of the product still run in namespace %s: %w; if they do, they write anew", w.namespace, err))
			return
		case len(pods.Items) == 0:
			return
		case over:
			for i := range pods.Items {
				w.problems.add(fmt.Errorf("pod %s/%s still runs and may write anew: uninstall the product, or delete the pod, then repeat this",
					w.namespace, pods.Items[i].Name))
			}
			return
		}
		select {
		case <-ctx.Done():
			over = true // the list says what is wrong
		case <-timeout.C:
			over = true
		case <-pause.C:
		}
	}
}

// removeConditions takes the condition from the Nodes that have it, and touches nothing else of them.
func (w *cleaner) removeConditions(ctx context.Context) {
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []map[string]any{
		{"$patch": "delete", "type": nodereport.Condition},
	}}})
	if err != nil {
		w.problems.add(fmt.Errorf("encoding what to remove from nodes: %w", err))
		return
	}
	for next := ""; ; {
		nodes := &core.NodeList{}
		if err := w.client.List(ctx, nodes, client.Limit(page), client.Continue(next)); err != nil {
			w.problems.add(fmt.Errorf("listing nodes: %w; condition %s may be left on them", err, nodereport.Condition))
			return
		}
		for i := range nodes.Items {
			if condition(&nodes.Items[i]) == nil {
				continue
			}
			name := nodes.Items[i].Name
			node := &core.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
			err := w.client.Status().Patch(ctx, node, client.RawPatch(types.StrategicMergePatchType, patch), client.FieldOwner(fieldOwner))
			switch {
			case err == nil:
				w.done.Conditions++
			case !apierrors.IsNotFound(err):
				w.problems.add(fmt.Errorf("removing condition %s from node %s: %w", nodereport.Condition, name, err))
			}
		}
		if next = nodes.Continue; next == "" {
			return
		}
	}
}

// removeLeases deletes the reports of nodes and the leader's Lease. Reports are known by label and name: others' Leases may
// be in the namespace.
func (w *cleaner) removeLeases(ctx context.Context) {
	w.removeLease(ctx, LeaseName)
	for next := ""; ; {
		leases := &coordination.LeaseList{}
		err := w.client.List(ctx, leases, client.InNamespace(w.namespace), client.MatchingLabels{nodereport.Label: nodereport.LabelValue},
			client.Limit(page), client.Continue(next))
		if err != nil {
			w.problems.add(fmt.Errorf("listing leases of namespace %s: %w; node reports may be left there", w.namespace, err))
			return
		}
		for i := range leases.Items {
			if _, ok := nodereport.NodeName(leases.Items[i].Name); ok {
				w.removeLease(ctx, leases.Items[i].Name)
			}
		}
		if next = leases.Continue; next == "" {
			return
		}
	}
}

func (w *cleaner) removeLease(ctx context.Context, name string) {
	err := w.client.Delete(ctx, &coordination.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}})
	switch {
	case err == nil:
		w.done.Leases++
	case !apierrors.IsNotFound(err):
		w.problems.add(fmt.Errorf("deleting lease %s/%s: %w", w.namespace, name, err))
	}
}

// problems are told line by line, and are no more than somebody reads.
type problems struct {
	told []error
	more int
}

func (p *problems) add(err error) {
	if len(p.told) == maxProblems {
		p.more++
		return
	}
	p.told = append(p.told, errors.New(strings.Join(strings.Fields(err.Error()), " ")))
}

func (p *problems) error() error {
	if p.more == 0 {
		return errors.Join(p.told...)
	}
	return errors.Join(append(p.told, fmt.Errorf("and %d more of the kind", p.more))...)
}
