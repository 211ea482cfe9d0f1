package cluster_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/clustertest"
)

// eachVersion runs a test on all versions of containerd that a node can have.
func eachVersion(t *testing.T, test func(t *testing.T, version string)) {
	for _, version := range []string{"2.4", "2.3"} {
		t.Run(version, func(t *testing.T) { test(t, version) })
	}
}

func TestNode(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		ctx := t.Context()
		registry := clustertest.StartDistribution(t, cluster.RegistryOptions{})
		image := clustertest.BusyboxImage(t, "one")
		digest := clustertest.Push(t, registry, "team/app:v1", image)

		node := clustertest.StartNode(t, cluster.Options{Containerd: version})
		container, err := node.CRI().RunAsKubelet(ctx, "default", registry.Host()+"/team/app@"+digest)
		check(t, err)

		// Containers outlive their runtime, and the client finds the new one.
		check(t, node.RestartContainerd(ctx))
		expectRunning(t, node, container)
		check(t, node.KillContainerd())
		check(t, node.StartContainerd(ctx))
		expectRunning(t, node, container)

		// A registry that hangs makes a pull hang, and one that comes back serves it.
		other, err := cluster.WithEnv(image, "OTHER=1")
		check(t, err)
		clustertest.Push(t, registry, "team/app:v2", other)
		check(t, registry.Pause(ctx))
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, err := node.CRI().PullImage(short, registry.Host()+"/team/app:v2"); err == nil {
			t.Fatal("pulled from a registry that hangs")
		}
		check(t, registry.Resume())
		check(t, node.CRI().StopContainer(ctx, container, 10*time.Second))
		check(t, node.CRI().RemoveContainer(ctx, container))
		id, err := node.CRI().PullImage(ctx, registry.Host()+"/team/app:v2")
		check(t, err)
		if config, err := other.ConfigName(); err != nil || id != config.String() {
			t.Errorf("image ID is %s, config digest %s, %v", id, config, err)
		}

		check(t, node.Close())
		check(t, node.Leaks())
		if _, err := os.Stat(node.Dir()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the node's folder is left: %v", err)
		}
	})
}

func expectRunning(t *testing.T, node *cluster.Node, container string) {
	t.Helper()
	state, err := node.CRI().ContainerState(t.Context(), container)
	check(t, err)
	if state != runtime.ContainerState_CONTAINER_RUNNING {
		t.Fatalf("container is in state %s", state)
	}
}

// A node whose containerd is down has nobody to stop its containers; closing it ends them all the same.
func TestCloseWithoutContainerd(t *testing.T) {
	node := clustertest.StartNode(t, cluster.Options{})
	runImported(t, node, cluster.PodSpec{})
	check(t, node.KillContainerd())
	if node.Leaks() == nil {
		t.Fatal("found no shim: this test shows nothing")
	}
	check(t, node.Close())
	check(t, node.Leaks())
}

func TestPausedContainerdIsClosed(t *testing.T) {
	node := clustertest.StartNode(t, cluster.Options{})
	check(t, node.Containerd().Pause(t.Context()))
	check(t, node.Close())
}

func TestRuntimeHandler(t *testing.T) {
	node := clustertest.StartNode(t, cluster.Options{RuntimeHandlers: []string{"other"}})
	runImported(t, node, cluster.PodSpec{RuntimeHandler: "other"})
	if _, err := node.CRI().RunPod(t.Context(), cluster.PodSpec{RuntimeHandler: "unknown"}); err == nil {
		t.Error("ran a pod with an unknown handler")
	}
}

func TestImageMount(t *testing.T) {
	ctx := t.Context()
	node := clustertest.StartNode(t, cluster.Options{})
	volume := clustertest.BusyboxImage(t, "volume")
	check(t, node.ImportImage(ctx, "kritis.test/volume:1", volume))
	check(t, node.ImportImage(ctx, "kritis.test/app:1", clustertest.BusyboxImage(t, "app")))
	pod, err := node.CRI().RunPod(ctx, cluster.PodSpec{})
	check(t, err)
	container, err := node.CRI().Run(ctx, pod, cluster.ContainerSpec{
		Image:       "kritis.test/app:1",
		ImageMounts: []cluster.ImageMount{{Image: "kritis.test/volume:1", ContainerPath: "/volume"}},
	})
	check(t, err)
	response, err := node.CRI().Runtime.ExecSync(ctx, &runtime.ExecSyncRequest{
		ContainerId: container, Cmd: []string{"cat", cluster.MarkerFile, "/volume" + cluster.MarkerFile}, Timeout: 10,
	})
	check(t, err)
	if got := string(response.GetStdout()); got != "appvolume" {
		t.Errorf("markers are %q", got)
	}
}

