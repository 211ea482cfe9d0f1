package impact

import (
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The program that has this package runs on every node.
func TestImports(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Fields(string(out))
	if len(all) < 50 {
		t.Fatalf("%d packages only", len(all))
	}
	for _, p := range all {
		for _, heavy := range []string{"k8s.io/api/", "k8s.io/client-go/kubernetes", "sigs.k8s.io/controller-runtime", "github.com/kritis-node/kritis-node/plugin"} {
			if strings.HasPrefix(p, heavy) {
				t.Errorf("it needs %s", p)
			}
		}
	}
}
