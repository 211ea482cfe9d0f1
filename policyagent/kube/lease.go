package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kjson "sigs.k8s.io/json"

	"github.com/kritis-node/kritis-node/policyagent/nodereport"
)

const (
	// reportPause is between two reports of a node, whatever changes.
	reportPause = 2 * time.Second
	// lookUpEvery is how often the Node's UID is looked for while it is not known.
	lookUpEvery = 10 * time.Minute
	// maxNode bounds a Node's JSON, in bytes. It lists the node's images.
	maxNode = 4 << 20
)

// NodeLease keeps a node's report in a Lease. It implements policyagent.ReportKeeper.
type NodeLease struct {
	server                *Server
	namespace, node, name string
	log                   *slog.Logger

	// Those are Keep's alone: the Node's UID, empty if it is not known, and when it was looked for last.
	uid      types.UID
	lookedAt time.Time

	mu              sync.Mutex
	written, failed uint64
}

// NewNodeLease returns the keeper of the report of a node, in a namespace.
func NewNodeLease(s *Server, namespace, node string, log *slog.Logger) (*NodeLease, error) {
	name, err := nodereport.LeaseName(node)
	if err == nil && !nameForm.MatchString(node) {
		err = fmt.Errorf("%.60q is not the name of a node", node)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: give the name of the Node object, with --node-name or NODE_NAME", err)
	}
	if !nameForm.MatchString(namespace) || len(namespace) > 63 {
		return nil, fmt.Errorf("%.60q is not the name of a namespace: correct --report-namespace", namespace)
	}
	return &NodeLease{server: s, namespace: namespace, node: node, name: name, log: log}, nil
}

// Keep writes the report regularly and soon after each signal, until the context ends, and returns nil then. While the API
// server is away, it tries again, ever more rarely.
func (l *NodeLease) Keep(ctx context.Context, report func(now time.Time) (nodereport.Report, bool), changed <-chan struct{}) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last time.Time
	failures := 0
	for {
		select {
		case <-ctx.Done():
			l.server.Close()
			return nil
		case <-changed:
			if failures > 0 {
				continue // it is tried again anyhow, with what is true then
			}
			select {
			case <-ctx.Done():
				continue
			case <-time.After(time.Until(last.Add(reportPause))):
			}
		case <-timer.C:
		}
		r, ok := report(time.Now())
		if !ok {
			timer.Reset(reportPause)
			continue
		}
		last = time.Now()
		if err := l.write(ctx, r); err != nil && ctx.Err() == nil {
			failures++
			if failures == 1 {
				l.log.Warn("the node's report cannot be written; enforcement does not depend on it", "error", adviseRight(err, "create and patch leases in namespace "+l.namespace, "it is tried again"))
			}
			timer.Reset(jitter(min(nodereport.RenewEvery, reportPause<<min(failures, 8))))
			continue
		}
		if failures > 0 {
			l.log.Info("the node's report is written again", "failures", failures)
		}
		failures = 0
		timer.Reset(jitter(nodereport.RenewEvery))
	}
}

// jitter keeps the nodes of a cluster from coming all at once.
func jitter(d time.Duration) time.Duration { return d - d/10 + rand.N(d/5) } //nolint:gosec // nobody gains by guessing it

type leaseObject struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Metadata   leaseMeta `json:"metadata"`
	Spec       leaseSpec `json:"spec"`
}

type leaseMeta struct {
	Name            string                  `json:"name"`
	Namespace       string                  `json:"namespace"`
	Labels          map[string]string       `json:"labels"`
	Annotations     map[string]string       `json:"annotations"`
	OwnerReferences []metav1.OwnerReference `json:"ownerReferences,omitempty"`
}

type leaseSpec struct {
	HolderIdentity       string           `json:"holderIdentity"`
	LeaseDurationSeconds int              `json:"leaseDurationSeconds"`
	RenewTime            metav1.MicroTime `json:"renewTime"`
}

// write writes one report: into the Lease that is there, or into a new one.
func (l *NodeLease) write(ctx context.Context, r nodereport.Report) (err error) {
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if err != nil {
			l.failed++
		} else {
			l.written++
		}
	}()
	value, err := r.Encode()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, writeTimeout, fmt.Errorf("no answer within %s", writeTimeout))
	defer cancel()
	l.lookUp(ctx)
	path := []string{"/apis/coordination.k8s.io/v1/namespaces", l.namespace, "leases"}
	body, err := json.Marshal(l.object(r, value))
	if err != nil {
		return err
	}
	err = l.server.client.Patch(types.MergePatchType).AbsPath(append(path, l.name)...).Body(body).Do(ctx).Error()
	if apierrors.IsNotFound(err) {
		// The Node may be another one by that name now, whose report would go with the old one.
		l.uid, l.lookedAt = "", time.Time{}
		l.lookUp(ctx)
		if body, err = json.Marshal(l.object(r, value)); err != nil {
			return err
		}
		err = l.server.client.Post().AbsPath(path...).SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Error()
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (l *NodeLease) object(r nodereport.Report, value string) leaseObject {
	o := leaseObject{
		APIVersion: "coordination.k8s.io/v1", Kind: "Lease",
		Metadata: leaseMeta{
			Name: l.name, Namespace: l.namespace, Labels: map[string]string{nodereport.Label: nodereport.LabelValue},
			Annotations: map[string]string{nodereport.Annotation: value},
		},
		Spec: leaseSpec{l.node, int(nodereport.StaleAfter.Seconds()), metav1.NewMicroTime(r.At)},
	}
	if l.uid != "" {
		// So the Lease goes with its Node.
		o.Metadata.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: l.node, UID: l.uid}}
	}
	return o
}

// lookUp looks for the Node's UID, if it is not known. Without it, or the right to read it, the Lease has no owner.
func (l *NodeLease) lookUp(ctx context.Context) {
	if l.uid != "" || !l.lookedAt.IsZero() && time.Since(l.lookedAt) < lookUpEvery {
		return
	}
	l.lookedAt = time.Now()
	data, err := read(ctx, l.server.client.Get().AbsPath("/api/v1/nodes", l.node), maxNode)
	if err != nil {
		return
	}
	var node struct {
		Kind     string `json:"kind"`
		Metadata struct {
			Name string    `json:"name"`
			UID  types.UID `json:"uid"`
		} `json:"metadata"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &node); err == nil && node.Kind == "Node" && node.Metadata.Name == l.node {
		l.uid = node.Metadata.UID
	}
}

// Metrics returns what to collect about the reports.
func (l *NodeLease) Metrics() prometheus.Collector { return leaseCollector{l} }

type leaseCollector struct{ lease *NodeLease }

// Describe implements prometheus.Collector.
func (c leaseCollector) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements prometheus.Collector.
func (c leaseCollector) Collect(out chan<- prometheus.Metric) {
	c.lease.mu.Lock()
	defer c.lease.mu.Unlock()
	for result, n := range map[string]uint64{"written": c.lease.written, "failed": c.lease.failed} {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc("kritis_policyagent_node_reports_total", "Reports of this node to the cluster, by what became of them.", []string{"result"}, nil),
			prometheus.CounterValue, float64(n), result)
	}
}
