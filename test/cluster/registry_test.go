package cluster_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/clustertest"
)

func TestRegistryWithLoginAndTLS(t *testing.T) {
	certificate, err := cluster.NewCertificate()
	check(t, err)
	registry := clustertest.StartDistribution(t, cluster.RegistryOptions{TLS: certificate, RequireLogin: true})
	clustertest.Push(t, registry, "team/app:v1", clustertest.BusyboxImage(t, "one"))
	if _, err := cluster.Push(t.Context(), registry.Host()+"/team/app:v2", clustertest.BusyboxImage(t, "two")); err == nil {
		t.Error("pushed without certificate authority and login")
	}

	eachVersion(t, func(t *testing.T, version string) {
		ctx := t.Context()
		node := clustertest.StartNode(t, cluster.Options{Containerd: version})
		check(t, node.AddRegistry("registry.example.com", registry))
		reference := "registry.example.com/team/app:v1"
		if _, err := node.CRI().PullImage(ctx, reference); err == nil || !strings.Contains(err.Error(), "authorization failed") {
			t.Errorf("pull without login: %v", err)
		}
		id, err := node.CRI().PullImageWithLogin(ctx, reference, registry.Login())
		check(t, err)
		images, err := node.CRI().Images(ctx)
		check(t, err)
		if !slices.ContainsFunc(images, func(i cluster.Image) bool { return i.ID == id && slices.Contains(i.Tags, reference) }) {
			t.Errorf("%s is not among the images %v", reference, images)
		}
		check(t, node.CRI().RemoveImage(ctx, id))
		if _, err := node.CRI().ImageID(ctx, id); err == nil {
			t.Error("a removed image is there")
		}
	})
}

// Referrers are listed by an API of one registry; the other answers 404, and clients fall back to a tag.
func TestReferrers(t *testing.T) {
	tests := map[string]struct {
		registry func(*testing.T) *cluster.Registry
		status   int
	}{
		"referrers registry": {func(t *testing.T) *cluster.Registry { return clustertest.StartReferrersRegistry(t) }, http.StatusOK},
		"distribution": {func(t *testing.T) *cluster.Registry {
			return clustertest.StartDistribution(t, cluster.RegistryOptions{})
		}, http.StatusNotFound},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			registry := test.registry(t)
			digest := clustertest.Push(t, registry, "team/app:v1", index(t))
			path := "/v2/team/app/referrers/" + digest
			response, err := (&http.Client{Transport: registry.Transport()}).Get("http://" + registry.Host() + path)
			check(t, err)
			check(t, response.Body.Close())
			if response.StatusCode != test.status {
				t.Errorf("status is %s", response.Status)
			}
			// The log may come after the answer.
			want := cluster.Request{Method: http.MethodGet, Path: path, Status: test.status}
			check(t, cluster.Await(t.Context(), "the request in the log", func(context.Context) error {
				if !slices.Contains(registry.Requests(), want) {
					return fmt.Errorf("it is not among %v", registry.Requests())
				}
				return nil
			}))
		})
	}
}

func TestRegistryComesBack(t *testing.T) {
	ctx := t.Context()
	registry := clustertest.StartDistribution(t, cluster.RegistryOptions{})
	host := registry.Host()
	digest := clustertest.Push(t, registry, "team/app:v1", index(t))
	target, err := name.ParseReference(host + "/team/app@" + digest)
	check(t, err)
	check(t, registry.Stop(ctx))
	if _, err := remote.Head(target, registry.RemoteOptions(ctx)...); err == nil {
		t.Error("a stopped registry answers")
	}
	check(t, registry.Start(ctx))
	if registry.Host() != host {
		t.Errorf("host changed from %s to %s", host, registry.Host())
	}
	_, err = remote.Head(target, registry.RemoteOptions(ctx)...)
	check(t, err)
	check(t, remote.Delete(target, registry.RemoteOptions(ctx)...))
}

func index(t *testing.T) v1.ImageIndex {
	t.Helper()
	index, err := cluster.Index(clustertest.BusyboxImage(t, "one"))
	check(t, err)
	return index
}
