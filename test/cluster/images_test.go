package cluster_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/clustertest"
)

func TestImagesAreDeterministic(t *testing.T) {
	digest := func(image interface{ Digest() (v1.Hash, error) }) v1.Hash {
		t.Helper()
		digest, err := image.Digest()
		check(t, err)
		return digest
	}
	one := clustertest.BusyboxImage(t, "one")
	if digest(one) != digest(clustertest.BusyboxImage(t, "one")) {
		t.Error("the same marker gave different images")
	}
	if digest(one) == digest(clustertest.BusyboxImage(t, "two")) {
		t.Error("different markers gave the same image")
	}
	if first, second := index(t), index(t); digest(first) != digest(second) {
		t.Error("the same image gave different indexes")
	}
}

func TestWithEnvKeepsLayers(t *testing.T) {
	one := clustertest.BusyboxImage(t, "one")
	other, err := cluster.WithEnv(one, "OTHER=1")
	check(t, err)
	oneConfig, err := one.ConfigFile()
	check(t, err)
	otherConfig, err := other.ConfigFile()
	check(t, err)
	if diff := cmp.Diff(oneConfig.RootFS, otherConfig.RootFS); diff != "" {
		t.Errorf("layers differ:\n%s", diff)
	}
	if cmp.Equal(oneConfig.Config, otherConfig.Config) {
		t.Error("configs are the same")
	}
}

// The program of an image that is made of one runs, without a file besides.
func TestProgramImage(t *testing.T) {
	ctx := t.Context()
	program, err := cluster.Build(ctx, "./test/cluster/registryd")
	check(t, err)
	image, err := cluster.ProgramImage(program)
	check(t, err)
	node := clustertest.StartNode(t, cluster.Options{})
	check(t, node.ImportImage(ctx, "kritis.test/registryd:1", image))
	pod, err := node.CRI().RunPod(ctx, cluster.PodSpec{})
	check(t, err)
	_, err = node.CRI().Run(ctx, pod, cluster.ContainerSpec{Image: "kritis.test/registryd:1"})
	check(t, err)
}
