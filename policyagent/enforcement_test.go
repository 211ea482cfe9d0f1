package policyagent

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodereport"
	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

func refusal(pod string) nodestate.Incident {
	return nodestate.Incident{At: time.Unix(1, 0), Place: "create", Namespace: "prod", Pod: pod, PodUID: "u1", Container: "main", Image: "i:v1",
		Outcome: verifier.Denied, Reason: verifier.NotAttested, Message: "image i:v1 is not attested: why"}
}

func hurried(e *enforcement) bool {
	select {
	case <-e.changed:
		return true
	default:
		return false
	}
}

// The mode is the plugin's while it reports, and absent when it has been silent for 30 s. Nothing is said before anybody
// can know.
func TestMode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnforcement(time.Now())
		expect := func(what, want string, hurry bool) {
			t.Helper()
			e.look(time.Now())
			if got := hurried(e); got != hurry {
				t.Errorf("%s: at once: %v", what, got)
			}
			mode, why := e.labels(time.Now())
			if got := mode + " " + strings.Join(why, ","); got != want {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		e.told = "" // as at the start
		expect("start", " ", false)
		time.Sleep(absentAfter - time.Millisecond)
		expect("not yet", " ", false)
		time.Sleep(time.Millisecond)
		expect("nobody", "absent PluginAbsent", true)
		expect("still nobody", "absent PluginAbsent", false)
		best := nodestate.Report{Mode: nodereport.ModeBestEffort, Gaps: []nodestate.Gap{{Code: "NotRequired", Text: "t"}, {Code: "<script>", Text: "t"}, {Code: "x", Text: "t"}}}
		e.heard(best, time.Now())
		expect("heard", "best-effort NotRequired,other", true)
		e.heard(best, time.Now())
		expect("the same", "best-effort NotRequired,other", false)
		e.heard(nodestate.Report{Mode: nodereport.ModeEnforcing}, time.Now())
		expect("better", "enforcing ", true)
		e.heard(nodestate.Report{Mode: "of a later version"}, time.Now())
		expect("unknown", "other ", true)
		time.Sleep(absentAfter - time.Millisecond)
		expect("almost silent", "other ", false)
		time.Sleep(time.Millisecond)
		expect("silent", "absent PluginAbsent", true)
		if !e.cannotRead(time.Now()) || e.cannotRead(time.Now()) || e.unreadableCount() != 2 {
			t.Error("what cannot be read is news once")
		}
		expect("of another version", "absent PluginUnreadable", true)
		e.heard(best, time.Now())
		expect("back", "best-effort NotRequired,other", true)
	})
}

// A denial is told at once; the same again, as a kubelet tries it, waits for the next turn.
func TestLastDenial(t *testing.T) {
	e := newEnforcement(time.Now())
	report := func(all ...nodestate.Incident) bool {
		e.heard(nodestate.Report{Mode: nodereport.ModeEnforcing, Incidents: all}, time.Now())
		return hurried(e)
	}
	report() // the mode
	if !report(refusal("a")) || report(refusal("a")) || !report(refusal("b")) || report() {
		t.Error("not as it should be")
	}
	dry, glass := refusal("c"), refusal("d")
	dry.Admitted, glass.Outcome = true, verifier.Allowed
	if report(dry, glass) || e.denial.Pod != "b" {
		t.Errorf("what was let through is no denial: %+v", e.denial)
	}
	again := refusal("b")
	again.At = time.Unix(5, 0)
	if report(again); !e.denial.At.Equal(time.Unix(5, 0)) {
		t.Errorf("%+v", e.denial)
	}
}

func TestIncidentsAsEvents(t *testing.T) {
	change := func(f func(*nodestate.Incident)) nodestate.Incident {
		i := refusal("web")
		f(&i)
		return i
	}
	glass := &nodestate.BreakGlass{Object: "AdmissionAllowlist e", Pattern: "i*", Expires: time.Unix(0, 0)}
	const denied = "image i:v1 is not attested: why"
	for name, c := range map[string]struct {
		incident nodestate.Incident
		want     []string
	}{
		"denied":  {refusal("web"), []string{"prod FailedKritisAdmission container main: " + denied, "kube-system FailedKritisAdmission pod prod/web on node n1, container main: " + denied}},
		"dry run": {change(func(i *nodestate.Incident) { i.Admitted = true }), []string{"prod DryRunKritisAdmission container main: dry run let it run: " + denied, "kube-system DryRunKritisAdmission pod prod/web on node n1, container main: dry run let it run: " + denied}},
		"break-glass": {change(func(i *nodestate.Incident) { i.Admitted, i.BreakGlass, i.Message = true, glass, "" }), []string{
			"prod KritisBreakGlass container main: image i:v1 runs by break-glass: pattern i* of AdmissionAllowlist e, which expires 1970-01-01T00:00:00Z: have it attested before",
			"kube-system KritisBreakGlass pod prod/web on node n1, container main: image i:v1 runs by break-glass: pattern i* of AdmissionAllowlist e, which expires 1970-01-01T00:00:00Z: have it attested before"}},
		"in kube-system": {change(func(i *nodestate.Incident) { i.Namespace = "kube-system" }), []string{"kube-system FailedKritisAdmission container main: " + denied}},
		"no UID":         {change(func(i *nodestate.Incident) { i.PodUID = "" }), []string{"kube-system FailedKritisAdmission pod prod/web on node n1, container main: " + denied}},
		"no pod's name":  {change(func(i *nodestate.Incident) { i.Pod = "A b" }), []string{"kube-system FailedKritisAdmission pod prod/A b on node n1, container main: " + denied}},
		"no namespace":   {change(func(i *nodestate.Incident) { i.Namespace = "../x" }), []string{"kube-system FailedKritisAdmission pod ../x/web on node n1, container main: " + denied}},
	} {
		var got []string
		for _, e := range events(c.incident, "n1") {
			got = append(got, e.Namespace+" "+e.Reason+" "+e.Message)
			if e.Object != (Object{"v1", "Pod", c.incident.Namespace, c.incident.Pod, c.incident.PodUID}) || !e.At.Equal(c.incident.At) {
				t.Errorf("%s: %+v", name, e)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
	long := refusal(strings.Repeat("p", nodestate.MaxName))
	long.Message = strings.Repeat("é", nodestate.MaxText/2)
	for _, e := range events(long, strings.Repeat("n", 253)) {
		if len(e.Message) > maxEventMessage || !strings.HasSuffix(e.Message, "…") {
			t.Errorf("%d bytes", len(e.Message))
		}
	}
}

// sink keeps events.
type sink struct {
	mu  sync.Mutex
	all []Event
}

func (s *sink) Tell(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, e)
}

// keeper calls for reports as a ReportKeeper does.
type keeper struct{ asked chan nodereport.Report }

func (k keeper) Keep(ctx context.Context, report func(time.Time) (nodereport.Report, bool), changed <-chan struct{}) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			if r, ok := report(time.Now()); ok {
				k.asked <- r
			}
		}
	}
}

