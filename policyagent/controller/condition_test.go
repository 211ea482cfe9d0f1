package controller

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/policyagent/nodereport"
)

func testLease(t *testing.T, r nodereport.Report, renewed time.Time) *coordination.Lease {
	t.Helper()
	value, err := r.Encode()
	check(t, err)
	l := &coordination.Lease{}
	l.Annotations = map[string]string{nodereport.Annotation: value}
	l.Spec.RenewTime = &metav1.MicroTime{Time: renewed}
	return l
}

func TestJudgeNode(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("x", 3600))
	gaps := []nodereport.Gap{{Code: "a", Text: "one"}, {Code: "b"}, {Code: "c", Text: "two\nlines \x1b[31m"}}
	for name, c := range map[string]struct {
		lease                 *coordination.Lease
		stale                 bool
		status                core.ConditionStatus
		reason, mode, message string
	}{
		"none":            {nil, true, "Unknown", "Silent", "silent", "no report has come from this node: look at the policy agent's log there"},
		"stale":           {testLease(t, nodereport.Report{Node: "n", Mode: "enforcing"}, at), true, "Unknown", "Silent", "silent", "the last report of this node is from 2026-01-02T02:04:05Z: look at the policy agent's log there"},
		"never renewed":   {&coordination.Lease{}, true, "Unknown", "Silent", "silent", "the last report of this node is from a time unknown: look at the policy agent's log there"},
		"enforcing":       {testLease(t, nodereport.Report{Node: "n", Mode: "enforcing"}, at), false, "True", "Enforcing", "enforcing", "no container starts unchecked, whatever becomes of the plugin"},
		"best effort":     {testLease(t, nodereport.Report{Node: "n", Mode: "best effort", Gaps: gaps}, at), false, "False", "BestEffort", "best effort", "containers start unchecked while the plugin is stalled or absent: one; two lines [31m"},
		"waiting":         {testLease(t, nodereport.Report{Node: "n", Mode: "waiting"}, at), false, "False", "Waiting", "waiting", "the plugin works and is not registered with the runtime"},
		"absent":          {testLease(t, nodereport.Report{Node: "n", Mode: "absent"}, at), false, "False", "PluginAbsent", "absent", "the policy agent has not heard of a plugin on this node: look at the plugin's log there"},
		"silent, it says": {testLease(t, nodereport.Report{Node: "n", Mode: "silent"}, at), false, "Unknown", "ReportUnreadable", "unreadable", `the report of this node cannot be read: mode "silent" is not known; give node and controller the same version`},
		"another's":       {testLease(t, nodereport.Report{Node: "m", Mode: "enforcing"}, at), false, "Unknown", "ReportUnreadable", "unreadable", `the report of this node cannot be read: it is of node "m"; give node and controller the same version`},
		"nothing in it":   {&coordination.Lease{}, false, "Unknown", "ReportUnreadable", "unreadable", ""},
	} {
		got, mode := judgeNode("n", c.lease, !c.stale)
		if got.Type != "KritisEnforcing" || got.Status != c.status || got.Reason != c.reason || mode != c.mode || c.message != "" && got.Message != c.message {
			t.Errorf("%s: %s %+v", name, mode, got)
		}
	}
	// Neither a long text nor a long word breaks a bound.
	long := []nodereport.Gap{{Text: strings.Repeat("ä", 2000)}}
	for _, r := range []nodereport.Report{{Node: "n", Mode: "best effort", Gaps: long}, {Node: "n", Mode: strings.Repeat("ä", 3000)}, {Node: strings.Repeat("ä", 3000), Mode: "enforcing"}} {
		got, mode := judgeNode("n", testLease(t, r, at), true)
		if len(got.Message) > v1beta1.MaxMessage || !utf8.ValidString(got.Message) || got.Status == core.ConditionTrue || len(mode) > 20 {
			t.Errorf("%d bytes: %s %s", len(got.Message), mode, got.Message)
		}
	}
}

func TestRenewals(t *testing.T) {
	start := time.Now()
	r := renewals{seen: map[string]renewal{}}
	at := func(made time.Time) *coordination.Lease {
		return &coordination.Lease{Spec: coordination.LeaseSpec{RenewTime: &metav1.MicroTime{Time: made}}}
	}
	const m = time.Minute
	for i, step := range []struct {
		now  time.Duration
		made *time.Duration
		want time.Duration
	}{
		{0, nil, 0},                       // no Lease
		{0, ptr(-1 * m), 2 * m},           // the first is believed
		{1 * m, ptr(-1 * m), 1 * m},       // and grows old
		{2 * m, ptr(-1 * m), 0},           // and stale
		{2 * m, ptr(-24 * 60 * m), 3 * m}, // renewed, by a clock that is late
		{4 * m, ptr(-24 * 60 * m), 1 * m}, // and grows old
		{6 * m, ptr(24 * 60 * m), 3 * m},  // renewed, by a clock that is early
		{9*m + 1, ptr(24 * 60 * m), -1},   // and is stale all the same
		{10 * m, nil, 0},                  // deleted
		{10 * m, ptr(24 * 60 * m), 3 * m}, // the first, of the future: not believed more than now
		{13*m + 1, ptr(24 * 60 * m), -1},  //
	} {
		var lease *coordination.Lease
		if step.made != nil {
			lease = at(start.Add(*step.made))
		}
		if got := r.left("n", lease, start.Add(step.now)); got != step.want {
			t.Errorf("step %d: %s left, want %s", i, got, step.want)
		}
	}
	r.forget("n")
	if len(r.seen) != 0 {
		t.Error("a node that is gone is remembered")
	}
}

func ptr(d time.Duration) *time.Duration { return &d }

func TestSlimNode(t *testing.T) {
	node := &core.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "u", ResourceVersion: "1", Labels: map[string]string{core.LabelOSStable: "linux", "x": "y"}},
		Status: core.NodeStatus{Conditions: []core.NodeCondition{{Type: "Ready"}, {Type: nodereport.Condition, Reason: "Silent"}}, Images: make([]core.ContainerImage, 50)}}
	slim, err := slimNode(node)
	check(t, err)
	got := slim.(*core.Node)
	if got.Name != "n" || got.UID != "u" || got.ResourceVersion != "1" || len(got.Labels) != 1 || len(got.Status.Conditions) != 1 || got.Status.Conditions[0].Reason != "Silent" || got.Status.Images != nil {
		t.Errorf("%+v", got)
	}
}
