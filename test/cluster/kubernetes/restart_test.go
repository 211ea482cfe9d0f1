package kubernetes_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/clustertest"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
)

// A static pod runs, and ends with its file.
func testStaticPod(t *testing.T, kube *kubernetes.Cluster) {
	ctx := t.Context()
	name := "static-" + kube.NodeName()
	file := filepath.Join(kube.StaticPodDir(), "static.yaml")
	check(t, os.WriteFile(file, []byte(`
apiVersion: v1
kind: Pod
metadata: {name: static}
spec:
  containers: [{name: main, image: "`+image+`"}]
`), 0o644))
	check(t, kube.AwaitPodReady(ctx, "default", name))
	check(t, os.Remove(file))
	check(t, kube.AwaitObject(ctx, "default", "pod/"+name, "delete"))
}

// container returns the ID of the container of a pod, which is another one after each restart.
func container(t *testing.T, kube *kubernetes.Cluster, selector string) string {
	t.Helper()
	id, err := kube.KubectlOutput(t.Context(), "get", "pods", "--selector", selector,
		"--output", "jsonpath={.items[*].status.containerStatuses[*].containerID}")
	check(t, err)
	return strings.TrimPrefix(id, "containerd://")
}

func testKubeletRestart(t *testing.T, kube *kubernetes.Cluster) {
	ctx := t.Context()
	before := container(t, kube, "app=app")
	check(t, kube.StopKubelet(ctx))
	state, err := kube.Node().CRI().ContainerState(ctx, before)
	check(t, err)
	check(t, kube.StartKubelet(ctx, "--max-pods=50"))
	check(t, kube.AwaitObject(ctx, "", "node/"+kube.NodeName(), "jsonpath={.status.capacity.pods}=50"))
	check(t, allowed(kube, "run", "after", "--image", image)(ctx))
	check(t, kube.AwaitPodReady(ctx, "default", "after"))
	if after := container(t, kube, "app=app"); after != before {
		t.Errorf("container %s, which was in state %s, became %s", before, state, after)
	}
}

func testAPIServerRestart(t *testing.T, kube *kubernetes.Cluster) {
	ctx := t.Context()
	before := container(t, kube, "app=app")
	check(t, kube.StopAPIServer(ctx))
	if _, err := kube.KubectlOutput(ctx, "get", "nodes"); err == nil {
		t.Error("a stopped API server answers")
	}
	state, err := kube.Node().CRI().ContainerState(ctx, before)
	check(t, err)
	check(t, kube.StartAPIServer(ctx))
	if after := container(t, kube, "app=app"); after != before {
		t.Errorf("container %s, which was in state %s, became %s", before, state, after)
	}
	// Everybody finds it again.
	check(t, allowed(kube, "scale", "deployment/app", "--replicas=2")(ctx))
	check(t, kube.AwaitObject(ctx, "default", "deployment/app", "jsonpath={.status.readyReplicas}=2"))
}

// A second cluster in the same program finds nothing of the first one. On a node that requires an NRI plugin which is
// not there, no container starts, and who looks at the pod learns why; a static pod is there before kubelet is.
func TestRequiredPlugin(t *testing.T) {
	ctx := t.Context()
	staticPods := t.TempDir()
	check(t, os.WriteFile(filepath.Join(staticPods, "static.yaml"), []byte(`
apiVersion: v1
kind: Pod
metadata: {name: static}
spec:
  containers: [{name: main, image: "kritis.test/app:1"}]
`), 0o644))
	kube := clustertest.StartKubernetes(t, kubernetes.Options{
		Node:         cluster.Options{RequiredPlugins: []string{"nobody"}},
		StaticPodDir: staticPods,
		Images:       map[string]v1.Image{"kritis.test/app:1": clustertest.BusyboxImage(t, "app")},
		KubeletArgs:  []string{"--node-labels=pool=test"},
	})
	if labelled, err := kube.KubectlOutput(ctx, "get", "nodes", "--selector=pool=test", "--output=name"); err != nil || labelled == "" {
		t.Errorf("kubelet did not take its argument: %q, %v", labelled, err)
	}
	check(t, cluster.Await(ctx, "the static pod to be denied", func(ctx context.Context) error {
		message, err := kube.KubectlOutput(ctx, "get", "pod", "static-"+kube.NodeName(),
			"--output", "jsonpath={.status.containerStatuses[*].state.waiting.message}")
		if err == nil && !strings.Contains(message, `"nobody"`) {
			err = errors.New("its message is " + message)
		}
		return err
	}))
	checkClosed(t, kube)
}
