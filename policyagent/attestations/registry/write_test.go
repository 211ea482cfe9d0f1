package registry

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ocireg "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/kritis-node/kritis-node/verifier"
)

// writable is a source for a registry of its own.
func writable(t *testing.T) (*Source, string) {
	t.Helper()
	server := httptest.NewServer(ocireg.New())
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	s, err := New(Config{Hosts: []Host{{Host: host, PlainHTTP: true}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, host
}

func reference(t *testing.T, s string) verifier.Reference {
	t.Helper()
	ref, err := verifier.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestResolve(t *testing.T) {
	s, host := writable(t)
	image, err := random.Image(16, 1)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: image,
		Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}}})
	top, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	push := func(tag string, what remote.Taggable) {
		r, err := name.ParseReference(host+"/app:"+tag, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Push(r, what); err != nil {
			t.Fatal(err)
		}
	}
	push("v1", image)
	push("latest", index)
	for name, tc := range map[string]struct {
		ref, digest string
		platforms   string
	}{
		"tag of a manifest": {":v1", manifest.String(), "[]"},
		"digest":            {"@" + manifest.String(), manifest.String(), "[]"},
		"no tag is latest":  {"", top.String(), "[{linux/arm64/v8 " + manifest.String() + "}]"},
		"index by digest":   {"@" + top.String(), top.String(), "[{linux/arm64/v8 " + manifest.String() + "}]"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := s.Resolve(t.Context(), reference(t, host+"/app"+tc.ref))
			if err != nil || string(got.Digest) != tc.digest || fmt.Sprint(got.Manifests) != tc.platforms {
				t.Errorf("Resolve = %+v, %v", got, err)
			}
		})
	}
	if _, err := s.Resolve(t.Context(), reference(t, host+"/app:none")); !errors.Is(err, errAbsentImage) {
		t.Errorf("an absent image: %v", err)
	}
}

func TestAddSignature(t *testing.T) {
	s, host := writable(t)
	repository, d := host+"/app", verifier.Digest("sha256:"+strings.Repeat("a", 64))
	add := func(payload, signature string) bool {
		t.Helper()
		added, err := s.AddSignature(t.Context(), repository, d, []byte(payload), []byte(signature), func(have []byte) bool { return bytes.Equal(have, []byte(signature)) })
		if err != nil {
			t.Fatal(err)
		}
		return added
	}
	for i, step := range []struct {
		payload, signature string
		added              bool
		total              int
	}{
		{"statement", "one", true, 1},
		{"statement", "one", false, 1},
		{"statement", "two", true, 2},
		{"other statement", "one", true, 3},
	} {
		if got := add(step.payload, step.signature); got != step.added {
			t.Errorf("step %d: added = %v", i, got)
		}
		all, err := s.Attestations(t.Context(), repository, d)
		if err != nil || len(all) != step.total {
			t.Errorf("step %d: %d attestations, %v, want %d", i, len(all), err, step.total)
		}
	}
}

func TestAddSignatureStopsAtTheLimit(t *testing.T) {
	s, host := writable(t)
	repository, d := host+"/app", verifier.Digest("sha256:"+strings.Repeat("a", 64))
	// All but one of the allowed signatures are there; they may share a payload.
	full := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	layers := make([]mutate.Addendum, verifier.MaxAttestations-1)
	for i := range layers {
		layers[i] = mutate.Addendum{Layer: static.NewLayer([]byte("statement"), simpleSigning),
			Annotations: map[string]string{signatureAnnotation: base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "signature %d", i))}}
	}
	full, err := mutate.Append(full, layers...)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(repository+":sha256-"+d.Hex()+".sig", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, full); err != nil {
		t.Fatal(err)
	}
	for _, signature := range []string{"the last", "one more"} {
		_, err := s.AddSignature(t.Context(), repository, d, []byte("statement"), []byte(signature), func(have []byte) bool { return string(have) == signature })
		if (err != nil) != (signature == "one more") {
			t.Fatalf("%s: %v", signature, err)
		}
	}
}
