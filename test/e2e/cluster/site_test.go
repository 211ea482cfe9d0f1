package cluster

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/clustertest"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
	"github.com/kritis-node/kritis-node/test/stack"
)

// site is a cluster whose node requires the plugin, with agent, plugin and webhook as processes on the node.
type site struct {
	*kubernetes.Cluster
	registry *cluster.Registry
	program  string
	dir      string
	images   int
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{Cluster: clustertest.StartKubernetes(t, kubernetes.Options{Node: cluster.Options{RequiredPlugins: []string{plugin.Name}}})}
	var err error
	if s.program, err = cluster.Build(t.Context(), "./cmd/kritis"); err != nil {
		t.Fatal(err)
	}
	if s.dir, err = os.MkdirTemp("/run", "site-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(s.dir) })
	if err := os.Mkdir(s.path("registry"), 0o755); err != nil {
		t.Fatal(err)
	}
	if s.registry, err = cluster.StartDistribution(t.Context(), s.path("registry"), cluster.RegistryOptions{Address: s.NodeAddress()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.registry.Stop(context.Background()) })
	if err := s.Node().AddRegistry(s.registry.Host(), s.registry); err != nil {
		t.Fatal(err)
	}
	s.write(t, "registries.yaml", "hosts:\n- host: "+s.registry.Host()+"\n  plainHTTP: true\n")
	s.write(t, "docker.json", "{}")
	return s
}

func (s *site) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

func (s *site) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// start runs a kritis command until the test ends.
func (s *site) start(t *testing.T, ready func(context.Context) error, args ...string) {
	t.Helper()
	clustertest.StartProgram(t, cluster.Command{Path: s.program, Args: args}, ready)
}

// startNode starts agent and plugin, with the policies of the API server.
func (s *site) startNode(t *testing.T) {
	t.Helper()
	s.start(t, nil, "policyagent", "--kubeconfig", s.Kubeconfig(), "--node-name", s.NodeName(), "--state-dir", s.path("state"),
		"--socket", s.path("agent.sock"), "--plugin-socket", s.path("plugin.sock"), "--listen", s.agentAddress(), "--report-namespace", "kube-system", "--registry-config", s.path("registries.yaml"))
	s.start(t, func(ctx context.Context) error { return s.Node().WaitNRI(ctx, plugin.Name) },
		"plugin", "--state-dir", s.path("state"), "--floor", s.path("floor.yaml"), "--nri-socket", s.Node().NRISocket(),
		"--containerd-socket", s.Node().ContainerdSocket(), "--containerd-config", filepath.Join(s.Node().Dir(), "config.toml"),
		"--agent-socket", s.path("agent.sock"), "--socket", s.path("plugin.sock"), "--audit-log", s.path("audit.jsonl"))
}

// awaitPolicy waits until the plugin has a number of policies in force.
func (s *site) awaitPolicy(t *testing.T, want int) {
	t.Helper()
	err := cluster.Await(t.Context(), fmt.Sprintf("%d policies on the node", want), func(ctx context.Context) error {
		// Exit code 1 is best effort, which is an answer too.
		output, _ := exec.CommandContext(ctx, s.program, "status", "--socket", s.path("plugin.sock"), "-o", "json").Output()
		var status plugin.Status
		if err := json.Unmarshal(output, &status); err != nil {
			return err
		}
		if status.Policy.Policies != want {
			return fmt.Errorf("there are %d: %s", status.Policy.Policies, status.StateProblem)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// startWebhook starts the webhook with the policies of the cluster and registers it as users know it.
func (s *site) startWebhook(t *testing.T) {
	t.Helper()
	certificate, err := cluster.NewCertificate(s.NodeAddress())
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "tls.crt", string(certificate.CertPEM))
	s.write(t, "tls.key", string(certificate.KeyPEM))
	s.start(t, nil, "webhook", "--kubeconfig", s.Kubeconfig(), "--tls-cert", s.path("tls.crt"), "--tls-key", s.path("tls.key"),
		"--listen", s.NodeAddress()+":8443", "--status-listen", s.NodeAddress()+":8081", "--registry-config", s.path("registries.yaml"), "--drain-delay", "0s")
	hook := func(name, path, groups, resources string) string {
		return fmt.Sprintf(`- name: %s
  clientConfig: {url: "https://%s:8443/%s", caBundle: %s}
  rules: [{apiGroups: [%s], apiVersions: ["*"], operations: [CREATE, UPDATE], resources: [%s]}]
  failurePolicy: Fail
  sideEffects: NoneOnDryRun
  admissionReviewVersions: [v1]
`, name, s.NodeAddress(), path, base64.StdEncoding.EncodeToString(certificate.CAPEM), groups, resources)
	}
	err = s.Apply(t.Context(), "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: kritis}\nwebhooks:\n"+
		hook("kritis-validation-hook.grafeas.io", "pods", `""`, "pods, pods/ephemeralcontainers")+
		hook("kritis-validation-hook-deployments.grafeas.io", "workloads", `"", apps, batch`, "replicationcontrollers, deployments, daemonsets, replicasets, statefulsets, jobs, cronjobs"))
	if err != nil {
		t.Fatal(err)
	}
}

// push pushes an image of its own to a repository and returns its reference by digest.
func (s *site) push(t *testing.T, repository string) string {
	t.Helper()
	s.images++
	image := clustertest.BusyboxImage(t, fmt.Sprintf("%s %d", repository, s.images))
	digest, err := s.registry.Push(t.Context(), repository+":v1", image)
	if err != nil {
		t.Fatal(err)
	}
	return s.registry.Host() + "/" + repository + "@" + digest
}

func (s *site) sign(t *testing.T, key stack.Key, image string) {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), s.program, "sign", "--key", key.Private, "--registry-config", s.path("registries.yaml"),
		"--docker-config", s.path("docker.json"), image).CombinedOutput()
	if err != nil {
		t.Fatalf("kritis sign: %v: %s", err, output)
	}
}
