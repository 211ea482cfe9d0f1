package workstation

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodereport"
)

func TestJudge(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	gap := []nodereport.Gap{{Code: "NotRequired", Text: "why"}}
	report := func(mode, node string, gaps ...nodereport.Gap) string {
		text, err := nodereport.Report{Node: node, Mode: mode, Gaps: gaps}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for name, c := range map[string]struct {
		text    string
		age     time.Duration
		mode    string
		codes   string
		unknown bool // nothing of the report is kept
	}{
		"enforcing":                {text: report(nodereport.ModeEnforcing, "n"), mode: nodereport.ModeEnforcing},
		"best effort":              {text: report(nodereport.ModeBestEffort, "n", gap...), mode: nodereport.ModeBestEffort, codes: "NotRequired"},
		"waiting":                  {text: report(nodereport.ModeWaiting, "n"), mode: nodereport.ModeWaiting},
		"absent":                   {text: report(nodereport.ModeAbsent, "n"), mode: nodereport.ModeAbsent},
		"as old as may be":         {text: report(nodereport.ModeEnforcing, "n"), age: nodereport.StaleAfter, mode: nodereport.ModeEnforcing},
		"older":                    {text: report(nodereport.ModeEnforcing, "n", gap...), age: nodereport.StaleAfter + 1, mode: nodereport.ModeSilent, codes: "ReportOld NotRequired"},
		"a clock that is ahead":    {text: report(nodereport.ModeEnforcing, "n"), age: -nodereport.StaleAfter, mode: nodereport.ModeEnforcing},
		"further ahead":            {text: report(nodereport.ModeEnforcing, "n"), age: -nodereport.StaleAfter - 1, mode: nodereport.ModeSilent, codes: "ClockAhead"},
		"no report":                {text: "", mode: nodereport.ModeSilent, codes: "ReportUnreadable", unknown: true},
		"another node's":           {text: report(nodereport.ModeEnforcing, "m"), mode: nodereport.ModeSilent, codes: "ReportUnreadable", unknown: true},
		"a mode of later versions": {text: report("superb", "n"), mode: nodereport.ModeSilent, codes: "ReportUnreadable"},
		"it calls itself silent":   {text: report(nodereport.ModeSilent, "n"), mode: nodereport.ModeSilent, codes: "ReportUnreadable"},
	} {
		t.Run(name, func(t *testing.T) {
			var l lease
			var err error
			if l.Metadata.Name, err = nodereport.LeaseName("n"); err != nil {
				t.Fatal(err)
			}
			l.Metadata.Annotations = map[string]string{nodereport.Annotation: c.text}
			l.Spec.RenewTime = now.Add(-c.age)
			got := l.judge(now)
			var codes []string
			for _, g := range got.Gaps {
				codes = append(codes, g.Code)
				if g.Text == "" {
					t.Errorf("%s has no text", g.Code)
				}
			}
			if got.Name != "n" || got.Mode != c.mode || strings.Join(codes, " ") != c.codes || (got.Report == nil) != c.unknown {
				t.Errorf("%+v", got)
			}
		})
	}
	if got := (lease{}).judge(now); got.Mode != nodereport.ModeSilent {
		t.Errorf("nothing at all: %+v", got)
	}
}

func TestDecodeNode(t *testing.T) {
	for name, c := range map[string]struct {
		text, platform string
		linux          bool
	}{
		"as kubelet says":   {`{"metadata":{"name":"n","labels":{"kubernetes.io/os":"windows"}},"status":{"nodeInfo":{"operatingSystem":"linux","architecture":"arm64"}}}`, "linux/arm64", true},
		"as its labels say": {`{"metadata":{"name":"n","labels":{"kubernetes.io/os":"linux","kubernetes.io/arch":"amd64"}}}`, "linux/amd64", true},
		"Windows":           {`{"metadata":{"name":"n"},"status":{"nodeInfo":{"operatingSystem":"windows","architecture":"amd64"}}}`, "linux/amd64", false},
		"it does not say":   {`{"metadata":{"name":"n"}}`, "", true},
	} {
		n, linux, err := decodeNode([]byte(c.text))
		if err != nil || n.name != "n" || linux != c.linux || linux && n.platform != c.platform {
			t.Errorf("%s: %+v, %t, %v", name, n, linux, err)
		}
	}
}

// Leases of a namespace where tenants write must not mix in.
func TestReadFleet(t *testing.T) {
	now := time.Now()
	leaseOf := func(namespace, node, mode string) string {
		text, err := nodereport.Report{Node: node, Mode: mode}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		name, err := nodereport.LeaseName(node)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":%q,"annotations":{%q:%q}},"spec":{"renewTime":%q}}`, name, namespace, nodereport.Annotation, text, now.Format(time.RFC3339Nano))
	}
	const all, prefix = "/apis/coordination.k8s.io/v1/leases", "/apis/coordination.k8s.io/v1/namespaces/"
	nodes := list(`{"metadata":{"name":"b"}}`, `{"metadata":{"name":"a"}}`, `{"metadata":{"name":"w","labels":{"kubernetes.io/os":"windows"}}}`)
	system, tenant, other := leaseOf("kritis-system", "a", nodereport.ModeBestEffort), leaseOf("dev", "a", nodereport.ModeEnforcing), leaseOf("own", "a", nodereport.ModeWaiting)
	for name, c := range map[string]struct {
		at        map[string]string
		namespace string
		want      string // node=mode …, namespace
		untold    bool
		err       string
	}{
		"the usual one":                      {at: map[string]string{all: list(tenant, system), "/api/v1/nodes": nodes}, want: "a=best effort b=silent kritis-system"},
		"kube-system":                        {at: map[string]string{all: list(tenant, leaseOf("kube-system", "b", nodereport.ModeAbsent)), "/api/v1/nodes": nodes}, want: "a=silent b=absent kube-system"},
		"the only one":                       {at: map[string]string{all: list(other), "/api/v1/nodes": nodes}, want: "a=waiting b=silent own"},
		"one of several":                     {at: map[string]string{all: list(other, tenant), "/api/v1/nodes": nodes}, err: "several namespaces (dev, own): name that of kritis"},
		"the one that is named":              {at: map[string]string{prefix + "own/leases": list(other), "/api/v1/nodes": nodes}, namespace: "own", want: "a=waiting b=silent own"},
		"one that is named and empty":        {at: map[string]string{prefix + "own/leases": list(), all: list(system), "/api/v1/nodes": nodes}, namespace: "own", want: "a=silent b=silent own"},
		"no report":                          {at: map[string]string{all: list(), "/api/v1/nodes": nodes}, want: "a=silent b=silent "},
		"another Lease with the label":       {at: map[string]string{all: list(`{"metadata":{"name":"leader","namespace":"dev"}}`, system), "/api/v1/nodes": nodes}, want: "a=best effort b=silent kritis-system"},
		"a right in one namespace":           {at: map[string]string{prefix + "kritis-system/leases": list(system), "/api/v1/nodes": nodes}, want: "a=best effort b=silent kritis-system"},
		"no right for leases":                {at: map[string]string{"/api/v1/nodes": nodes}, err: "you may not list leases (API group coordination.k8s.io) in all namespaces"},
		"no right for the one that is named": {at: map[string]string{all: list(system), "/api/v1/nodes": nodes}, namespace: "own", err: "in namespace own"},
		"no right for nodes":                 {at: map[string]string{all: list(system)}, want: "a=best effort kritis-system", untold: true},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := ReadFleet(t.Context(), cluster(t, c.at), c.namespace, now)
			if c.err != "" || err != nil {
				if err == nil || c.err == "" || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%+v, %v", f, err)
				}
				return
			}
			var got strings.Builder
			count := 0
			for _, n := range f.Nodes {
				fmt.Fprintf(&got, "%s=%s ", n.Name, n.Mode)
				count += f.Modes[n.Mode]
			}
			if got.String()+f.Namespace != c.want || (len(f.Untold) > 0) != c.untold || count == 0 {
				t.Errorf("%s%s, %q", got.String(), f.Namespace, f.Untold)
			}
		})
	}
}
