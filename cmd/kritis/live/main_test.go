package live

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/policyagent/nodereport"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/clustertest"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
	"github.com/kritis-node/kritis-node/test/stack"
)

func TestMain(m *testing.M) {
	cluster.Isolate(kubernetes.Tool, "./cmd/kritis")
	goleak.VerifyTestMain(m)
}

// reports is where the agent reports: not one of the usual places.
const reports = "security"

const crds = "../../../daemonset/chart/crds"

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// site is a cluster, a registry, and a workstation with kubectl and its plugin.
type site struct {
	*kubernetes.Cluster
	registry     *cluster.Registry
	program, dir string
	key          stack.Key
	images       int
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{Cluster: clustertest.StartKubernetes(t, kubernetes.Options{})}
	var err error
	s.program, err = cluster.Build(t.Context(), "./cmd/kritis")
	check(t, err)
	s.dir, err = os.MkdirTemp("/run", "workstation-") // sockets need short paths
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(s.dir) })
	for _, dir := range []string{"registry", "bin", "home"} {
		check(t, os.Mkdir(s.path(dir), 0o755))
	}
	// As it is installed: kubectl finds it by its name.
	check(t, os.Symlink(s.program, s.path("bin", "kubectl-kritis")))
	s.registry, err = cluster.StartDistribution(t.Context(), s.path("registry"), cluster.RegistryOptions{Address: s.NodeAddress()})
	check(t, err)
	t.Cleanup(func() { s.registry.Stop(context.Background()) })
	check(t, s.Node().AddRegistry(s.registry.Host(), s.registry))
	s.write(t, "registries.yaml", "hosts:\n- host: "+s.registry.Host()+"\n  plainHTTP: true\n")
	s.write(t, "docker.json", "{}")
	s.key, err = stack.WriteKey(s.path("team"))
	check(t, err)
	return s
}

func (s *site) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

func (s *site) write(t *testing.T, name, text string) string {
	t.Helper()
	check(t, os.WriteFile(s.path(name), []byte(text), 0o600))
	return s.path(name)
}

// registryArgs are for commands that ask registries.
func (s *site) registryArgs() []string {
	return []string{"--registry-config", s.path("registries.yaml"), "--docker-config", s.path("docker.json")}
}

// run is one command line and its answer.
type result struct {
	code           int
	stdout, stderr string
}

func (r result) String() string {
	return fmt.Sprintf("exit code %d\nstdout:\n%s\nstderr:\n%s", r.code, r.stdout, r.stderr)
}

// says checks a result: its exit code, and words that must be there.
func (r result) says(t *testing.T, code int, words ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("want exit code %d: %s", code, r)
	}
	text := strings.Join(strings.Fields(r.stdout+r.stderr), " ")
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in what it says: %s", w, r)
		}
	}
	if strings.Count(r.stderr, "\n") > 1 {
		t.Errorf("an error has one line: %s", r)
	}
}

func (s *site) command(t *testing.T, kubeconfig, program string, args ...string) result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = []string{"HOME=" + s.path("home"), "PATH=" + s.path("bin") + ":" + os.Getenv("PATH"), "KUBECONFIG=" + kubeconfig}
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errOut.String()}
}

// kubectl runs `kubectl kritis …` as the administrator.
func (s *site) kubectl(t *testing.T, args ...string) result {
	t.Helper()
	return s.command(t, s.Kubeconfig(), s.KubectlPath(), append([]string{"kritis"}, args...)...)
}

// plugin runs kubectl-kritis itself with a kubeconfig.
func (s *site) plugin(t *testing.T, kubeconfig string, args ...string) result {
	t.Helper()
	return s.command(t, kubeconfig, s.path("bin", "kubectl-kritis"), args...)
}

// push pushes an image of its own and returns its repository, and its name by digest.
func (s *site) push(t *testing.T, repository string) (string, string) {
	t.Helper()
	s.images++
	image := clustertest.BusyboxImage(t, fmt.Sprintf("%s %d", repository, s.images))
	digest, err := s.registry.Push(t.Context(), repository+":v1", image)
	check(t, err)
	name := s.registry.Host() + "/" + repository
	return name, name + "@" + digest
}

// startNode starts agent and plugin on the node, with the policies of the API server.
func (s *site) startNode(t *testing.T) {
	t.Helper()
	clustertest.StartProgram(t, cluster.Command{Path: s.program, Args: []string{"policyagent", "--kubeconfig", s.Kubeconfig(), "--node-name", s.NodeName(), "--state-dir", s.path("state"),
		"--socket", s.path("agent.sock"), "--registry-config", s.path("registries.yaml"), "--report-namespace", reports}}, nil)
	clustertest.StartProgram(t, cluster.Command{Path: s.program, Args: []string{"plugin", "--state-dir", s.path("state"), "--floor", s.path("floor.yaml"), "--nri-socket", s.Node().NRISocket(),
		"--containerd-socket", s.Node().ContainerdSocket(), "--containerd-config", filepath.Join(s.Node().Dir(), "config.toml"),
		"--agent-socket", s.path("agent.sock"), "--socket", s.path("plugin.sock"), "--audit-log", s.path("audit.jsonl")}},
		func(ctx context.Context) error { return s.Node().WaitNRI(ctx, plugin.Name) })
}

// leaseOf is the manifest of a node's report, as an agent writes it.
func leaseOf(t *testing.T, namespace, node string, renewed time.Time, r nodereport.Report) string {
	t.Helper()
	r.Node, r.At = node, renewed
	text, err := r.Encode()
	check(t, err)
	name, err := nodereport.LeaseName(node)
	check(t, err)
	return fmt.Sprintf(`---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata:
  name: %s
  namespace: %s
  labels: {%s: %s}
  annotations: {%s: %s}
spec: {holderIdentity: %s, renewTime: %q}
`, name, namespace, nodereport.Label, nodereport.LabelValue, nodereport.Annotation, quote(text), node, renewed.UTC().Format("2006-01-02T15:04:05.000000Z"))
}

func quote(s string) string {
	data, _ := json.Marshal(s) // of a string, which cannot fail
	return string(data)
}

// pemOf takes the base64 of a kubeconfig off.
func pemOf(t *testing.T, v any) string {
	t.Helper()
	text, ok := v.(string)
	if !ok {
		t.Fatalf("%v is no text", v)
	}
	data, err := base64.StdEncoding.DecodeString(text)
	check(t, err)
	return string(data)
}

func await(t *testing.T, what string, ready func() error) {
	t.Helper()
	check(t, cluster.Await(t.Context(), what, func(context.Context) error { return ready() }))
}
