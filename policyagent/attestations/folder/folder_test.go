package folder

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/kritis-node/kritis-node/policyagent/attestations/statement"
	"github.com/kritis-node/kritis-node/verifier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var digest = verifier.Digest("sha256:" + strings.Repeat("a", 64))

func name(suffix string) string { return "sha256-" + digest.Hex() + suffix + ".json" }

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func statementJSON(payload string, signatures int) string {
	s := strings.Repeat(fmt.Sprintf(`{"publicKeyId":"k","signature":%q},`, b64("s")), signatures)
	return fmt.Sprintf(`{"serializedPayload":%q,"signatures":[%s]}`, b64(payload), strings.TrimSuffix(s, ","))
}

const bundle = `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","dsseEnvelope":{}}`

func fetch(t *testing.T, dir string) ([]verifier.Attestation, error) {
	t.Helper()
	s, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s.Attestations(t.Context(), "registry.example/app", digest)
}

func put(t *testing.T, dir, file, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestForms(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, name(""), statementJSON("kritis", 2))
	put(t, dir, name("-1"), `{"name":"projects/p/occurrences/o","attestation":`+statementJSON("wrapped", 1)+`}`)
	put(t, dir, name("-2"), bundle)
	put(t, dir, name("-3"), statementJSON(`{"critical":{"type":"cosign container image signature"}}`, 1))
	put(t, dir, "sha256-"+strings.Repeat("b", 64)+".json", "another digest's garbage")
	put(t, dir, name("")+".bak", "not read")
	found, err := fetch(t, dir)
	if err != nil || len(found) != 4 {
		t.Fatalf("%d attestations, %v", len(found), err)
	}
	want := []struct {
		format     verifier.Format
		payload    string
		signatures int
	}{{verifier.FormatKritis, "wrapped", 1}, {verifier.FormatBundle, bundle, 0}, {verifier.FormatCosign, `{"critical":{"type":"cosign container image signature"}}`, 1}, {verifier.FormatKritis, "kritis", 2}}
	for i, w := range want {
		a := found[i]
		if a.Format != w.format || string(a.Payload) != w.payload || len(a.Signatures) != w.signatures || !strings.HasPrefix(a.Source, dir) {
			t.Errorf("%d: %+v", i, a)
		}
	}
	if s := found[3].Signatures[0]; s.KeyID != "k" || string(s.Value) != "s" {
		t.Errorf("%+v", s)
	}
}

func TestOneBadFileDoesNotHideTheOthers(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside.json")
	if err := os.WriteFile(outside, []byte(bundle), 0o644); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		place func(path string) error
		want  string
	}{
		"a link out of the folder": {func(p string) error { return os.Symlink(outside, p) }, "escapes"},
		"a relative link out":      {func(p string) error { return os.Symlink("../"+filepath.Base(filepath.Dir(outside))+"/outside.json", p) }, "escapes"},
		"a dangling link":          {func(p string) error { return os.Symlink("nothing", p) }, "no such file"},
		"a pipe":                   {func(p string) error { return syscall.Mkfifo(p, 0o600) }, "not a regular file"},
		"a folder":                 {func(p string) error { return os.Mkdir(p, 0o755) }, "not a regular file"},
		"garbage":                  {func(p string) error { return os.WriteFile(p, []byte("<html>"), 0o600) }, "not the JSON"},
		"nothing":                  {func(p string) error { return os.WriteFile(p, nil, 0o600) }, "not the JSON"},
	} {
		dir := t.TempDir()
		put(t, dir, name("-good"), bundle)
		if err := c.place(filepath.Join(dir, name(""))); err != nil {
			t.Fatal(err)
		}
		found, err := fetch(t, dir)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
		if len(found) != 1 {
			t.Errorf("%s: %d attestations", what, len(found))
		}
	}
}

// ConfigMaps are mounted as links to links: name -> ..data/name, ..data -> ..2026_01_01.
func TestConfigMapFolders(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(dir+"/..2026", 0o755), os.Symlink("..2026", dir+"/..data"), os.Symlink("..data/"+name(""), dir+"/"+name(""))); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "..2026/"+name(""), bundle)
	if found, err := fetch(t, dir); err != nil || len(found) != 1 {
		t.Errorf("%d attestations, %v", len(found), err)
	}
}

func TestAFolderThatIsGoneIsAnError(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	if _, err := New(dir); err == nil {
		t.Error("New accepted no folder")
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := s.Attestations(t.Context(), "r", digest); err != nil || found != nil {
		t.Errorf("empty: %v, %v", found, err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Attestations(t.Context(), "r", digest); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestLimits(t *testing.T) {
	pad := func(s string, n int) string { return s + strings.Repeat(" ", n-len(s)) }
	large := strings.Repeat("x", verifier.MaxPayload)
	for what, c := range map[string]struct {
		content, want string
	}{
		"file":               {pad(statementJSON("p", 1), statement.MaxSize), ""},
		"file and one":       {pad(statementJSON("p", 1), statement.MaxSize+1), "more than 262144 bytes"},
		"payload":            {statementJSON(large, 1), ""},
		"payload and one":    {statementJSON(large+"x", 1), "more than 131072 bytes"},
		"bundle":             {pad(bundle, verifier.MaxPayload), ""},
		"bundle and one":     {pad(bundle, verifier.MaxPayload+1), "more than 131072 bytes"},
		"signatures":         {statementJSON("p", verifier.MaxSignatures), ""},
		"signatures and one": {statementJSON("p", verifier.MaxSignatures+1), "more than 16 signatures"},
	} {
		dir := t.TempDir()
		put(t, dir, name(""), c.content)
		found, err := fetch(t, dir)
		if (err == nil) != (c.want == "") || (err == nil) != (len(found) == 1) || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %d attestations, %v", what, len(found), err)
		}
	}
	dir := t.TempDir()
	for i := range verifier.MaxAttestations {
		put(t, dir, name(fmt.Sprint("-", i)), statementJSON(fmt.Sprint(i), 1))
	}
	if found, err := fetch(t, dir); err != nil || len(found) != verifier.MaxAttestations {
		t.Errorf("as many files as may be: %d, %v", len(found), err)
	}
	put(t, dir, name("-x"), statementJSON("x", 1))
	if _, err := fetch(t, dir); err == nil || !strings.Contains(err.Error(), "more than 256 files") {
		t.Errorf("one file more: %v", err)
	}
}

func TestCancelled(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, name(""), bundle)
	s, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Attestations(ctx, "r", digest); err == nil {
		t.Error("no error")
	}
}

func TestNumberOfFiles(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, name(""), bundle)
	for i := range maxEntries - 1 {
		put(t, dir, fmt.Sprint(i), "")
	}
	if found, err := fetch(t, dir); err != nil || len(found) != 1 {
		t.Errorf("as many files as may be: %d, %v", len(found), err)
	}
	put(t, dir, "one more", "")
	if _, err := fetch(t, dir); err == nil || !strings.Contains(err.Error(), "more than 20000 files") {
		t.Errorf("one file more: %v", err)
	}
}
