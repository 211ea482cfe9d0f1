package require

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// FuzzImport edits somebody's containerd configuration. A line is added or nothing is; every value keeps its meaning; and taking the line
// out again gives the very bytes that were there.
func FuzzImport(f *testing.F) {
	f.Add([]byte("version = 3\nroot = '/var/lib/containerd'\n\n[plugins.'io.containerd.cri.v1.images']\n  snapshotter = 'overlayfs'\n"))
	f.Add([]byte("# mine\r\nversion = 2\r\n[debug]\r\nlevel = \"info\"\r\n"))
	f.Add([]byte("version = 2"))
	f.Add([]byte("x = \"\"\"\nversion = 2\n\"\"\"\nversion = 3\n"))
	f.Add([]byte("[a]\nversion = 2\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "config.toml")
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		before, err := readMain(path)
		if err != nil || before.importing {
			return
		}
		const entry = "/etc/containerd/conf.d/*.toml"
		edited, err := before.addImport(entry)
		if err != nil {
			return
		}
		if err := os.WriteFile(path, edited, 0o644); err != nil {
			t.Fatal(err)
		}
		after, err := readMain(path)
		if err != nil || !reflect.DeepEqual(after.imports, []string{entry}) || !reflect.DeepEqual(withImports(after.values, nil), before.values) {
			t.Fatalf("%q became %q: %v", text, edited, err)
		}
		restored, ok := after.removeImport(entry)
		if !ok || !bytes.Equal(restored, text) {
			t.Errorf("%q became %q, and then %q (%t)", text, edited, restored, ok)
		}
	})
}
