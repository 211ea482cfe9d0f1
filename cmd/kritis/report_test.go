package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/impact"
)

func TestReport(t *testing.T) {
	r := standard(t)
	code, out, errs := r.run(t)
	const want = `NAMESPACE  POLICIES    IMAGES  ALLOWED  DENIED  COULD NOT TELL
prod       team-signs  3       1        2       0
test       none        1       1        0       0

NAMESPACE  IMAGE                                                                                        RUNS                 PODS          NODES  VERDICT                BY
prod       registry.exampl/app@` + digestApp + `  as written           2             n1,n2  allowed (Attested)     prod/team-signs: team
prod       registry.exampl/job@` + digestJob + `  as written           1 (1 static)  n1     denied (NotAttested)   -
prod       registry.exampl/web:v1                                                                       sha256:1e2cc65201ae  1             n1     denied (TagReference)  by digest: prod/team-signs: team
test       registry.exampl/web:v1                                                                       sha256:1e2cc65201ae  1             n2     allowed (NoPolicy)     -

NAMESPACE  IMAGE                                                                                        WHY
prod       registry.exampl/job@` + digestJob + `  authority team, which policy prod/team-signs requires, has not attested it: sign it with ` + "`kritis sign --key FILE IMAGE`" + `
prod       registry.exampl/web:v1                                                                       it is named by tag: name it by its digest, here ` + digestWeb + `
prod       registry.exampl/web:v1                                                                       written as registry.exampl/web@` + digestWeb + `: allowed (Attested)

4 images in 5 pods: 2 would be allowed, 2 denied, 0 could not be told
1 of the allowed have no policy in their namespace, so nothing is required of them: try one with --policy FILE --everywhere
2 allow-list entries would let the denied run: -o yaml prints them
not seen: containers that were made past the API server: the re-check on each node finds those
not seen: pause containers, and static pods without a mirror at the API server
not seen: workloads that have no pod now, as CronJobs between their runs
not seen: 1 pod that ended: see --include-ended
`
	if code != exitDenied || out != want || errs != "" {
		t.Errorf("exit code %d\n%s%s\nwant:\n%s", code, out, errs, want)
	}

	code, out, errs = r.run(t, "-o", "yaml")
	const wantYAML = `# Images that run and would be denied. Each entry lets one run without attestation: remove those that are not needed.
---
apiVersion: kritis.grafeas.io/v1beta1
kind: AdmissionAllowlist
metadata:
  name: ran-in-prod
spec:
  patterns:
  - namePattern: registry.exampl/job@` + digestJob + `
    namespace: prod
    reason: 'ran before enforcement: NotAttested'
  - namePattern: registry.exampl/web:v1
    namespace: prod
    reason: 'ran before enforcement, by tag; its digest is attested: write that and
      remove this'
`
	if code != exitDenied || out != wantYAML || errs != "" {
		t.Errorf("exit code %d\n%s%s\nwant:\n%s", code, out, errs, wantYAML)
	}

	// What it prints is what helps.
	r.apply(t, strings.ReplaceAll(out, namedHost, r.host))
	code, out, errs = r.run(t)
	if code != exitAllowed || !strings.Contains(out, "4 would be allowed, 0 denied, 0 could not be told") || !strings.Contains(out, "allowed (AllowListed)") || errs != "" {
		t.Errorf("after it was applied: exit code %d\n%s%s", code, out, errs)
	}
	code, out, _ = r.run(t, "-o", "yaml")
	if code != exitAllowed || strings.Contains(out, "kind:") || !strings.Contains(out, "\n# There are none for which an entry is needed") {
		t.Errorf("after it was applied: exit code %d\n%s", code, out)
	}
	if all := r.asked(t); !strings.Contains(all, "/api/v1/pods") || !strings.Contains(all, "attestations/sha256-"+strings.TrimPrefix(digestJob, "sha256:")) {
		t.Errorf("%s", all)
	}
}

func TestReportJSON(t *testing.T) {
	r := standard(t)
	code, out, errs := r.run(t, "-o", "json")
	var got report
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitDenied || errs != "" {
		t.Fatalf("%v, exit code %d, %s", err, code, errs)
	}
	if len(got.Images) != 4 || got.Outcomes.Denied != 2 || got.Pods != 5 || len(got.Allowlists) != 1 || len(got.Allowlists[0].Spec.Patterns) != 2 || len(got.NotSeen) != 4 || len(got.Namespaces) != 2 || len(got.Namespaces[1].Policies) != 0 {
		t.Errorf("%s", out)
	}
	i := got.Images[0]
	if i.Runs != digestApp || i.Pods != 2 || strings.Join(i.Nodes, " ") != "n1 n2" || strings.Join(i.Platforms, " ") != "linux/amd64" || len(i.AttestedBy) != 1 || i.AttestedBy[0].Authority != "team" || !strings.HasPrefix(i.AttestedBy[0].Fingerprint, "SHA256:") {
		t.Errorf("%+v", i)
	}
	for _, list := range []string{`"policies": []`, `"byDigest": {`, `"outcome": "denied"`} {
		if !strings.Contains(out, list) {
			t.Errorf("%s is not in %s", list, out)
		}
	}
}

