package plugin

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/kritis-node/kritis-node/verifier"
)

// Whatever a registry put into the node's content store, it leads to nothing but what it names.
func FuzzPath(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"sha256:` + hexB + `"},"layers":[]}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:` + hexB + `"}]}`))
	f.Add([]byte(`{"config":{"digest":"sha256:` + hexA + `"},"manifests":[]}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := newMemoryStore()
		d := verifier.Digest(digest.FromBytes(data))
		m.blobs[d] = data
		c, err := newContents(m)
		if err != nil {
			t.Fatal(err)
		}
		var doc document
		_ = json.Unmarshal(data, &doc)
		named := doc.Config != nil && doc.Config.Digest == "sha256:"+hexB && doc.Manifests == nil
		if p, err := c.path(t.Context(), d, bound{digest: d, config: verifier.Digest("sha256:" + hexB)}); err == nil && len(p) > 0 != named {
			t.Errorf("%s leads to %v", data, p)
		}
		if p, err := c.path(t.Context(), d, bound{below: snapshot{parent: "sha256:" + hexA}}); err == nil && len(p) > 0 {
			t.Errorf("%s leads to layers that no config names: %v", data, p)
		}
	})
}

// A floor that can be read demands what it says; everything else is an error, never a default.
func FuzzParseFloor(f *testing.F) {
	f.Add([]byte("version: 1\nnamespacesWithoutPolicy: Deny\nruntimeHandlers: [runc]\ncluster: {dryRun: Ignore}\n"))
	f.Add([]byte("version: 1\npolicies:\n- {name: all, namespaces: ['*'], authorities: [team]}\n"))
	f.Add([]byte("version: 1\nallowlist: [{pattern: 'r.example/*', expires: 2026-01-01T00:00:00Z}]\n"))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "floor.yaml")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		floor, text, err := LoadFloor(path)
		if err == nil && (floor == nil || text != string(data)) {
			t.Errorf("%q is read as the default floor", data)
		}
	})
}
