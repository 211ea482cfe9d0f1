package workstation

import (
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
