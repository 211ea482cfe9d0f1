// Package docs holds the documentation. Its tests keep it true where a machine can tell.
package docs

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/policyagent/attestations/folder"
	"github.com/kritis-node/kritis-node/policyagent/policydir"
	"github.com/kritis-node/kritis-node/verifier"
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// pages returns the paths of all documentation: this folder's, and what stands above it.
func pages(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return append(found, "../README.md", "../SECURITY.md")
}

func TestEveryDirectDependencyHasAReason(t *testing.T) {
	mod, err := modfile.Parse("go.mod", []byte(read(t, "../go.mod")), nil)
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.*) \\|$").FindAllStringSubmatch(read(t, "dependencies.md"), -1) {
		reasons[m[1]] = m[2]
	}
	required := map[string]bool{}
	for _, r := range mod.Require {
		required[r.Mod.Path] = true
		if !r.Indirect && reasons[r.Mod.Path] == "" {
			t.Errorf("dependencies.md gives no reason for %s", r.Mod.Path)
		}
	}
	for path := range reasons {
		if !required[path] {
			t.Errorf("dependencies.md gives a reason for %s, which go.mod does not require", path)
		}
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	fence   = regexp.MustCompile("(?ms)^```.*?^```$")
	noWord  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns the headings of a page as GitHub makes link targets of them.
func anchors(page string) []string {
	var all []string
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
		all = append(all, strings.ReplaceAll(noWord.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return all
}

func TestLinksLeadSomewhere(t *testing.T) {
	for _, page := range pages(t) {
		text := read(t, page)
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			to := page
			if target != "" {
				to = filepath.Join(filepath.Dir(page), target)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: link to %s: %v", page, m[1], err)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(read(t, to)), anchor) {
				t.Errorf("%s: link to %s: there is no such heading", page, m[1])
			}
		}
	}
}

var upward = regexp.MustCompile(`(?:\.\./)+[\w./-]+`)

// A path that begins above a page must lead to something in the project: links are not the only way to name a file.
func TestPagesNameNothingOutsideTheProject(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages(t) {
		for _, path := range upward.FindAllString(read(t, page), -1) {
			to, err := filepath.Abs(filepath.Join(filepath.Dir(page), path))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(to); err != nil || !strings.HasPrefix(to, root+"/") {
				t.Errorf("%s names %s, which is not in the project", page, path)
			}
		}
	}
}

var verb = regexp.MustCompile(`%[a-z]`)

// phrase returns the longest part of a text without its values, up to where it says what to do. It is empty if all of it
// is values.
func phrase(text string) string {
	head, _, _ := strings.Cut(text, ": ")
	head, _, _ = strings.Cut(head, ";")
	longest := ""
	for _, part := range verb.Split(head, -1) {
		if part = strings.Trim(part, `" `); len(part) > len(longest) {
			longest = part
		}
	}
	return longest
}

func TestEveryDenialIsExplained(t *testing.T) {
	page := strings.NewReplacer("`", "", `\|`, "|").Replace(read(t, "troubleshooting.md"))
	for path, prefix := range map[string]string{"../verifier/message.go": "detail", "../plugin/text.go": "text", "../policyagent/securitycenter/text.go": "text"} {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || !strings.HasPrefix(spec.Names[0].Name, prefix) || len(spec.Values) != 1 {
				return true
			}
			value, ok := spec.Values[0].(*ast.BasicLit)
			if !ok {
				return true
			}
			text, err := strconv.Unquote(value.Value)
			if err != nil {
				t.Fatal(err)
			}
			found++
			if p := phrase(strings.ReplaceAll(text, "`", "")); !strings.Contains(page, p) {
				t.Errorf("troubleshooting.md does not explain %q, %s in %s", p, spec.Names[0].Name, path)
			}
			return true
		})
		if found < 5 {
			t.Errorf("%s has %d texts that begin with %s: where are they?", path, found, prefix)
		}
	}
}

// examples returns the fenced blocks of a page in a language.
func examples(t *testing.T, page, language string) []string {
	t.Helper()
	var all []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(read(t, page), -1) {
		all = append(all, m[1])
	}
	if len(all) == 0 {
		t.Fatalf("%s has no examples in %s", page, language)
	}
	return all
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPolicyExamplesAreGood(t *testing.T) {
	dir := t.TempDir()
	for i, text := range examples(t, "policies.md", "yaml") {
		write(t, filepath.Join(dir, strconv.Itoa(i)+".yaml"), text)
	}
	doc, err := policydir.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, problems := verifier.Compile(doc); len(problems) > 0 {
		t.Errorf("%+v", problems)
	}
	if len(doc.Authorities) != 2 || len(doc.Policies) != 1 || len(doc.Allowlist) != 2 {
		t.Errorf("%+v", doc)
	}
}

func TestFloorExampleIsGood(t *testing.T) {
	path := filepath.Join(t.TempDir(), "floor.yaml")
	write(t, path, examples(t, "floor.md", "yaml")[0])
	if _, _, err := plugin.LoadFloor(path); err != nil {
		t.Error(err)
	}
}

// held is content that has one digest.
type held verifier.Digest

func (h held) Digests(verifier.Reference) ([]verifier.Digest, error) {
	return []verifier.Digest{verifier.Digest(h)}, nil
}
func (held) Named(verifier.Reference) (bool, error) { return true, nil }

// files are attestations from a folder.
type files struct {
	*folder.Source
	t *testing.T
}

func (f files) Attestations(repository string, d verifier.Digest) ([]verifier.Attestation, error) {
	return f.Source.Attestations(f.t.Context(), repository, d)
}

// The example with openssl makes an attestation that counts.
func TestOpensslExampleAttests(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	attested := filepath.Join(dir, "attestations")
	if err := os.Mkdir(attested, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "qa.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	const repository = "registry.example/team/app"
	digest := "sha256:" + strings.Repeat("a", 64)
	cmd := exec.CommandContext(t.Context(), "sh", "-euc", examples(t, "policies.md", "sh")[0])
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "key=qa.pem", "repository="+repository, "digest="+digest, "folder="+attested)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	source, err := folder.New(attested)
	if err != nil {
		t.Fatal(err)
	}
	set, problems := verifier.Compile(verifier.Document{
		Authorities: []verifier.AuthoritySpec{{Namespace: "prod", Name: "qa", RepositoryBound: true,
			Keys: []verifier.KeySpec{{PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))}}}},
		Policies: []verifier.PolicySpec{{Namespace: "prod", Name: "p", AuthorityNames: []string{"qa"}}},
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for image, want := range map[string]verifier.Outcome{
		repository + "@" + digest:               verifier.Allowed,
		"registry.example/team/other@" + digest: verifier.Denied,
	} {
		v := verifier.Rules{Cluster: set}.Decide(verifier.Request{Namespace: "prod", Image: image}, held(digest), files{source, t})
		if v.Outcome != want {
			t.Errorf("%s: %+v", image, v)
		}
	}
}
