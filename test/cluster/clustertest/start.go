package clustertest

import (
	"context"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// StartNode starts a node that is closed after the test.
func StartNode(t testing.TB, options cluster.Options) *cluster.Node {
	t.Helper()
	node, err := cluster.StartNode(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
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

// StartDistribution starts a registry without the referrers API that is stopped after the test.
func StartDistribution(t testing.TB, options cluster.RegistryOptions) *cluster.Registry {
	t.Helper()
	return stopAfter(t)(cluster.StartDistribution(t.Context(), t.TempDir(), options))
}

// StartReferrersRegistry starts a registry with the referrers API that is stopped after the test.
func StartReferrersRegistry(t testing.TB) *cluster.Registry {
	t.Helper()
	return stopAfter(t)(cluster.StartReferrersRegistry(t.Context(), t.TempDir()))
}

func stopAfter(t testing.TB) func(*cluster.Registry, error) *cluster.Registry {
	t.Helper()
	return func(registry *cluster.Registry, err error) *cluster.Registry {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("requests to the registry: %v", registry.Requests())
			}
			// The test's own context ends before what is cleaned up.
			if err := registry.Stop(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
		return registry
	}
}

// BusyboxImage returns [cluster.BusyboxImage].
func BusyboxImage(t testing.TB, marker string) v1.Image {
	t.Helper()
	image, err := cluster.BusyboxImage(marker)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// Push uploads content as "repository:tag" and returns its digest.
func Push(t testing.TB, registry *cluster.Registry, reference string, content remote.Taggable) string {
	t.Helper()
	digest, err := registry.Push(t.Context(), reference, content)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}