// What the plugin tells over the socket becomes events and the node's report.
func TestPluginTells(t *testing.T) {
	dir := t.TempDir()
	told, k := &sink{}, keeper{make(chan nodereport.Report, 8)}
	f := start(t, dir, func(c *Config) { c.Events, c.Reports, c.Node = told, k, "n1" })
	f.policies.say(document("one"), nil)
	c := nodestate.NewClient(dir + "/s")
	defer c.Close()
	r := nodestate.Report{Version: "v2", Placement: "pod", Mode: nodereport.ModeWaiting, Runtime: "containerd v2", Decisions: nodestate.Decisions{Allowed: 1, Denied: 2, CouldNotTell: 3}, Incidents: []nodestate.Incident{refusal("web")}}
	if err := c.Report(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	got := <-k.asked
	if p := got.Plugin; got.Node != "n1" || got.Mode != nodereport.ModeWaiting || got.Version != "v1" || p == nil || p.Version != "v2" || p.Placement != "pod" || p.HeardAt.IsZero() ||
		p.Decisions["could not tell"] != 3 || got.LastDenial == nil || got.Policy.Generation == 0 || got.Policy.ConfirmedAt.IsZero() || got.Policy.Problems == 0 {
		t.Errorf("%+v", got)
	}
	if _, err := got.Encode(); err != nil {
		t.Error(err)
	}
	told.mu.Lock()
	defer told.mu.Unlock()
	if len(told.all) != 2 {
		t.Errorf("%+v", told.all)
	}
}

// confirming is a source of policies that says when it was last in touch.
type confirming struct {
	*policies
	at time.Time
}

func (c *confirming) ConfirmedAt() time.Time { return c.at }

func TestConfirmed(t *testing.T) {
	at := time.Now().Add(-time.Hour).UTC()
	var source *confirming
	f := start(t, t.TempDir(), func(c *Config) {
		source = &confirming{c.Policies.(*policies), at}
		c.Policies = source
	})
	if got := f.confirmedAt(time.Now()); !got.IsZero() {
		t.Errorf("before there is policy: %s", got)
	}
	f.policies.say(document("one"), nil)
	if got := f.confirmedAt(time.Now()); !got.Equal(at) {
		t.Errorf("%s, want %s", got, at)
	}
	if _, body := get(t, f.Handler(), "/metrics"); !strings.Contains(body, "kritis_policyagent_policy_unconfirmed_seconds 36") {
		t.Error(body)
	}
	f.policies.say(verifier.Document{}, fmt.Errorf("away"))
	source.at = time.Now()
	if got := f.confirmedAt(time.Now()); !got.Equal(at) {
		t.Errorf("while it fails: %s", got)
	}
}

// The plugin must not import this package's nodereport, nor this one the plugin: what they say alike is compared here.
func TestThePluginSaysTheSame(t *testing.T) {
	consts := map[string]string{}
	for _, path := range []string{"../plugin/enforcement.go", "../plugin/text.go", "../plugin/runtimeconfig/runtimeconfig.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
				if lit, ok := spec.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
					consts[spec.Names[0].Name], _ = strconv.Unquote(lit.Value)
				}
			}
			return true
		})
	}
	for name, want := range map[string]string{
		"ModeEnforcing": nodereport.ModeEnforcing, "ModeBestEffort": nodereport.ModeBestEffort, "ModeWaiting": nodereport.ModeWaiting,
		"PlacementPod": nodereport.PlacementPod, "PlacementHost": nodereport.PlacementHost,
	} {
		if consts[name] != want {
			t.Errorf("%s: the plugin says %q, a report %q", name, consts[name], want)
		}
	}
	var codes []string
	for name, value := range consts {
		if strings.HasPrefix(strings.ToLower(name), "code") {
			codes = append(codes, value)
		}
	}
	if len(codes) != len(gapCodes)-2 {
		t.Errorf("the plugin has %v, the agent %v", codes, gapCodes)
	}
	for _, code := range codes {
		if !slices.Contains(gapCodes[:], code) {
			t.Errorf("the agent does not know %s of %v", code, slices.Sorted(maps.Values(consts)))
		}
	}
}