func TestRequiredPlugin(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		ctx := t.Context()
		node := clustertest.StartNode(t, cluster.Options{Containerd: version, RequiredPlugins: []string{"needed"}})
		check(t, node.ImportImage(ctx, "kritis.test/app:1", clustertest.BusyboxImage(t, "app")))
		pod, err := node.CRI().RunPod(ctx, cluster.PodSpec{})
		check(t, err)
		spec := cluster.ContainerSpec{Image: "kritis.test/app:1"}
		if _, err := node.CRI().CreateContainer(ctx, pod, spec); err == nil || !strings.Contains(err.Error(), "needed") {
			t.Fatalf("without the required plugin: %v", err)
		}

		connect(t, node, "needed")
		_, err = node.CRI().Run(ctx, pod, spec)
		check(t, err)

		// The plugin was connected to a containerd that is gone: it does not count for the new one.
		check(t, node.RestartContainerd(ctx))
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		if node.WaitNRI(short, "needed") == nil {
			t.Error("found a plugin that has not connected since the restart")
		}
		connect(t, node, "needed")
		_, err = node.CRI().Run(ctx, pod, spec)
		check(t, err)
	})
}

// allower is the smallest plugin that counts: it looks at containers and changes nothing.
type allower struct{}

func (allower) ValidateContainerAdjustment(context.Context, *api.ValidateContainerAdjustmentRequest) error {
	return nil
}

func connect(t *testing.T, node *cluster.Node, name string) {
	t.Helper()
	plugin, err := stub.New(allower{}, stub.WithPluginName(name), stub.WithPluginIdx("99"),
		stub.WithSocketPath(node.NRISocket()), stub.WithOnClose(func() {}))
	check(t, err)
	check(t, plugin.Start(t.Context()))
	t.Cleanup(plugin.Stop)
	check(t, node.WaitNRI(t.Context(), name))
	check(t, node.WaitNRI(t.Context(), "99-"+name))
}

func TestNRIDisabled(t *testing.T) {
	node := clustertest.StartNode(t, cluster.Options{NRIDisabled: true, RequiredPlugins: []string{"needed"}})
	runImported(t, node, cluster.PodSpec{})
	if _, err := os.Stat(node.NRISocket()); err == nil {
		t.Error("there is an NRI socket")
	}
}

func runImported(t *testing.T, node *cluster.Node, spec cluster.PodSpec) {
	t.Helper()
	ctx := t.Context()
	check(t, node.ImportImage(ctx, "kritis.test/app:1", clustertest.BusyboxImage(t, "app")))
	pod, err := node.CRI().RunPod(ctx, spec)
	check(t, err)
	_, err = node.CRI().Run(ctx, pod, cluster.ContainerSpec{Image: "kritis.test/app:1"})
	check(t, err)
}

// A containerd that is restarted at the wrong moment forgets a shim. That is no leak of whoever is tested; any other process is.
func TestCloseEndsForgottenShims(t *testing.T) {
	for name, tc := range map[string]struct {
		program string
		fails   bool
	}{"shim": {"containerd-shim-runc-v2", false}, "other": {"sleep", true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node, err := cluster.StartNode(t.Context(), cluster.Options{})
			check(t, err)
			path, err := exec.LookPath("sleep")
			check(t, err)
			content, err := os.ReadFile(path)
			check(t, err)
			program := filepath.Join(filepath.Dir(node.NRISocket()), tc.program)
			check(t, os.WriteFile(program, content, 0o755))
			forgotten := exec.Command(program, "1000")
			check(t, forgotten.Start())
			err = node.Close()
			if (err != nil) != tc.fails {
				t.Errorf("closing: %v", err)
			}
			if state := forgotten.Wait(); state == nil {
				t.Error("it ended by itself")
			}
		})
	}
}