// What is tried need not be in the cluster; and what is in the cluster need not count.
func TestReportTries(t *testing.T) {
	r := standard(t)
	file := r.write(t, "team.yaml", r.policy(t, "prod", ""))
	dir := filepath.Join(r.dir, "policies")
	check(t, os.Mkdir(dir, 0o700))
	r.write(t, "policies/resolve.yaml", r.policy(t, "prod", "tagPolicy: Resolve"))
	r.write(t, "broken.yaml", "kind: Pod\n")
	r.write(t, "allow.yaml", "apiVersion: kritis.grafeas.io/v1beta1\nkind: AdmissionAllowlist\nmetadata: {name: all}\nspec: {patterns: [{namePattern: '"+r.host+"/*'}]}\n")
	allow := filepath.Join(r.dir, "allow.yaml")
	other := r.write(t, "other.yaml", strings.ReplaceAll(r.policy(t, "default", ""), "team-signs", "tried"))
	for name, c := range map[string]struct {
		args []string
		in   string
		code int
		want []string
	}{
		"in all namespaces":        {[]string{"--policy", file, "--everywhere"}, "", exitDenied, []string{"1 would be allowed, 3 denied", "test team-signs 1 0 1 0", "by digest: test/team-signs: team"}},
		"where there is none":      {[]string{"--policy", other, "--everywhere"}, "", exitDenied, []string{"prod team-signs 3 1 2 0", "test tried 1 0 1 0"}},
		"in its own":               {[]string{"--policy", file}, "", exitDenied, []string{"2 would be allowed, 2 denied", "test none 1 1 0 0"}},
		"standard input":           {[]string{"--policy", "-", "--everywhere"}, r.policy(t, "default", ""), exitDenied, []string{"1 would be allowed, 3 denied"}},
		"tags, in place of its":    {[]string{"--policy-dir", dir, "--everywhere"}, "", exitDenied, []string{"3 would be allowed, 1 denied", "web:v1 sha256:1e2cc65201ae 1 n2 allowed (Attested) test/team-signs: team"}},
		"a file over a folder":     {[]string{"--policy-dir", dir, "--policy", file}, "", exitDenied, []string{"2 would be allowed, 2 denied"}},
		"an allow-list":            {[]string{"--policy", allow}, "", exitAllowed, []string{"4 would be allowed, 0 denied", "AdmissionAllowlist all"}},
		"nothing of the cluster's": {[]string{"--ignore-cluster-policies", "--policy", allow}, "", exitAllowed, []string{"prod none 3 3 0 0", "4 of the allowed have no policy"}},
		"one namespace":            {[]string{"-n", "prod"}, "", exitDenied, []string{"3 images in 4 pods: 1 would be allowed"}},
		"no such namespace":        {[]string{"-n", "prdo"}, "", exitUnknown, []string{"namespace prdo does not exist"}},
		"those that ended":         {[]string{"--include-ended"}, "", exitDenied, []string{"5 images in 6 pods", "test done:1 unknown"}},
		"a controller is asked":    {[]string{"--ask-controller", r.host, "-n", "prod"}, "", exitDenied, []string{"1 would be allowed, 1 denied, 1 could not be told", "the cluster has not looked for attestations of registry.exampl/job yet"}},
		"a missing floor":          {[]string{"--floor", r.dir + "/none"}, "", exitUnknown, []string{"does not exist or is empty"}},
		"a broken file":            {[]string{"--policy", r.dir + "/broken.yaml"}, "", exitUnknown, []string{"broken.yaml:1: it has no apiVersion"}},
		"no file":                  {[]string{"--policy", r.dir + "/none"}, "", exitUnknown, []string{"reading policies"}},
		"no folder":                {[]string{"--policy-dir", r.dir + "/none"}, "", exitUnknown, []string{"policy folder"}},
		"nothing to try":           {[]string{"--everywhere"}, "", exitUnknown, []string{"--everywhere needs policies to try"}},
		"nothing in its place":     {[]string{"--ignore-cluster-policies"}, "", exitUnknown, []string{"name some with --policy or --policy-dir"}},
		"all and one":              {[]string{"-A", "-n", "prod"}, "", exitUnknown, []string{"contradict each other"}},
		"all":                      {[]string{"-A"}, "", exitDenied, []string{"4 images in 5 pods"}},
		"another form":             {[]string{"-o", "xml"}, "", exitUnknown, []string{`--output is "xml", must be table, json or yaml`}},
		"nobody at work":           {[]string{"--parallel", "0"}, "", exitUnknown, []string{"must be 1 to 16"}},
		"too many at work":         {[]string{"--parallel", "17"}, "", exitUnknown, []string{"must be 1 to 16"}},
		"no time":                  {[]string{"--timeout", "0s"}, "", exitUnknown, []string{"--timeout is 0s"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := r.runWith(t, c.in, c.args...)
			text := strings.Join(strings.Fields(out+errs), " ")
			for _, w := range c.want {
				if !strings.Contains(text, w) {
					t.Errorf("%q is not in what it says", w)
				}
			}
			if code != c.code || strings.Count(errs, "\n") > 1 || code == exitUnknown && out == "" && !strings.HasPrefix(errs, "kritis: ") {
				t.Errorf("exit code %d", code)
			}
			if t.Failed() {
				t.Logf("%s%s", out, errs)
			}
		})
	}
	r.asked(t)
}

