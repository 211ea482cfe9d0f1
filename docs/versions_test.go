package docs

import (
	"strings"
	"testing"

	"golang.org/x/mod/modfile"

	"github.com/kritis-node/kritis-node/test/versions"
)

// What the page promises is what the tests try, on the releases that are built for them.
func TestVersionsAreThoseThatAreTried(t *testing.T) {
	if page, table := read(t, "versions.md"), versions.Table(); !strings.Contains(page, table) {
		t.Errorf("versions.md should have this table:\n%s", table)
	}
	for _, r := range versions.Runtimes() {
		path := "../test/tools/containerd-" + r.Line + "/go.mod"
		mod, err := modfile.Parse(path, []byte(read(t, path)), nil)
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]string{}
		for _, m := range mod.Require {
			found[m.Mod.Path] = strings.TrimPrefix(m.Mod.Version, "v")
		}
		if found["github.com/containerd/containerd/v2"] != r.Release || found["github.com/containerd/nri"] != r.NRI {
			t.Errorf("%s has containerd %s and NRI %s, want %+v", path, found["github.com/containerd/containerd/v2"], found["github.com/containerd/nri"], r)
		}
	}
}
