package kubernetes_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/clustertest"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
)

const local = "kritis.test/app:1"

// Two nodes are two machines in one cluster. One cluster serves all these tests, in order.
func TestTwoNodes(t *testing.T) {
	started := time.Now()
	kube := clustertest.StartKubernetes(t, kubernetes.Options{
		Nodes: 2, Images: map[string]v1.Image{local: clustertest.BusyboxImage(t, "app")},
	})
	t.Logf("started in %.1f s", time.Since(started).Seconds())
	for _, node := range kube.Nodes() {
		makePod(t, kube, node)
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T, *kubernetes.Cluster)
	}{
		{"pods on both, logs, exec", testBothNodes},
		{"pod to pod", testPodToPod},
		{"service across nodes", testServiceAcross},
		{"registry from both", testRegistryFromBoth},
		{"files are a node's own", testOwnFiles},
		{"processes on a node", testRun},
		{"static pods", testStaticPods},
		{"reboot", testRebootBoth},
	} {
		if !t.Run(test.name, func(t *testing.T) { test.run(t, kube) }) {
			return
		}
	}
	checkClosed(t, kube)
}

// makePod makes a pod on the node that serves its node's name and keeps a file on its node in each place that there is.
func makePod(t *testing.T, kube *kubernetes.Cluster, node *kubernetes.Node) {
	t.Helper()
	check(t, kube.Apply(t.Context(), fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: on-%[1]s, labels: {app: both}}
spec:
  nodeSelector: {kubernetes.io/hostname: %[1]s}
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: %[2]s
    command: [sh, -c, "echo started on %[1]s; echo %[1]s | tee /www/name /state/name > /runtime/name; busybox httpd -f -p 8080 -h /www"]
    volumeMounts: [{name: www, mountPath: /www}, {name: state, mountPath: /state}, {name: runtime, mountPath: /runtime}]
  volumes:
  - {name: www, emptyDir: {}}
  - {name: state, hostPath: {path: /var/lib/kritis, type: DirectoryOrCreate}}
  - {name: runtime, hostPath: {path: /run/kritis, type: DirectoryOrCreate}}
`, node.Name(), local)))
	check(t, kube.AwaitPodReady(t.Context(), "default", "on-"+node.Name()))
}

func testBothNodes(t *testing.T, kube *kubernetes.Cluster) {
	ctx := t.Context()
	for index, node := range kube.Nodes() {
		where, err := kube.KubectlOutput(ctx, "get", "pod", "on-"+node.Name(), "--output", "jsonpath={.spec.nodeName} {.status.hostIP} {.status.podIP}")
		check(t, err)
		if want := fmt.Sprintf("%s %s 10.244.%d.", node.Name(), node.Address(), index); !strings.HasPrefix(where, want) {
			t.Errorf("the pod is on %s; want %s", where, want)
		}
		logs, err := kube.KubectlOutput(ctx, "logs", "on-"+node.Name())
		check(t, expect(logs, err, "started on "+node.Name()+"\n"))
		name, err := kube.KubectlOutput(ctx, "exec", "on-"+node.Name(), "--", "cat", "/state/name")
		check(t, expect(name, err, node.Name()+"\n"))
	}
}

// fetch returns what a server answers to a pod.
func fetch(ctx context.Context, kube *kubernetes.Cluster, pod, address, port string) (string, error) {
	got, err := kube.KubectlOutput(ctx, "exec", pod, "--",
		"sh", "-c", `printf 'GET /name HTTP/1.0\r\n\r\n' | busybox nc -w 5 "$0" "$1"`, address, port)
	_, body, _ := strings.Cut(got, "\r\n\r\n")
	return strings.TrimSpace(body), err
}

func testPodToPod(t *testing.T, kube *kubernetes.Cluster) {
	for _, from := range kube.Nodes() {
		for _, to := range kube.Nodes() {
			address, err := kube.KubectlOutput(t.Context(), "get", "pod", "on-"+to.Name(), "--output", "jsonpath={.status.podIP}")
			check(t, err)
			got, err := fetch(t.Context(), kube, "on-"+from.Name(), address, "8080")
			if err := expect(got, err, to.Name()); err != nil {
				t.Errorf("from %s to %s: %v", from.Name(), to.Name(), err)
			}
		}
	}
}

// Each node's pods, and the API server, reach a Service that only the other node's pod is behind; pods reach the API
// server's.
func testServiceAcross(t *testing.T, kube *kubernetes.Cluster) {
	ctx := t.Context()
	for _, node := range kube.Nodes() {
		check(t, allowed(kube, "label", "pod", "on-"+node.Name(), "node="+node.Name())(ctx))
		check(t, allowed(kube, "expose", "pod", "on-"+node.Name(), "--name=to-"+node.Name(), "--port=80", "--target-port=8080")(ctx))
		address, err := kube.KubectlOutput(ctx, "get", "service", "to-"+node.Name(), "--output", "jsonpath={.spec.clusterIP}")
		check(t, err)
		for _, from := range kube.Nodes() {
			check(t, cluster.Await(ctx, "the Service of "+node.Name()+" to be reached from "+from.Name(), func(ctx context.Context) error {
				got, err := fetch(ctx, kube, "on-"+from.Name(), address, "80")
				return expect(got, err, node.Name())
			}))
		}
		got, err := kube.KubectlOutput(ctx, "get", "--raw", "/api/v1/namespaces/default/services/to-"+node.Name()+":80/proxy/name")
		check(t, expect(got, err, node.Name()+"\n"))
		_, err = kube.KubectlOutput(ctx, "exec", "on-"+node.Name(), "--", "sh", "-c", "busybox nc -w 2 $KUBERNETES_SERVICE_HOST 443 < /dev/null")
		check(t, err)
	}
}

func testRegistryFromBoth(t *testing.T, kube *kubernetes.Cluster) {
	registry := clustertest.StartDistribution(t, cluster.RegistryOptions{Address: kube.NodeAddress()})
	clustertest.Push(t, registry, "team/app:v1", clustertest.BusyboxImage(t, "pulled"))
	check(t, kube.AddRegistry("registry.example.com", registry))
	for _, node := range kube.Nodes() {
		name := "pulled-" + node.Name()
		check(t, allowed(kube, "run", name, "--image", image, "--overrides", `{"spec": {"nodeName": "`+node.Name()+`"}}`)(t.Context()))
		check(t, kube.AwaitPodReady(t.Context(), "default", name))
		check(t, allowed(kube, "delete", "pod", name, "--now")(t.Context()))
	}
}

// What pods keep on their nodes is not on the other node, and not on the host; the test finds it.
func testOwnFiles(t *testing.T, kube *kubernetes.Cluster) {
	for _, node := range kube.Nodes() {
		for _, path := range []string{"/var/lib/kritis/name", "/run/kritis/name"} {
			content, err := os.ReadFile(node.Path(path))
			if err := expect(string(content), err, node.Name()+"\n"); err != nil {
				t.Errorf("%s on %s: %v", path, node.Name(), err)
			}
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is on the host: %v", path, err)
			}
		}
		for _, path := range []string{"/etc/kritis", "/opt/kritis", "/usr/local/bin"} {
			check(t, os.MkdirAll(node.Path(path), 0o755))
			check(t, os.WriteFile(node.Path(path+"/kritis-node-test"), []byte(node.Name()), 0o644))
		}
		for _, path := range []string{"/run/containerd/containerd.sock", "/run/nri/nri.sock", "/etc/containerd/config.toml", "/etc/passwd"} {
			if _, err := os.Stat(node.Path(path)); err != nil {
				t.Errorf("on %s: %v", node.Name(), err)
			}
		}
	}
	for _, node := range kube.Nodes() {
		content, err := os.ReadFile(node.Path("/etc/kritis/kritis-node-test"))
		check(t, expect(string(content), err, node.Name()))
	}
	if _, err := os.Stat("/usr/local/bin/kritis-node-test"); err == nil {
		t.Error("a file of a node is on the host")
	}
}

// start runs a program on the node that ends when it is told to.
func start(t *testing.T, node *kubernetes.Node, script string) *cluster.Process {
	t.Helper()
	const ready = "/run/kritis/ready"
	check(t, os.RemoveAll(node.Path(ready)))
	process, err := node.Run(t.Context(), cluster.Command{
		Path: "/bin/sh", Args: []string{"-c", script + "\necho > " + ready + "\nsleep 1000"}, Log: filepath.Join(t.TempDir(), "log"),
	}, func(context.Context) error {
		_, err := os.Stat(node.Path(ready))
		return err
	})
	check(t, err)
	return process
}

func testRun(t *testing.T, kube *kubernetes.Cluster) {
	for _, node := range kube.Nodes() {
		process := start(t, node, "cat /run/kritis/name > /run/seen; ip -brief address > /run/addresses")
		content, err := os.ReadFile(node.Path("/run/seen"))
		check(t, expect(string(content), err, node.Name()+"\n"))
		content, err = os.ReadFile(node.Path("/run/addresses"))
		if err != nil || !strings.Contains(string(content), node.Address()+"/") {
			t.Errorf("the addresses of %s are\n%s, %v", node.Name(), content, err)
		}
		check(t, process.Stop(t.Context()))
	}
}

func testStaticPods(t *testing.T, kube *kubernetes.Cluster) {
	for _, node := range kube.Nodes() {
		check(t, os.WriteFile(filepath.Join(node.StaticPodDir(), "static.yaml"), []byte(`
apiVersion: v1
kind: Pod
metadata: {name: static}
spec:
  containers: [{name: main, image: "`+local+`"}]
`), 0o644))
	}
	for _, node := range kube.Nodes() {
		check(t, kube.AwaitPodReady(t.Context(), "default", "static-"+node.Name()))
	}
}