// A denial outweighs what nobody can tell; without one, nobody can tell.
func TestReportCouldNotTell(t *testing.T) {
	r := newReported(t)
	r.apply(t, r.policy(t, "prod", ""))
	gone := r.host + "/gone@" + digestJob
	r.pod(t, "prod", "n1", gone, gone, "")
	code, out, _ := r.run(t, "-o", "yaml")
	if code != exitUnknown || strings.Contains(out, "kind:") || !strings.Contains(out, `# No entry, nobody could tell: "prod" "registry.exampl/gone@`) {
		t.Errorf("exit code %d, %s", code, out)
	}
	r.pod(t, "prod", "n1", "nginx", "", "")
	if code, out, _ := r.run(t); code != exitDenied || !strings.Contains(out, "0 would be allowed, 1 denied, 1 could not be told") {
		t.Errorf("exit code %d, %s", code, out)
	}
	empty := newReported(t)
	if code, out, errs := empty.run(t); code != exitAllowed || !strings.HasPrefix(out, "0 images in 0 pods: 0 would be allowed") || errs != "" {
		t.Errorf("nothing runs: exit code %d, %s%s", code, out, errs)
	}
}

// Names are what somebody wrote. They stay in their cell.
func TestReportIsNotWrittenByOthers(t *testing.T) {
	r := newReported(t)
	r.apply(t, r.policy(t, "prod", ""))
	r.pod(t, "prod", "n1", "a\n\x1b[2Jb\tc", "", "")
	code, out, _ := r.run(t)
	if code != exitDenied || strings.Count(out, "\nprod       a ?[2Jb c ") != 2 || strings.Contains(out, "\n?[2J") || strings.Contains(out, "\x1b") {
		t.Errorf("exit code %d, %q", code, out)
	}
}

func TestReportCells(t *testing.T) {
	if got := few([]string{"a", "b", "c", "d", "e"}); got != "a,b,c and 2 more" {
		t.Error(got)
	}
	i := impact.Image{Image: "a@" + digestApp, Runs: digestJob, RunsAs: "r.example/b"}
	if got := runsCell(i); got != "sha256:d9139d2cdaf5 of r.example/b" {
		t.Error(got)
	}
	i.NoEntry, i.Notes = "the floor", []string{"a note"}
	if got := strings.Join(whyLines(i), "|"); got != "denied|no allow-list entry would do: the floor|a note" {
		t.Error(got)
	}
}

func TestProgress(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, c := range map[string]struct {
		terminal bool
		want     string
	}{
		"a file":     {false, "late 3\nlater 5\n"},
		"a terminal": {true, "\r\x1b[Kearly 2\r\x1b[Klate 3\r\x1b[Klate 4\r\x1b[Klater 5\r\x1b[K"},
	} {
		var b bytes.Buffer
		p := newProgress(&b, start)
		if p.terminal {
			t.Error("a buffer is no terminal")
		}
		if p.terminal = c.terminal; c.terminal {
			p.next = start.Add(progressOnTerminal)
		}
		p.sayAt(start, "early %d", 1)
		p.sayAt(start.Add(time.Second), "early %d", 2)
		p.sayAt(start.Add(progressElsewhere), "late %d", 3)
		p.sayAt(start.Add(progressElsewhere+time.Second), "late %d", 4)
		p.sayAt(start.Add(2*progressElsewhere), "later %d", 5)
		p.end()
		p.end()
		if b.String() != c.want {
			t.Errorf("%s: %q", name, b.String())
		}
	}
	file, err := os.Open(os.DevNull) // a device of characters, as terminals are
	check(t, err)
	defer file.Close()
	for term, want := range map[string]bool{"xterm": true, "dumb": false} {
		t.Setenv("TERM", term)
		if newProgress(file, start).terminal != want {
			t.Error(term)
		}
	}
}
