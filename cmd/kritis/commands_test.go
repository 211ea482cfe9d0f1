package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/policyagent/nodereport"
	"github.com/kritis-node/kritis-node/policyagent/workstation"
	"github.com/kritis-node/kritis-node/verifier"
)

func TestCalledAs(t *testing.T) {
	for path, want := range map[string]program{
		"kritis": {"kritis", false}, "/usr/local/bin/kritis": {"kritis", false}, "/home/a/kubectl-kritis": {"kubectl kritis", true},
		"kubectl-kritis.exe": {"kubectl kritis", true}, "kubectl-kritis-old": {"kritis", false}, "": {"kritis", false},
	} {
		if got := calledAs(path); got != want {
			t.Errorf("%s: %+v", path, got)
		}
	}
}

// execute runs a command line away from any cluster.
func execute(t *testing.T, p program, args ...string) (int, string, string) {
	t.Helper()
	var out, errs bytes.Buffer
	code := runAs(p, args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func TestHelp(t *testing.T) {
	kubectlPlugin := program{"kubectl kritis", true}
	_, own, _ := execute(t, program{name: "kritis"}, "help")
	_, kubectl, _ := execute(t, kubectlPlugin, "help")
	for _, c := range []string{"explain", "status", "report", "verify", "lint", "resolve", "sign"} {
		if !strings.Contains(own, "\n  "+c+" ") || !strings.Contains(kubectl, "\n  "+c+" ") {
			t.Errorf("%s is not in the help", c)
		}
		code, text, _ := execute(t, kubectlPlugin, c, "--help")
		if code != 0 || !strings.Contains(text, "\n  kubectl kritis "+c) || strings.Contains(strings.ReplaceAll(text, "kubectl kritis", ""), "\n  kritis ") {
			t.Errorf("kubectl kritis %s --help: %s", c, text)
		}
	}
	for _, c := range []string{"plugin", "policyagent", "webhook"} {
		if !strings.Contains(own, "\n  "+c) || strings.Contains(kubectl, "\n  "+c) {
			t.Errorf("%s belongs into the help of kritis alone", c)
		}
		// Not executed: a failure would start it.
		if found, _, err := newRoot(kubectlPlugin).Find([]string{c}); err == nil {
			t.Errorf("kubectl kritis %s is %s", c, found.Name())
		}
	}
}

// Each command says which of its sources is missing, or one too many, in one line that says what to do.
func TestSources(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("KUBECONFIG", "/does/not/exist")
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	kritis, kubectl := program{name: "kritis"}, program{"kubectl kritis", true}
	for name, c := range map[string]struct {
		p    program
		args []string
		code int
		want string
	}{
		"verify, nothing":         {kritis, []string{"verify", "a"}, exitUnknown, "name a folder with --policy-dir, or a cluster with --kubeconfig or --context"},
		"verify, both":            {kritis, []string{"verify", "a", "--policy-dir", dir, "--context", "c"}, exitUnknown, "policy comes from one place"},
		"verify, kubectl":         {kubectl, []string{"verify", "a"}, exitUnknown, "no kubeconfig names a cluster"},
		"verify, kubectl, folder": {kubectl, []string{"verify", "a", "--policy-dir", dir}, exitAllowed, "NoPolicy"},
		"lint, nothing":           {kritis, []string{"lint"}, exitUnknown, "nothing to check: name a folder"},
		"lint, both":              {kritis, []string{"lint", dir, "--kubeconfig", "x"}, exitUnknown, "policies come from one place"},
		"lint, kubectl":           {kubectl, []string{"lint"}, exitUnknown, "no kubeconfig names a cluster"},
		"lint, kubectl, folder":   {kubectl, []string{"lint", dir}, exitAllowed, "nothing to say"},
		"lint, no cluster":        {kritis, []string{"lint", dir, "-n", "a"}, exitUnknown, "--namespace goes with a cluster"},
		"status, nothing":         {kritis, []string{"status"}, exitUnknown, "name its socket with --socket, or name a cluster"},
		"status, kubectl":         {kubectl, []string{"status"}, exitUnknown, "no kubeconfig names a cluster"},
		"status, socket":          {kubectl, []string{"status", "--socket", dir + "/s"}, exitUnknown, "nothing answers at " + dir + "/s"},
		"status, both":            {kritis, []string{"status", "--socket", dir, "--node", "n"}, exitUnknown, "name either --socket or a cluster"},
		"status, cluster":         {kritis, []string{"status", "--node", "n"}, exitUnknown, "no kubeconfig names a cluster"},
		"explain, nothing":        {kritis, []string{"explain", "a"}, exitUnknown, "the plugin does not run on this node"},
		"explain, object":         {kritis, []string{"explain", "pod/a"}, exitUnknown, "pod/a is an object of a cluster: name the cluster"},
		"explain, object on node": {kritis, []string{"explain", "pod", "a", "--socket", dir + "/s"}, exitUnknown, "knows images, not objects"},
		"explain, both":           {kritis, []string{"explain", "a", "--socket", dir + "/s", "--context", "c"}, exitUnknown, "name either --socket or a cluster"},
		"report, nothing":         {kritis, []string{"report"}, exitUnknown, "no kubeconfig names a cluster"},
		"report, kubectl":         {kubectl, []string{"report"}, exitUnknown, "no kubeconfig names a cluster"},
		"report, words":           {kubectl, []string{"report", "prod"}, exitUnknown, "unknown command"},
		"explain, kubectl":        {kubectl, []string{"explain", "a"}, exitUnknown, "no kubeconfig names a cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := execute(t, c.p, c.args...)
			if code != c.code || !strings.Contains(out+errs, c.want) || strings.Count(errs, "\n") > 1 || code == exitUnknown && !strings.HasPrefix(errs, c.p.name+": ") {
				t.Errorf("exit code %d, output %q, errors %q", code, out, errs)
			}
		})
	}
}

// A kubeconfig that is there counts for `kritis` only while no plugin is: then it is not a node.
func TestOnNode(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "socket")
	for name, c := range map[string]struct {
		plugin, kubeconfig, always bool
		flags                      []string
		want                       bool
	}{
		"nothing there":             {want: true},
		"plugin":                    {plugin: true, want: true},
		"plugin and kubeconfig":     {plugin: true, kubeconfig: true, want: true},
		"kubeconfig":                {kubeconfig: true},
		"kubeconfig named":          {plugin: true, flags: []string{"--kubeconfig", "x"}},
		"context named":             {plugin: true, flags: []string{"--context", "x"}},
		"socket named":              {kubeconfig: true, flags: []string{"--socket", socket}, want: true},
		"kubectl":                   {plugin: true, always: true},
		"kubectl with socket named": {always: true, flags: []string{"--socket", socket}, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			os.Remove(socket)
			if c.plugin {
				if err := os.WriteFile(socket, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("KUBECONFIG", filepath.Join(dir, "none"))
			if c.kubeconfig {
				t.Setenv("KUBECONFIG", dir)
			}
			cmd := newStatusCommand(program{})
			flags := &clusterFlags{always: c.always, cmd: cmd}
			if err := cmd.ParseFlags(c.flags); err != nil {
				t.Fatal(err)
			}
			if got := flags.onNode(socket); got != c.want {
				t.Errorf("%t", got)
			}
		})
	}
}

func TestFleetTable(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f := workstation.Fleet{
		Namespace: "kritis-system",
		Nodes: []workstation.Node{
			{Name: "a", Mode: nodereport.ModeEnforcing, RenewedAt: now, Report: &nodereport.Report{
				Plugin:     &nodereport.Plugin{Version: "v1", Placement: "host", Decisions: map[string]uint64{"allowed": 7, "denied": 2, "could not tell": 3}},
				Policy:     nodereport.Policy{Generation: 4, ConfirmedAt: now.Add(-5 * time.Second), Problems: 1},
				LastDenial: &nodereport.Denial{At: now.Add(-time.Minute), Namespace: "prod", Pod: "x\ny\t\x1b[2J", Image: "r.example/a"},
			}},
			{Name: "b", Mode: nodereport.ModeBestEffort, Gaps: []nodereport.Gap{{Code: "NotRequired"}, {Code: "Old"}}, Report: &nodereport.Report{Policy: nodereport.Policy{Generation: 4}}},
			{Name: "c", Mode: nodereport.ModeAbsent, Report: &nodereport.Report{}},
			{Name: "d", Mode: nodereport.ModeSilent, Gaps: []nodereport.Gap{{Code: "NoReport"}}},
		},
		Modes:  map[string]int{nodereport.ModeEnforcing: 1, nodereport.ModeBestEffort: 1, nodereport.ModeAbsent: 1, nodereport.ModeSilent: 1},
		Untold: []string{"something"},
	}
	var b bytes.Buffer
	if err := (&outputFlag{}).print(&b, f, func(w io.Writer) { fleetTable(w, f, now) }); err != nil {
		t.Fatal(err)
	}
	const want = `NODE  MODE         WHY               PLUGIN     POLICY                                    DENIED  LAST DENIAL
a     enforcing    -                 v1 (host)  4, confirmed 5 s ago, problems: 1         5       1 min ago, prod/x y ?[2J: r.example/a
b     best effort  NotRequired, Old  -          4, not confirmed since the agent's start  -       -
c     absent       -                 -          none yet                                  -       -
d     silent       NoReport          -          -                                         -       -

1 of 4 nodes enforce, 1 best effort, 1 absent, 1 silent; reports of namespace kritis-system
not told: something
`
	if b.String() != want {
		t.Errorf("%s\nwant:\n%s", b.String(), want)
	}
	f = workstation.Fleet{Nodes: []workstation.Node{{Name: "a", Mode: nodereport.ModeSilent}}, Modes: map[string]int{nodereport.ModeSilent: 1}}
	if got := fleetSummary(f); got != "0 of 1 node enforces, 1 silent; no node reports: are policy agents run with --report-namespace?" {
		t.Error(got)
	}
}

func TestWorst(t *testing.T) {
	allowed := answer{Admitted: true, Verdict: verifier.Verdict{Outcome: verifier.Allowed}}
	dry := answer{Admitted: true, Verdict: verifier.Verdict{Outcome: verifier.Denied, DryRun: true}}
	untold := answer{Verdict: verifier.Verdict{Outcome: verifier.CouldNotTell}}
	for name, c := range map[string]struct {
		all  []answer
		want error
	}{
		"allowed": {[]answer{allowed, dry}, nil}, "denied last": {[]answer{allowed, untold, {}}, errDenied}, "denied first": {[]answer{{}, untold}, errDenied},
		"untold": {[]answer{allowed, untold, allowed}, errUntold}, "the zero answer": {[]answer{{}}, errDenied},
	} {
		if got := worst(c.all); got != c.want { //nolint:errorlint // it is one of two, unwrapped
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Break-glass shows when it ends, and lint wants a reason.
func TestBreakGlass(t *testing.T) {
	ends := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	a := answer{Admitted: true, Verdict: verifier.Verdict{Outcome: verifier.Allowed, Reason: verifier.AllowListed,
		AllowedBy: &verifier.AllowMatch{Object: "AdmissionAllowlist l", Pattern: "a.example/*", Reason: "incident\x1b 7", Expires: ends}}}
	var b bytes.Buffer
	if err := (&outputFlag{}).print(&b, a, a.table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ALLOWED BY   AdmissionAllowlist l, pattern a.example/* (incident? 7)\n", "BREAK-GLASS  ends to apply at 2026-01-02T03:04:05Z\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in %q", want, b.String())
		}
	}
	entry := verifier.AllowSpec{List: "l", Pattern: "a.example/b", Expires: ends}
	for name, c := range map[string]struct {
		reason string
		now    time.Time
		want   string
	}{
		"in force, reason": {"incident 7", ends.Add(-1), ""},
		"in force, none":   {"", ends.Add(-1), "without a reason"},
		"at its end":       {"incident 7", ends, "has expired"},
	} {
		entry.Reason = c.reason
		var texts []string
		for _, f := range lintDocument(verifier.Document{Allowlist: []verifier.AllowSpec{entry}}, c.now) {
			texts = append(texts, f.Text)
		}
		if len(texts) > 1 || (len(texts) == 0) != (c.want == "") || c.want != "" && !strings.Contains(texts[0], c.want) {
			t.Errorf("%s: %q", name, texts)
		}
	}
}

func TestStatusShowsPlacement(t *testing.T) {
	var b bytes.Buffer
	var s plugin.Status
	if err := json.Unmarshal([]byte(`{"version":"v1","placement":"pod","mode":"best effort"}`), &s); err != nil {
		t.Fatal(err)
	}
	statusTable(&b, s, time.Now())
	if !strings.Contains(b.String(), "PLUGIN\tversion v1, placement pod\n") {
		t.Errorf("%s", b.String())
	}
}

// Two files printed one after the other stay two documents.
func TestDeliver(t *testing.T) {
	var b bytes.Buffer
	if err := deliver(&b, nil, [][]byte{[]byte("a: 1"), []byte("b: 2\n"), []byte("c: 3")}, false); err != nil || b.String() != "a: 1\n---\nb: 2\n---\nc: 3" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

func TestJSONIsOneDocument(t *testing.T) {
	var b bytes.Buffer
	e := explanation{Images: []imageExplanation{{Place: "container a", answer: answer{Image: "i"}}}}
	if err := (&outputFlag{format: "json"}).print(&b, e, nil); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Images []map[string]any `json:"images"`
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil || len(got.Images) != 1 || got.Images[0]["image"] != "i" || got.Images[0]["place"] != "container a" {
		t.Errorf("%s, %v", b.String(), err)
	}
}
