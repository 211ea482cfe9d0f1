package cluster

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestNode(t *testing.T) {
	for _, version := range []string{"2.4", "2.3"} {
		t.Run(version, func(t *testing.T) {
			ctx := t.Context()
			registry := startDistribution(t, RegistryOptions{})
			image, err := BusyboxImage("one")
			check(t, err)
			digest, err := registry.Push(ctx, "team/app:v1", image)
			check(t, err)
			reference := registry.Host() + "/team/app@" + digest

			node := startNode(t, Options{Containerd: version})
			container, err := node.CRI().RunAsKubelet(ctx, "default", reference)
			check(t, err)

			// Containers outlive their runtime, and the client finds the new one.
			check(t, node.RestartContainerd(ctx))
			expectRunning(t, node, container)
			check(t, node.KillContainerd())
			check(t, node.StartContainerd(ctx))
			expectRunning(t, node, container)

			// A registry that hangs makes a pull hang, and one that comes back lets it go on.
			image, err = WithEnv(image, "OTHER=1")
			check(t, err)
			_, err = registry.Push(ctx, "team/app:v2", image)
			check(t, err)
			check(t, registry.Pause(ctx))
			short, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			if _, err := node.CRI().PullImage(short, registry.Host()+"/team/app:v2"); err == nil {
				t.Fatal("pulled from a registry that hangs")
			}
			check(t, registry.Resume())
			_, err = node.CRI().PullImage(ctx, registry.Host()+"/team/app:v2")
			check(t, err)

			check(t, node.Close())
			check(t, node.Leaks())
			if _, err := os.Stat(node.Dir()); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the node's folder is left: %v", err)
			}
		})
	}
}

func expectRunning(t *testing.T, node *Node, container string) {
	t.Helper()
	state, err := node.CRI().ContainerState(t.Context(), container)
	check(t, err)
	if state != runtime.ContainerState_CONTAINER_RUNNING {
		t.Fatalf("container is in state %s", state)
	}
}

func startNode(t *testing.T, options Options) *Node {
	t.Helper()
	node, err := StartNode(t.Context(), options)
	check(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(node.Logs())
		}
		if err := node.Close(); err != nil {
			t.Error(err)
		}
	})
	return node
}

func startDistribution(t *testing.T, options RegistryOptions) *Registry {
	t.Helper()
	registry, err := StartDistribution(t.Context(), t.TempDir(), options)
	check(t, err)
	// The test's own context ends before its cleanups.
	t.Cleanup(func() { check(t, registry.Stop(context.WithoutCancel(t.Context()))) })
	return registry
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
