package supply

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// hole is a vulnerability of Go's standard library in a function that the verifier calls.
const hole = "GO-2000-0001"

// TestVulncheck runs the real scanner on a package of ours, with databases that know what each row says.
func TestVulncheck(t *testing.T) {
	for _, row := range []struct {
		name, database string
		args           []string
		code           int
		says           string
	}{
		{"nothing is known", database(t), []string{"./verifier"}, 0, "No vulnerabilities found"},
		{"a hole is known and reached", database(t, hole), []string{"--tolerate-outage", "./verifier"}, 1, hole},
		{"the database is out", "http://127.0.0.1:1", []string{"./verifier"}, 2, "could not tell whether there are known vulnerabilities"},
		{"the database is out, tolerated", "http://127.0.0.1:1", []string{"--tolerate-outage", "./verifier"}, 0, "could not tell whether there are known vulnerabilities"},
		{"what is scanned does not exist, tolerated", database(t), []string{"--tolerate-outage", "./none"}, 2, "govulncheck failed"},
	} {
		t.Run(row.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "./vulncheck", row.args...)
			cmd.Env = append(os.Environ(), "VULNDB="+row.database)
			output, err := cmd.CombinedOutput()
			if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if code := cmd.ProcessState.ExitCode(); code != row.code || !strings.Contains(string(output), row.says) {
				t.Errorf("exit code %d, want %d and %q: %s", code, row.code, row.says, output)
			}
		})
	}
}

// database writes one in the form of https://go.dev/security/vuln/database, with holes in what the verifier parses keys
// with, and returns its address.
func database(t *testing.T, ids ...string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(path string, content any) {
		data, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		path = filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	type object = map[string]any
	const modified = "2000-01-01T00:00:00Z"
	modules, vulns := []object{}, []object{}
	for _, id := range ids {
		modules = append(modules, object{"path": "stdlib", "vulns": []object{{"id": id, "modified": modified}}})
		vulns = append(vulns, object{"id": id, "modified": modified})
		write("ID/"+id+".json", object{
			"schema_version": "1.3.1", "id": id, "modified": modified, "published": modified, "summary": "a hole for a test",
			"database_specific": object{"url": "https://pkg.go.dev/vuln/" + id},
			"affected": []object{{
				"package":            object{"name": "stdlib", "ecosystem": "Go"},
				"ranges":             []object{{"type": "SEMVER", "events": []object{{"introduced": "0"}}}},
				"ecosystem_specific": object{"imports": []object{{"path": "crypto/x509", "symbols": []string{"ParsePKIXPublicKey"}}}},
			}},
		})
	}
	write("index/db.json", object{"modified": modified})
	write("index/modules.json", modules)
	write("index/vulns.json", vulns)
	return "file://" + dir
}
