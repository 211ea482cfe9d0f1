package plugin

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/opencontainers/go-digest"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

// Whatever a registry put into the node's content store, it leads to nothing but what it names.
func FuzzPath(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"sha256:` + hexB + `"},"layers":[]}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:` + hexB + `"}]}`))
	f.Add([]byte(`{"config":{"digest":"sha256:` + hexA + `"},"manifests":[]}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := newMemoryStore()
		d := verifier.Digest(digest.FromBytes(data))
		m.blobs[d] = data
		c, err := newContents(m)
		if err != nil {
			t.Fatal(err)
		}
		var doc document
		_ = json.Unmarshal(data, &doc)
		named := doc.Config != nil && doc.Config.Digest == "sha256:"+hexB && doc.Manifests == nil
		if p, err := c.path(t.Context(), d, bound{digest: d, config: verifier.Digest("sha256:" + hexB)}); err == nil && len(p) > 0 != named {
			t.Errorf("%s leads to %v", data, p)
		}
		if p, err := c.path(t.Context(), d, bound{below: snapshot{parent: "sha256:" + hexA}}); err == nil && len(p) > 0 {
			t.Errorf("%s leads to layers that no config names: %v", data, p)
		}
	})
}

// A floor that can be read demands what it says; everything else is an error, never a default.
func FuzzParseFloor(f *testing.F) {
	f.Add([]byte("version: 1\nnamespacesWithoutPolicy: Deny\nruntimeHandlers: [runc]\ncluster: {dryRun: Ignore}\n"))
	f.Add([]byte("version: 1\npolicies:\n- {name: all, namespaces: ['*'], authorities: [team]}\n"))
	f.Add([]byte("version: 1\nallowlist: [{pattern: 'r.example/*', expires: 2026-01-01T00:00:00Z}]\n"))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "floor.yaml")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		floor, text, err := LoadFloor(path)
		if err == nil && (floor == nil || text != string(data)) {
			t.Errorf("%q is read as the default floor", data)
		}
	})
}

// FuzzRequest is a create call as a direct client of the runtime may make it: names, annotations and mounts of its choice, over content
// that nobody attested. None of it admits, and what the runtime is told is one line.
func FuzzRequest(f *testing.F) {
	p, b := newPlugin(f, nil)
	s := b.unsigned(f, "layer")
	b.recs.put(nodestate.Record{Repository: repository, Digest: s.bound.digest, FetchedAt: time.Now()})
	digest, config := string(s.bound.digest), string(s.bound.config)
	f.Add("prod", s.image, digest, config, "", "io.kubernetes.cri.container-name", "/run/image-volumes/pod/"+hexA)
	f.Add("prod", repository+":v1", digest, config, "runc", checkpointAnnotations[0], "/etc/hosts")
	f.Add("prod", "sha256:"+hexA, "", "", "kata", imageNameAnnotation, "")
	f.Add("prod", repository+"@"+digest, "sha256:"+hexB, config, "", "", "")
	h := &handlers{plugin: p, info: runtimeInfo{Validators: true, ImageField: true, RequestTimeout: time.Minute}}
	f.Fuzz(func(t *testing.T, namespace, image, digest, config, handler, annotation, mount string) {
		ctr := &api.Container{Id: "id", Name: "c", Image: &api.Image{Name: image, Digest: digest, ConfigDigest: config},
			Annotations: map[string]string{imageNameAnnotation: image, annotation: image}, Mounts: []*api.Mount{{Source: mount}}}
		for _, ns := range []string{"prod", namespace} {
			err := h.ValidateContainerAdjustment(t.Context(), &api.ValidateContainerAdjustmentRequest{Pod: &api.PodSandbox{Namespace: ns, Name: image, RuntimeHandler: handler}, Container: ctr})
			if err == nil && ns == "prod" {
				t.Fatalf("admitted: %v", ctr)
			}
			if err != nil && (strings.ContainsAny(err.Error(), "\n\r\x1b") || len(err.Error()) > 1<<10) {
				t.Errorf("%q", err)
			}
		}
	})
}

// FuzzConfig reads an image's config. A container that rests on layers has the content of such configs only that name just these.
func FuzzConfig(f *testing.F) {
	layer := verifier.Digest("sha256:" + hexA)
	f.Add([]byte(`{"rootfs":{"type":"layers","diff_ids":["sha256:` + hexA + `"]}}`))
	f.Add([]byte(`{"rootfs":{"type":"layers","diff_ids":["sha256:` + hexB + `","sha256:` + hexA + `"]}}`))
	f.Add([]byte(`{"rootfs":{"diff_ids":["sha256:` + hexA + `"]},"rootfs":{"diff_ids":[]}}`))
	f.Add([]byte(`{"rootfs":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := newMemoryStore()
		config := verifier.Digest(digest.FromBytes(data))
		m.blobs[config] = data
		c, err := newContents(m)
		if err != nil {
			t.Fatal(err)
		}
		rests, err := c.isContent(t.Context(), config, bound{below: snapshot{parent: string(layer)}})
		var image struct {
			RootFS struct {
				DiffIDs []string `json:"diff_ids"`
			} `json:"rootfs"`
		}
		_ = json.Unmarshal(data, &image)
		if want := slices.Equal(image.RootFS.DiffIDs, []string{string(layer)}); rests && (!want || err != nil) {
			t.Errorf("%s has the layer %s, %v", data, layer, err)
		}
	})
}

// FuzzQuestion asks what kritis explain asks. However it is written, nothing unattested is called admitted, and nothing is left without a reason.
func FuzzQuestion(f *testing.F) {
	p, b := newPlugin(f, nil)
	s := b.unsigned(f, "layer")
	b.recs.put(nodestate.Record{Repository: repository, Digest: s.bound.digest, FetchedAt: time.Now()})
	f.Add("prod", s.image, "")
	f.Add("prod", repository+":v1", "runc")
	f.Add("prod", repository+"@sha256:"+hexB, "kata")
	f.Add("", "sha256:"+hexA, "")
	f.Fuzz(func(t *testing.T, namespace, image, handler string) {
		for _, ns := range []string{"prod", namespace} {
			e := p.explain(t.Context(), Question{Namespace: ns, Image: image, RuntimeHandler: handler}, time.Now())
			if e.Admitted && ns == "prod" || e.Admitted != (e.Message == "") || strings.ContainsAny(e.Message, "\n\r\x1b") || len(e.Message) > 1<<10 {
				t.Errorf("%+v", e)
			}
		}
	})
}
