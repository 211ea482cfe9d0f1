package impact

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/kritis-node/kritis-node/policyagent/attestations/registry"
	"github.com/kritis-node/kritis-node/policyagent/policydir"
	"github.com/kritis-node/kritis-node/verifier"
)

// judged assesses images in prod, and returns the allow-lists that would help.
func judged(t *testing.T, w *world, d verifier.Document, floor *verifier.Floor, all ...Running) ([]Image, []Allowlist) {
	t.Helper()
	now := time.Now()
	images, err := Assess(t.Context(), all, w.judges(2, d, floor), now, none)
	check(t, err)
	return images, Allow(images, d, floor, d, now)
}

// What is applied makes everything run that was denied, whatever it is called, and no more than that.
func TestAllowRoundTrip(t *testing.T) {
	w := newWorld(t)
	d := w.policies("prod", "test")
	w.sign(t, "r.example/signed", dgA)
	all := []Running{
		runs("r.example/signed@"+string(dgA), dgA, "r.example/signed"), runs("r.example/signed:v1", dgA, "r.example/signed"),
		runs("nginx", dgA, "docker.io/library/nginx"), runs("nginx", dgB, "docker.io/library/nginx"), runs("r.example:5000/a/b_c.d:v1-2@"+string(dgA), dgA, "r.example:5000/a/b_c.d"),
	}
	elsewhere := runs("nginx", dgA, "docker.io/library/nginx")
	elsewhere.Namespace = "test"
	all = append(all, elsewhere)
	w.images["r.example:5000/a/b_c.d@"+string(dgA)] = registry.Image{Digest: dgA}
	images, lists := judged(t, w, d, nil, all...)
	text, err := YAML(lists, images)
	check(t, err)
	const want = `# Images that run and would be denied. Each entry lets one run without attestation: remove those that are not needed.
---
apiVersion: kritis.grafeas.io/v1beta1
kind: AdmissionAllowlist
metadata:
  name: ran-in-prod
spec:
  patterns:
  - namePattern: r.example/signed:v1
    namespace: prod
    reason: 'ran before enforcement, by tag; its digest is attested: write that and
      remove this'
  - namePattern: nginx
    namespace: prod
    reason: 'ran before enforcement, by tag: whoever may push it decides what runs'
  - namePattern: r.example:5000/a/b_c.d:v1-2@sha256:` + "HEX" + `
    namespace: prod
    reason: 'ran before enforcement: NotAttested'
---
apiVersion: kritis.grafeas.io/v1beta1
kind: AdmissionAllowlist
metadata:
  name: ran-in-test
spec:
  patterns:
  - namePattern: nginx
    namespace: test
    reason: 'ran before enforcement, by tag: whoever may push it decides what runs'
`
	if got := strings.ReplaceAll(string(text), hexA, "HEX"); got != want {
		t.Errorf("%s", got)
	}
	// Read back as any other policy is.
	c, err := policydir.Parse("allow.yaml", text)
	check(t, err)
	applied := Applied(d, c.Document)
	images, lists = judged(t, w, applied, nil, append(all, runs("nginx:other", "", ""))...)
	if o := Count(images); o != (Outcomes{Allowed: len(all), Denied: 1}) || images[len(all)].Verdict.Outcome != verifier.Denied {
		t.Errorf("%+v", o)
	}
	// What is found later must not replace what was applied first.
	if len(lists) != 1 || lists[0].Metadata.Name != "ran-in-prod-2" || len(lists[0].Spec.Patterns) != 1 {
		t.Errorf("%+v", lists)
	}
	if err := yaml.Unmarshal(text, new(any)); err != nil {
		t.Error(err)
	}
}

// What an entry would not help is told, and not offered.
func TestAllowNoEntry(t *testing.T) {
	w := newWorld(t)
	strict, err := verifier.CompileFloor(verifier.FloorSpec{IgnoreClusterAllowlists: true})
	check(t, err)
	own, err := verifier.CompileFloor(verifier.FloorSpec{Document: verifier.Document{
		Authorities: []verifier.AuthoritySpec{{Name: "owner", Keys: []verifier.KeySpec{{PEM: w.pem}}}},
		Policies:    []verifier.PolicySpec{{Namespace: "*", Name: "floor", AuthorityNames: []string{"owner"}}}}})
	check(t, err)
	closed, err := verifier.CompileFloor(verifier.FloorSpec{DenyWithoutPolicy: true})
	check(t, err)
	sandboxed := runs("nginx", "", "")
	sandboxed.Handler = "kata"
	other := runs("nginx", "", "")
	other.Namespace = "other"
	const byFloor = "the nodes' floor does not leave it to the cluster's allow-lists: see docs/floor.md"
	for name, c := range map[string]struct {
		floor   *verifier.Floor
		running Running
		want    string // empty: there is an entry
	}{
		"a tag":                       {nil, runs("nginx", "", ""), ""},
		"a floor without allow-lists": {strict, runs("nginx", "", ""), byFloor},
		"a floor of its own":          {own, runs("nginx", "", ""), byFloor},
		"a floor that is closed":      {closed, other, "has no policy and this node demands one"},
		"a sandbox":                   {nil, sandboxed, "kata"},
		"no name":                     {nil, runs("r.example/*", "", ""), "not"},
	} {
		t.Run(name, func(t *testing.T) {
			images, lists := judged(t, w, w.policies("prod"), c.floor, c.running)
			if images[0].Verdict.Outcome != verifier.Denied {
				t.Fatalf("%+v", images[0].Verdict)
			}
			if (c.want == "") != (images[0].NoEntry == "") || !strings.Contains(images[0].NoEntry, c.want) || (len(lists) == 1) != (c.want == "") {
				t.Errorf("%q, %+v", images[0].NoEntry, lists)
			}
		})
	}
}

// Who may create pods must not write into what an administrator applies.
func TestYAMLIsNotWrittenByOthers(t *testing.T) {
	w := newWorld(t)
	const inject = "\n---\napiVersion: kritis.grafeas.io/v1beta1\nkind: AdmissionAllowlist\nmetadata: {name: evil}\nspec: {patterns: [{namePattern: '*'}]}\n---\n#"
	for _, image := range []string{"nginx" + inject, "nginx\u2028" + inject, "nginx\u0085a: b", "nginx\r\na: b", "*", "r.example/*", "\"" + inject} {
		w.down = fmt.Errorf("down%s", inject)
		images, lists := judged(t, w, w.policies("prod"), nil, runs(image, "", ""), runs("r.example/app@"+string(dgA), "", ""))
		text, err := YAML(lists, images)
		check(t, err)
		c, err := policydir.Parse("allow.yaml", text)
		if err != nil || len(c.Document.Allowlist) != 0 || strings.Count(string(text), "\n") != strings.Count(string(text), "# ") || !strings.Contains(string(text), "nobody could tell") {
			t.Errorf("%q: %v\n%s", image, err, text)
		}
	}
}

func TestAllowManyEntries(t *testing.T) {
	w := newWorld(t)
	var all []Running
	for n := range maxEntries + 1 {
		all = append(all, runs(fmt.Sprintf("r.example/app:v%d", n), "", ""))
	}
	_, lists := judged(t, w, w.policies("prod"), nil, all...)
	if len(lists) != 2 || len(lists[0].Spec.Patterns) != maxEntries || lists[1].Metadata.Name != "ran-in-prod-2" {
		t.Errorf("%d lists", len(lists))
	}
}
