package policydir

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/kritis-node/kritis-node/verifier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// folder makes a folder of files: name, content, name, content.
func folder(t testing.TB, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		put(t, dir, files[i], files[i+1])
	}
	return dir
}

func put(t testing.TB, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

const (
	header = "apiVersion: kritis.grafeas.io/v1beta1\n"
	policy = header + "kind: GenericAttestationPolicy\nmetadata: {name: p, namespace: default}\nspec: {attestationAuthorityNames: [qa]}\n"
)

func TestLoad(t *testing.T) {
	dir := folder(t, "b.yaml", `# ACK's form
apiVersion: kritis.grafeas.io/v1beta1
kind: AttestationAuthority
metadata:
  name: qa
  labels: {app: "x"}
  uid: 4711
  creationTimestamp: null
  managedFields: [{manager: kubectl, a: 1}]
spec:
  noteReference: namespaces/qa
  publicKeyId: kms
  publicKeyData: eA==
  algorithm: RSA_PSS_SHA_256
  repositoryBound: true
status: {conditions: [1, 2]}
---
---
apiVersion: kritis.grafeas.io/v1beta1
kind: AdmissionAllowlist
metadata: {name: acs}
spec:
  patterns:
  - namePattern: 'registry*.*.aliyuncs.com/acs/*'
  - {namePattern: nginx, namespace: web, expires: 2027-01-02T03:04:05Z, reason: "ticket 7"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: x, name: y}
`, "a.json", `{
	"apiVersion": "v1", "kind": "List", "items": [{
		"apiVersion": "kritis.grafeas.io/v1beta1", "kind": "GenericAttestationPolicy",
		"metadata": {"name": "p", "namespace": "web"},
		"spec": {"attestationAuthorityNames": ["qa"], "admissionAllowlistPatterns": [{"namePattern": "a"}], "tagPolicy": "Resolve", "dryRun": true}
	}]
}`, ".hidden.yaml", "garbage: [", "README.md", "# not read", "c.yml", "")
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "sub"), "x.yaml", "garbage: [")
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := Contents{
		Document: verifier.Document{
			Authorities: []verifier.AuthoritySpec{{Namespace: "default", Name: "qa", NoteReference: "namespaces/qa", RepositoryBound: true,
				Keys: []verifier.KeySpec{{ID: "kms", PEM: "x", Algorithms: []string{"RSA_PSS_SHA_256"}}}}},
			Policies: []verifier.PolicySpec{{Namespace: "web", Name: "p", AuthorityNames: []string{"qa"}, Allow: []string{"a"}, TagPolicy: "Resolve", DryRun: true}},
			Allowlist: []verifier.AllowSpec{{List: "acs", Pattern: "registry*.*.aliyuncs.com/acs/*"},
				{List: "acs", Pattern: "nginx", Namespace: "web", Expires: time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC), Reason: "ticket 7"}},
		},
		Notices: []string{dir + "/b.yaml:27: Deployment of apps/v1 is not ours and was skipped"},
	}
	if !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	if d, err := Load(dir); err != nil || !cmp.Equal(d, want.Document) {
		t.Errorf("%v", err)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	authority := header + "kind: AttestationAuthority\nmetadata: {name: a}\nspec: "
	for name, c := range map[string]struct{ content, want string }{
		"unknown field":        {policy + "  x: 1\n", "f.yaml:4: it is not YAML"},
		"unknown in spec":      {header + "kind: GenericAttestationPolicy\nmetadata: {name: p}\nspec:\n  attestationAuthoritiesNames: [qa]\n", "f.yaml:5: spec.attestationAuthoritiesNames: there is no such field: remove it, or use one of admissionAllowlistPatterns, attestationAuthorityNames, dryRun, tagPolicy"},
		"unknown at the top":   {policy + "spce: {}\n", "f.yaml:5: spce: there is no such field: remove it, or use one of apiVersion, kind, metadata, spec"},
		"unknown in metadata":  {header + "kind: GenericAttestationPolicy\nmetadata: {name: p, namespaces: x}\nspec: {}\n", "f.yaml:3: metadata.namespaces: there is no such field"},
		"another case":         {header + "kind: GenericAttestationPolicy\nmetadata: {name: p}\nspec: {DryRun: true}\n", "f.yaml:4: spec.DryRun: there is no such field"},
		"twice":                {header + "kind: GenericAttestationPolicy\nmetadata: {name: p}\nspec:\n  dryRun: true\n  dryRun: false\n", "f.yaml:6: spec.dryRun: it is there twice, first in line 5: keep one"},
		"twice in another":     {policy + "spec: {}\n", "f.yaml:5: spec: it is there twice, first in line 4: keep one"},
		"number for text":      {authority + "{publicKeyId: 123}\n", `f.yaml:4: spec.publicKeyId: "123" is not text: put it in quotes`},
		"text for bool":        {authority + "{repositoryBound: yes}\n", `f.yaml:4: spec.repositoryBound: "yes" is not true or false: write that`},
		"quoted bool":          {authority + "{repositoryBound: 'true'}\n", `f.yaml:4: spec.repositoryBound: "true" is not true or false: write that`},
		"object for list":      {authority + "{publicKeys: {keyId: x}}\n", "f.yaml:4: spec.publicKeys: it is an object where a list belongs"},
		"text for list":        {header + "kind: GenericAttestationPolicy\nmetadata: {name: p}\nspec: {attestationAuthorityNames: qa}\n", "f.yaml:4: spec.attestationAuthorityNames: it is a single value where a list belongs"},
		"list for text":        {authority + "{publicKeyId: [x]}\n", "f.yaml:4: spec.publicKeyId: it is a list where text belongs"},
		"in a list":            {authority + "\n  publicKeys:\n  - keyType: PKIX\n    pkixPublicKey: {publicKeyPem: x}\n  - keyTipe: PKIX\n", "f.yaml:8: spec.publicKeys[1].keyTipe: there is no such field"},
		"time":                 {header + "kind: AdmissionAllowlist\nmetadata: {name: l}\nspec: {patterns: [{namePattern: x, expires: 2027-01-01}]}\n", `f.yaml:4: spec.patterns[0].expires: "2027-01-01" is not a time: write it like 2026-12-31T00:00:00Z`},
		"key":                  {authority + "\n  publicKeyData: '!'\n", "f.yaml:5: spec.publicKeyData: it is not base64"},
		"alias":                {header + "kind: GenericAttestationPolicy\nmetadata: {name: p}\nspec: {attestationAuthorityNames: &a [qa], admissionAllowlistPatterns: *a}\n", "f.yaml:4: spec.admissionAllowlistPatterns: aliases are not supported"},
		"merge":                {header + "kind: GenericAttestationPolicy\nmetadata: {name: p, <<: {namespace: x}}\nspec: {}\n", "f.yaml:3: metadata: only plain names may stand before a colon"},
		"namespace pattern":    {header + "kind: GenericAttestationPolicy\nmetadata:\n  name: p\n  namespace: '*'\nspec: {}\n", `f.yaml:5: metadata.namespace: "*" is not the name of a namespace`},
		"no name":              {header + "kind: GenericAttestationPolicy\nmetadata: {}\nspec: {}\n", `f.yaml:3: metadata.name: "" is not a name`},
		"no metadata":          {header + "kind: GenericAttestationPolicy\nspec: {}\n", `f.yaml:1: metadata.name: "" is not a name`},
		"same object twice":    {policy + "---\n" + policy, "f.yaml:6: GenericAttestationPolicy default/p is also in DIR/f.yaml:1: keep one"},
		"default and none":     {policy + "---\n" + strings.Replace(policy, ", namespace: default", "", 1), "f.yaml:6: GenericAttestationPolicy default/p is also in"},
		"another version":      {strings.Replace(policy, "v1beta1", "v1", 1), `f.yaml:1: apiVersion: version "v1" is not known: write kritis.grafeas.io/v1beta1`},
		"another kind":         {strings.Replace(policy, "Generic", "General", 1), `f.yaml:2: kind: kritis.grafeas.io has no kind "GeneralAttestationPolicy": write`},
		"our kind, mistyped":   {strings.Replace(policy, "grafeas", "grafaes", 1), `f.yaml:1: apiVersion: "kritis.grafaes.io/v1beta1" has no GenericAttestationPolicy: write kritis.grafeas.io/v1beta1`},
		"no kind":              {header, "f.yaml:1: it has no apiVersion or no kind"},
		"a list":               {"- x\n", "f.yaml:1: it is a list where an object belongs"},
		"text":                 {"x\n", "f.yaml:1: it is a single value where an object belongs"},
		"list without items":   {"apiVersion: v1\nkind: List\n", "f.yaml:1: items: a list without items"},
		"list in a list":       {"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: kritis.grafeas.io/v1beta1, kind: GenericAttestationPolicyList, items: []}\n", `has no kind "GenericAttestationPolicyList"`},
		"no YAML":              {"a: b\n\tc: d\n", "f.yaml:2: it is not YAML"},
		"no YAML in the third": {policy + "---\n---\n[\n", "f.yaml:7: it is not YAML"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, "f.yaml", c.content)
			_, err := Load(dir)
			if want := strings.ReplaceAll(c.want, "DIR", dir); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), dir) {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

// All mistakes are reported at once, and one is enough for the folder not to count.
func TestAllMistakesAtOnce(t *testing.T) {
	dir := folder(t, "a.yaml", policy, "b.yaml", "x\n", "c.yaml", policy)
	document, err := Load(dir)
	if lines := strings.Split(fmt.Sprint(err), "\n"); len(lines) != 2 || !strings.Contains(lines[0], "b.yaml:1") || !strings.Contains(lines[1], "c.yaml:1") {
		t.Errorf("%v", err)
	}
	if !cmp.Equal(document, verifier.Document{}) {
		t.Errorf("a broken folder has a document: %+v", document)
	}
}

func TestFiles(t *testing.T) {
	for name, c := range map[string]struct {
		dir  func() string
		want string
	}{
		"no folder":   {func() string { return filepath.Join(t.TempDir(), "x") }, "no such file or directory; make it"},
		"a file":      {func() string { return filepath.Join(folder(t, "f.yaml", policy), "f.yaml") }, "not a directory"},
		"empty":       {func() string { return folder(t) }, "put policies there, or an empty file"},
		"others only": {func() string { return folder(t, "README.md", "x") }, "put policies there, or an empty file"},
	} {
		if _, err := Load(c.dir()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	dir := folder(t, "f.yaml", policy)
	if err := os.Mkdir(dir+"/x.yaml", 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "x.yaml: it is not a file") {
		t.Errorf("%v", err)
	}
	if d, err := Load(folder(t, "none.yaml", "# no policy\n")); err != nil || len(d.Policies) != 0 {
		t.Errorf("an empty file: %v", err)
	}
}

func TestLimits(t *testing.T) {
	pad := func(n int) string { return policy + strings.Repeat(" ", n-len(policy)-1) + "\n" }
	files := func(n int) []string {
		var f []string
		for i := range n {
			f = append(f, fmt.Sprintf("%d.yaml", i), "")
		}
		return f
	}
	objects := func(n int) string { return strings.Repeat("---\n{apiVersion: v1, kind: Pod}\n", n) }
	large := func(n int) (f []string) {
		for i := range maxTotal/maxFile - 1 {
			f = append(f, fmt.Sprintf("%d.yaml", i), "#"+strings.Repeat("x", maxFile-1))
		}
		return append(f, "x.yaml", "#"+strings.Repeat("x", maxFile-2), "y.yaml", strings.Repeat("\n", n))
	}
	for name, c := range map[string]struct {
		files []string
		want  string
	}{
		"file":            {[]string{"f.yaml", pad(maxFile)}, ""},
		"file and one":    {[]string{"f.yaml", pad(maxFile + 1)}, "more than 1048576 bytes"},
		"files":           {files(maxFiles), ""},
		"files and one":   {files(maxFiles + 1), "more than 1000 files"},
		"objects":         {[]string{"f.yaml", objects(maxObjects)}, ""},
		"objects and one": {[]string{"f.yaml", objects(maxObjects + 1)}, "more than 10000 objects"},
		"total":           {large(1), ""},
		"total and one":   {large(2), "more than 16777216 bytes together"},
		"errors":          {[]string{"f.yaml", strings.Repeat("---\nx\n", maxErrors)}, "f.yaml:200: "},
		"errors and one":  {[]string{"f.yaml", strings.Repeat("---\nx\n", maxErrors+1)}, "and 1 more errors"},
	} {
		_, err := Load(folder(t, c.files...))
		if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %.300v, want %q", name, err, c.want)
		}
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte(policy))
	f.Add([]byte(header + "kind: AttestationAuthority\nmetadata: {name: a}\nspec: {publicKeys: [{keyType: PGP}], publicKeyData: eA==}\n---\n" + policy))
	f.Add([]byte(`{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"kritis.grafeas.io/v1beta1","kind":"AdmissionAllowlist","metadata":{"name":"l"},"spec":{"patterns":[{"namePattern":"x","expires":"2027-01-01T00:00:00Z"}]}}]}`))
	f.Add([]byte("a: &a [*a]\n<<: *a\n? [x]\n: y\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		o := objects{places: map[string]string{}}
		o.file("f.yaml", data)
		for _, err := range o.failures.errs {
			if strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "f.yaml:") {
				t.Errorf("%q", err)
			}
		}
		for _, p := range o.document.Policies {
			if p.Namespace == "" || strings.Contains(p.Namespace, "*") {
				t.Errorf("namespace %q", p.Namespace)
			}
		}
	})
}

func TestParse(t *testing.T) {
	c, err := Parse("p.yaml", []byte("apiVersion: kritis.grafeas.io/v1beta1\nkind: GenericAttestationPolicy\nmetadata: {name: a}\n"))
	if err != nil || len(c.Document.Policies) != 1 || c.Document.Policies[0].Namespace != "default" {
		t.Errorf("%+v, %v", c, err)
	}
	for text, want := range map[string]string{"a: [": "p.yaml:1: it is not YAML", strings.Repeat("#", maxFile+1): "p.yaml: it has more than 1048576 bytes"} {
		if c, err := Parse("p.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) || c.Document.Policies != nil {
			t.Errorf("%.20s: %+v, %v", text, c, err)
		}
	}
}
