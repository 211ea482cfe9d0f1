package live

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/clustertest"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
)

func TestMain(m *testing.M) {
	cluster.Isolate(kubernetes.Tool, "./cmd/kritis")
	goleak.VerifyTestMain(m)
}

const crds = "../../../daemonset/chart/crds"

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// agent is a `kritis policyagent` of its own.
type agent struct {
	*clustertest.Program
	dir string
}

func startAgent(t *testing.T, kubeconfig string, args ...string) *agent {
	t.Helper()
	return startAgentWith(t, append([]string{"--kubeconfig", kubeconfig}, args...))
}

func startAgentWith(t *testing.T, args []string) *agent {
	t.Helper()
	program, err := cluster.Build(t.Context(), "./cmd/kritis")
	check(t, err)
	dir := t.TempDir()
	check(t, os.Mkdir(filepath.Join(dir, "attestations"), 0o755))
	return &agent{dir: dir, Program: clustertest.StartProgram(t, cluster.Command{
		Path: program,
		Args: append([]string{"policyagent", "--state-dir", dir + "/state", "--socket", dir + "/s",
			"--registry=false", "--attestation-dir", dir + "/attestations"}, args...),
	}, nil)}
}

// policy returns the snapshot on disk, empty before there is one.
func (a *agent) policy() nodestate.Policy {
	r, err := nodestate.Open(a.dir + "/state")
	if err != nil {
		return nodestate.Policy{}
	}
	p, _ := r.Policy()
	return p
}

// await returns how long it took until the snapshot is as wanted.
func (a *agent) await(t *testing.T, what string, want func(nodestate.Policy) bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !want(a.policy()) {
		if time.Since(began) > 2*time.Minute {
			t.Fatalf("%s: it did not come about: %+v", what, a.policy())
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

// named says whether the policies have these names.
func named(names string) func(nodestate.Policy) bool {
	return func(p nodestate.Policy) bool {
		var all []string
		for _, p := range p.Document.Policies {
			all = append(all, p.Namespace+"/"+p.Name)
		}
		return p.Generation > 0 && strings.Join(all, " ") == names
	}
}
