package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodereport"
)

// leases is an API server with one Lease and perhaps one Node.
type leases struct {
	mu      sync.Mutex
	lease   map[string]any // nil: none
	uid     string         // of the Node; empty: forbidden
	failing bool
	tries   int
	wrote   chan leaseObject
}

func (l *leases) serve(w http.ResponseWriter, req *http.Request) bool {
	body, _ := io.ReadAll(req.Body)
	l.mu.Lock()
	defer l.mu.Unlock()
	const path = "/apis/coordination.k8s.io/v1/namespaces/ns/leases"
	var o leaseObject
	switch {
	case req.Method == http.MethodGet && req.URL.Path == "/api/v1/nodes/n1" && l.uid == "":
		fail(w, 403, "Forbidden", "no")
	case req.Method == http.MethodGet && req.URL.Path == "/api/v1/nodes/n1":
		fmt.Fprintf(w, `{"kind":"Node","metadata":{"name":"n1","uid":%q}}`, l.uid)
	case l.failing:
		l.tries++
		w.WriteHeader(http.StatusServiceUnavailable)
	case req.Method == http.MethodPatch && req.URL.Path == path+"/kritis-node.n1" && l.lease == nil:
		fail(w, 404, "NotFound", "none")
	case req.Method == http.MethodPatch && req.URL.Path == path+"/kritis-node.n1", req.Method == http.MethodPost && req.URL.Path == path:
		if err := json.Unmarshal(body, &o); err != nil {
			fail(w, 400, "BadRequest", err.Error())
			return true
		}
		l.lease = map[string]any{}
		fmt.Fprint(w, "{}")
		l.wrote <- o
	default:
		fail(w, 404, "NotFound", req.Method+" "+req.URL.Path)
	}
	return true
}

func (l *leases) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

type reportOf struct {
	mu sync.Mutex
	r  nodereport.Report
	ok bool
}

func (r *reportOf) get(now time.Time) (nodereport.Report, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.r.At = now
	return r.r, r.ok
}

func (r *reportOf) set(mode string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.r, r.ok = nodereport.Report{Node: "n1", Mode: mode}, true
}

func keep(t *testing.T, l *leases, r *reportOf) (*NodeLease, chan<- struct{}) {
	t.Helper()
	l.wrote = make(chan leaseObject, 16)
	a := newAPI(t)
	a.change(func() { a.intercept = l.serve })
	keeper, err := NewNodeLease(a.server(), "ns", "n1", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	changed := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- keeper.Keep(ctx, r.get, changed) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return keeper, changed
}

// next returns what was written next.
func (l *leases) next(t *testing.T) (leaseObject, nodereport.Report) {
	t.Helper()
	select {
	case o := <-l.wrote:
		r, err := nodereport.Parse(o.Metadata.Annotations[nodereport.Annotation])
		if err != nil {
			t.Error(err)
		}
		return o, r
	case <-time.After(30 * time.Second):
		t.Fatal("nothing is written")
		return leaseObject{}, nodereport.Report{}
	}
}

func TestLease(t *testing.T) {
	l, r := &leases{uid: "u1"}, &reportOf{}
	r.set(nodereport.ModeEnforcing)
	keeper, changed := keep(t, l, r)
	o, report := l.next(t)
	if report.Mode != nodereport.ModeEnforcing || o.Kind != "Lease" || o.APIVersion != "coordination.k8s.io/v1" || o.Metadata.Name != "kritis-node.n1" || o.Metadata.Namespace != "ns" ||
		o.Metadata.Labels[nodereport.Label] != nodereport.LabelValue || o.Spec.HolderIdentity != "n1" || o.Spec.RenewTime.IsZero() || o.Spec.LeaseDurationSeconds != 180 {
		t.Errorf("%+v", o)
	}
	if refs := o.Metadata.OwnerReferences; len(refs) != 1 || refs[0].Kind != "Node" || refs[0].Name != "n1" || refs[0].UID != "u1" || refs[0].APIVersion != "v1" {
		t.Errorf("%+v", refs)
	}
	first := time.Now()
	r.set(nodereport.ModeWaiting)
	changed <- struct{}{}
	if _, report := l.next(t); report.Mode != nodereport.ModeWaiting {
		t.Errorf("%+v", report)
	}
	if took := time.Since(first); took < reportPause-time.Second || took > nodereport.RenewEvery/2 {
		t.Errorf("a change was told after %s", took)
	}
	// The Node was replaced, and its Lease went with it.
	l.change(func() { l.lease, l.uid = nil, "u2" })
	changed <- struct{}{}
	if o, _ := l.next(t); len(o.Metadata.OwnerReferences) != 1 || o.Metadata.OwnerReferences[0].UID != "u2" {
		t.Errorf("%+v", o)
	}
	if got := gathered(t, keeper.Metrics(), "kritis_policyagent_node_reports_total"); got["written"] < 2 || got["failed"] != 0 {
		t.Error(got)
	}
}

// Without the right to read Nodes there is no owner; while there is nothing to tell nothing is written; what fails is
// tried again with what is true then.
func TestLeaseInTrouble(t *testing.T) {
	l, r := &leases{failing: true}, &reportOf{}
	keeper, changed := keep(t, l, r)
	changed <- struct{}{}
	changed <- struct{}{} // it has dealt with the first
	l.change(func() {
		if l.tries != 0 {
			t.Error("something was written")
		}
	})
	r.set(nodereport.ModeEnforcing)
	began := time.Now()
	for tries := 0; tries < 1; {
		if l.change(func() { tries = l.tries }); time.Since(began) > 30*time.Second {
			t.Fatal("it is not tried")
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.set(nodereport.ModeWaiting)
	l.change(func() { l.failing = false })
	o, report := l.next(t)
	if report.Mode != nodereport.ModeWaiting || len(o.Metadata.OwnerReferences) != 0 {
		t.Errorf("%+v", o)
	}
	if got := gathered(t, keeper.Metrics(), "kritis_policyagent_node_reports_total"); got["failed"] < 1 {
		t.Error(got)
	}
}

func TestLeaseNames(t *testing.T) {
	for name, c := range map[string]struct{ namespace, node, want string }{
		"good":            {"kritis-system", "n1", ""},
		"longest":         {strings.Repeat("n", 63), strings.Repeat("n", 241), ""},
		"no node":         {"ns", "", "--node-name"},
		"long node":       {"ns", strings.Repeat("n", 242), "--node-name"},
		"no namespace":    {"", "n1", "--report-namespace"},
		"long namespace":  {strings.Repeat("n", 64), "n1", "--report-namespace"},
		"path":            {"../ns", "n1", "--report-namespace"},
		"path in a node":  {"ns", "../n", "--node-name"},
		"slash in a node": {"ns", "n/n", "--node-name"},
	} {
		if _, err := NewNodeLease(nil, c.namespace, c.node, nil); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestJitter(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 100 {
		d := jitter(time.Minute)
		if d < 54*time.Second || d >= 66*time.Second {
			t.Fatal(d)
		}
		seen[d] = true
	}
	if len(seen) < 50 {
		t.Error("all come at once")
	}
}
