package kubernetes_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/clustertest"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
)

// One node can be rebooted as well, whether it is a machine of its own or not, also when nobody answers for the cluster.
func TestReboot(t *testing.T) {
	for name, machines := range map[string]bool{"in the program's namespaces": false, "machine": true} {
		t.Run(name, func(t *testing.T) {
			kube := clustertest.StartKubernetes(t, kubernetes.Options{
				Machines: machines, Images: map[string]v1.Image{local: clustertest.BusyboxImage(t, "app")},
			})
			node := kube.Nodes()[0]
			makePod(t, kube, node)
			testStaticPods(t, kube)
			rebootOne(t, kube, node)

			check(t, kube.StopAPIServer(t.Context()))
			before := node.Runtime().Containerd().PID()
			check(t, node.Reboot(t.Context(), nil))
			if node.Runtime().Containerd().PID() == before || !node.Kubelet().Running() {
				t.Error("the node was not rebooted")
			}
			check(t, kube.StartAPIServer(t.Context()))
			check(t, node.AwaitRebooted(t.Context()))
			check(t, kube.AwaitPodReady(t.Context(), "default", "static-"+node.Name()))
			checkClosed(t, kube)
		})
	}
}

func testRebootBoth(t *testing.T, kube *kubernetes.Cluster) {
	for index, node := range kube.Nodes() {
		rebootOne(t, kube, node)
		other := kube.Nodes()[1-index]
		got, err := kube.KubectlOutput(t.Context(), "exec", "on-"+other.Name(), "--", "cat", "/state/name")
		check(t, expect(got, err, other.Name()+"\n"))
	}
	testPodToPod(t, kube)
}

// rebootOne shows that a reboot ends all processes and empties /run, that the disk is kept, that services start before
// the first pod, and that pods come back.
func rebootOne(t *testing.T, kube *kubernetes.Cluster, node *kubernetes.Node) {
	t.Helper()
	ctx := t.Context()
	service := start(t, node, "setsid sleep 999 &\necho $! > /run/kritis/daemon")
	daemon, err := os.ReadFile(node.Path("/run/kritis/daemon"))
	check(t, err)
	daemonPID, err := strconv.Atoi(strings.TrimSpace(string(daemon)))
	check(t, err)
	before := containers(t, kube, "on-"+node.Name())
	containerd, kubelet := node.Runtime().Containerd().PID(), node.Kubelet().PID()
	called := false
	check(t, node.Reboot(ctx, func(ctx context.Context) error {
		called = true
		if _, err := node.Runtime().CRI().Images(ctx); err != nil {
			t.Errorf("the runtime does not serve: %v", err)
		}
		for _, pid := range []int{service.PID(), daemonPID, containerd, kubelet} {
			if _, err := os.Stat(fmt.Sprintf("/proc/%d/ns", pid)); err == nil {
				t.Errorf("process %d still runs", pid)
			}
		}
		if node.Kubelet().Running() {
			t.Error("kubelet runs before services are started")
		}
		if left, err := os.ReadFile(node.Path("/run/kritis/name")); err == nil {
			t.Errorf("/run still holds %s", left)
		}
		kept, err := os.ReadFile(node.Path("/var/lib/kritis/name"))
		return expect(string(kept), err, node.Name()+"\n")
	}))
	if !called || service.Running() {
		t.Errorf("services were started: %t; the service of before runs: %t", called, service.Running())
	}
	check(t, node.AwaitRebooted(ctx))
	check(t, cluster.Await(ctx, "the pod to come back", func(ctx context.Context) error {
		after := containers(t, kube, "on-"+node.Name())
		if after == before || strings.Contains(after, "false") {
			return fmt.Errorf("its container was %s, is %s", before, after)
		}
		name, err := os.ReadFile(node.Path("/run/kritis/name"))
		return expect(string(name), err, node.Name()+"\n")
	}))
	check(t, kube.AwaitPodReady(ctx, "default", "static-"+node.Name()))
}

// containers returns the IDs of a pod's containers and whether they are ready.
func containers(t *testing.T, kube *kubernetes.Cluster, pod string) string {
	t.Helper()
	state, err := kube.KubectlOutput(t.Context(), "get", "pod", pod,
		"--output", "jsonpath={range .status.containerStatuses[*]}{.containerID} {.ready}{end}")
	check(t, err)
	return state
}
