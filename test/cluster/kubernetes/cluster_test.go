package kubernetes_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/clustertest"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
)

// The image that all tests run, as users write it.
const image = "registry.example.com/team/app:v1"

// One cluster serves all these tests, in order: what they show of it they show beside each other as well.
func TestCluster(t *testing.T) {
	started := time.Now()
	kube := clustertest.StartKubernetes(t, kubernetes.Options{})
	t.Logf("started in %.1f s", time.Since(started).Seconds())

	registry := clustertest.StartDistribution(t, cluster.RegistryOptions{Address: kube.NodeAddress()})
	clustertest.Push(t, registry, "team/app:v1", clustertest.BusyboxImage(t, "app"))
	check(t, kube.AddRegistry("registry.example.com", registry))

	for _, test := range []struct {
		name string
		run  func(*testing.T, *kubernetes.Cluster)
	}{
		{"node is ready", testNode},
		{"deployment, logs, exec", testDeployment},
		{"service", testService},
		{"webhook", testWebhook},
		{"users", testUsers},
		{"static pod", testStaticPod},
		{"kubelet restart", testKubeletRestart},
		{"API server restart", testAPIServerRestart},
	} {
		if !t.Run(test.name, func(t *testing.T) { test.run(t, kube) }) {
			return
		}
	}
	checkClosed(t, kube)
}

// checkClosed closes a cluster with pods in it and looks for what is left.
func checkClosed(t *testing.T, kube *kubernetes.Cluster) {
	t.Helper()
	if kube.Leaks() == nil {
		t.Fatal("found no process or mount: this test shows nothing")
	}
	folder := kube.Node().Dir()
	check(t, kube.Close())
	check(t, kube.Leaks())
	for _, path := range []string{folder, kube.Dir()} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	links, err := exec.CommandContext(t.Context(), "ip", "-brief", "link").Output()
	check(t, err)
	if lines := strings.Count(string(links), "\n"); lines != 1 {
		t.Errorf("links besides loopback are left:\n%s", links)
	}
}

func testNode(t *testing.T, kube *kubernetes.Cluster) {
	check(t, kube.AwaitNode(t.Context(), kube.NodeName()))
	version, err := kube.KubectlOutput(t.Context(), "get", "node", kube.NodeName(),
		"--output", "jsonpath={.status.nodeInfo.kubeletVersion} {.status.nodeInfo.containerRuntimeVersion}")
	check(t, err)
	if version != "v1.36.3 containerd://2.4.2" {
		t.Errorf("the node says it is %s", version)
	}
	// The kernel's settings and what kubelet writes to fixed places are copies; see TestHostIsSheltered for the host's.
	if _, err := os.Stat("/var/lib/kubelet/device-plugins"); err != nil {
		t.Errorf("this test shows nothing: %v", err)
	}
}

func testDeployment(t *testing.T, kube *kubernetes.Cluster) {
	ctx := t.Context()
	_, err := kube.KubectlOutput(ctx, "create", "deployment", "app", "--image", image,
		"--", "/bin/sh", "-c", "echo started; trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done")
	check(t, err)
	check(t, kube.AwaitDeployment(ctx, "default", "app"))
	logs, err := kube.KubectlOutput(ctx, "logs", "deployment/app")
	check(t, err)
	if logs != "started\n" {
		t.Errorf("the log is %q", logs)
	}
	marker, err := kube.KubectlOutput(ctx, "exec", "deployment/app", "--", "cat", cluster.MarkerFile)
	check(t, err)
	if marker != "app" {
		t.Errorf("the marker is %q", marker)
	}
	// Elsewhere it would stay on the host.
	cgroup, err := kube.KubectlOutput(ctx, "exec", "deployment/app", "--", "cat", "/proc/self/cgroup")
	check(t, err)
	if !strings.Contains(cgroup, "/kritis-node-test/run-") || strings.Contains(cgroup, ":memory:/kubepods") {
		t.Errorf("the cgroups are %s", cgroup)
	}
	_, stderr, code, err := kube.KubectlInput(ctx, "in", "exec", "--stdin", "deployment/app", "--", "sh", "-c", "read line; exit 5")
	check(t, err)
	if code != 5 {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// Certificates name users, RBAC says what they may do, and what kubectl denies is told by its exit code.
func testUsers(t *testing.T, kube *kubernetes.Cluster) {
	ctx := t.Context()
	kubeconfig, err := kube.KubeconfigFor("jane", "team")
	check(t, err)
	_, stderr, code, err := kube.Kubectl(ctx, "--kubeconfig", kubeconfig, "get", "pods")
	check(t, err)
	if code != 1 || !strings.Contains(stderr, `User "jane" cannot list resource "pods"`) {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	_, err = kube.KubectlOutput(ctx, "create", "rolebinding", "team", "--clusterrole=view", "--group=team")
	check(t, err)
	check(t, cluster.Await(ctx, "RBAC to know the binding", allowed(kube, "--kubeconfig", kubeconfig, "get", "pods")))

	kubelet, err := kube.KubeconfigFor("system:node:elsewhere", "system:nodes")
	check(t, err)
	_, stderr, code, err = kube.Kubectl(ctx, "--kubeconfig", kubelet, "label", "node", kube.NodeName(), "a=b")
	check(t, err)
	if code == 0 {
		t.Errorf("a node changed another one: %s", stderr)
	}
}

func TestOptionsAreRefused(t *testing.T) {
	for name, options := range map[string]kubernetes.Options{
		"ten nodes":               {Nodes: 10},
		"own folder of a machine": {Machines: true, Node: cluster.Options{Dir: "/run"}},
		"own CNI":                 {Node: cluster.Options{CNI: "{}"}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := kubernetes.Start(t.Context(), options); err == nil {
				t.Error("they are accepted")
			}
		})
	}
}
