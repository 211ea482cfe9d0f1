package registry

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/kritis-node/kritis-node/verifier"
)

func TestClassicSignatures(t *testing.T) {
	server := realRegistry(t)
	payload := []byte(`{"critical":{}}`)
	manifest := classicManifest(t, payload, "first", "second")
	manifest = []byte(strings.Replace(string(manifest), `"layers":[`, `"layers":[`+string(encode(t, descriptor("text/plain", []byte("x"), nil)))+",", 1))
	pushBlob(t, server, "team/app", payload)
	pushBlob(t, server, "team/app", []byte("{}"))
	pushBlob(t, server, "team/app", []byte("x"))
	pushManifest(t, server, "team/app", "sha256-"+imageDigest.Hex()+".sig", ociManifest, manifest)

	found, err := newSource(t, Config{}, server).Attestations(t.Context(), hostOf(server)+"/team/app", imageDigest)
	if err != nil || len(found) != 2 {
		t.Fatalf("%d attestations, %v", len(found), err)
	}
	for i, signature := range []string{"first", "second"} {
		a := found[i]
		if a.Format != verifier.FormatCosign || string(a.Payload) != string(payload) || len(a.Signatures) != 1 || string(a.Signatures[0].Value) != signature {
			t.Errorf("attestation %d: %+v", i, a)
		}
		if want := hostOf(server) + "/team/app:sha256-" + imageDigest.Hex() + ".sig"; a.Source != want {
			t.Errorf("source %q, want %q", a.Source, want)
		}
	}
}

func TestBundles(t *testing.T) {
	for name, api := range map[string]bool{"referrers API": true, "fallback tag": false} {
		t.Run(name, func(t *testing.T) {
			server := realRegistry(t, ggcr.WithReferrersSupport(api))
			bundle, sbom := []byte(`{"mediaType":"bundle"}`), []byte(`{"mediaType":"sbom"}`)
			signed, stated := bundleManifest(t, bundle, signPredicate), bundleManifest(t, sbom, "https://spdx.dev/Document")
			other := encode(t, object{"schemaVersion": 2, "mediaType": ociManifest, "artifactType": "text/other",
				"config": descriptor("application/vnd.oci.empty.v1+json", []byte("{}"), nil), "layers": []object{},
				"subject": object{"mediaType": ociManifest, "digest": imageDigest, "size": 1}})
			for _, b := range [][]byte{bundle, sbom, []byte("{}")} {
				pushBlob(t, server, "team/app", b)
			}
			var entries []object
			for _, m := range [][]byte{signed, stated, other} {
				pushManifest(t, server, "team/app", digestOf(m), ociManifest, m)
				entries = append(entries, descriptor(ociManifest, m, nil)) // without artifact type: it has to be looked at
			}
			if !api {
				pushManifest(t, server, "team/app", "sha256-"+imageDigest.Hex(), ociIndex, index(t, entries...))
			}
			found, err := newSource(t, Config{}, server).Attestations(t.Context(), hostOf(server)+"/team/app", imageDigest)
			if err != nil || len(found) != 1 {
				t.Fatalf("%d attestations, %v", len(found), err)
			}
			a := found[0]
			if a.Format != verifier.FormatBundle || string(a.Payload) != string(bundle) || len(a.Signatures) != 0 || a.Source != hostOf(server)+"/team/app@"+digestOf(signed) {
				t.Errorf("%+v", a)
			}
		})
	}
}

// What says that it is no signature is not read: SBOMs have megabytes.
func TestOtherStatementsAreNotRead(t *testing.T) {
	h := newHostile(t)
	sbom := descriptor(ociManifest, []byte("sbom"), object{predicateAnnotation: "https://spdx.dev/Document"})
	sbom["artifactType"] = bundleType
	h.on(referrersPath, body(ociIndex, index(t, sbom)))
	found, err := newSource(t, Config{}, h.Server).Attestations(t.Context(), hostOf(h.Server)+"/team/app", imageDigest)
	if err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
}

func TestNoneIsNoError(t *testing.T) {
	for name, options := range map[string][]ggcr.Option{"without referrers API": nil, "with": {ggcr.WithReferrersSupport(true)}} {
		server := realRegistry(t, options...)
		found, err := newSource(t, Config{}, server).Attestations(t.Context(), hostOf(server)+"/team/app", imageDigest)
		if err != nil || len(found) != 0 {
			t.Errorf("%s: %v, %v", name, found, err)
		}
	}
}

// Every status but "found" and "not found" means that nobody could tell, wherever it comes from.
func TestStatuses(t *testing.T) {
	payload, bundle := []byte("payload"), []byte("bundle")
	manifest := bundleManifest(t, bundle, signPredicate)
	listed := index(t, object{"mediaType": ociManifest, "digest": digestOf(manifest), "size": len(manifest), "artifactType": bundleType})
	for _, path := range []string{ping, sigPath, blobs + digestOf(payload), referrersPath, fallbackPath, manifests + digestOf(manifest), blobs + digestOf(bundle)} {
		for code, advice := range map[int]string{401: "credentials", 403: "credentials", 429: "higher limit", 500: "try again later", 503: "try again later", 204: "see that the host", 418: "see that the host"} {
			h := newHostile(t)
			h.classicOn(t, payload, "s")
			if path != fallbackPath {
				h.on(referrersPath, body(ociIndex, listed))
			}
			h.on(manifests+digestOf(manifest), body(ociManifest, manifest))
			h.on(blobs+digestOf(bundle), body("", bundle))
			h.on(path, status(code, `{"errors":[{"code":"DENIED","message":"secret-text"}]}`))
			_, err := newSource(t, Config{}, h.Server).Attestations(t.Context(), hostOf(h.Server)+"/team/app", imageDigest)
			if path == ping && code == 401 {
				continue // a challenge without a scheme: the requests that follow decide
			}
			if err == nil {
				t.Errorf("%d for %s: no error", code, path)
				continue
			}
			text := err.Error()
			for _, want := range []string{hostOf(h.Server), http.StatusText(code), advice} {
				if !strings.Contains(text, want) {
					t.Errorf("%d for %s: %q lacks %q", code, path, text, want)
				}
			}
			if strings.Contains(text, "secret-text") || strings.Contains(text, "\n") {
				t.Errorf("%d for %s: %q", code, path, text)
			}
		}
	}
}

// One of the two forms failing does not hide the other.
func TestWhatWasFoundIsReturnedBesideTheError(t *testing.T) {
	h := newHostile(t)
	h.classicOn(t, []byte("payload"), "s")
	h.on(referrersPath, status(500, ""))
	found, err := newSource(t, Config{}, h.Server).Attestations(t.Context(), hostOf(h.Server)+"/team/app", imageDigest)
	if err == nil || len(found) != 1 {
		t.Errorf("%d attestations, %v", len(found), err)
	}
}

func TestStatusesOfRegistriesWithoutReferrers(t *testing.T) {
	for _, code := range []int{400, 404, 405, 406, 501} {
		h := newHostile(t)
		h.on(referrersPath, status(code, ""))
		bundle := []byte("bundle")
		manifest := bundleManifest(t, bundle, signPredicate)
		h.on(fallbackPath, body(ociIndex, index(t, descriptor(ociManifest, manifest, nil))))
		h.on(manifests+digestOf(manifest), body(ociManifest, manifest))
		h.on(blobs+digestOf(bundle), body("", bundle))
		found, err := newSource(t, Config{}, h.Server).Attestations(t.Context(), hostOf(h.Server)+"/team/app", imageDigest)
		if err != nil || len(found) != 1 {
			t.Errorf("%d: %d attestations, %v", code, len(found), err)
		}
	}
}

func TestMirrors(t *testing.T) {
	payload := []byte("payload")
	good := func(h *hostile, prefix, signature string) {
		h.on("/v2/"+prefix+"team/app/manifests/sha256-"+imageDigest.Hex()+".sig", body(ociManifest, classicManifest(t, payload, signature)))
		h.on("/v2/"+prefix+"team/app/blobs/"+digestOf(payload), body("", payload))
	}
	for name, c := range map[string]struct {
		first, second, host func(*hostile)
		want                string
		fails               bool
	}{
		"the first mirror has it":         {first: func(h *hostile) { good(h, "cache/of/", "1") }, host: func(h *hostile) { good(h, "", "host") }, want: "1"},
		"the second has it":               {second: func(h *hostile) { good(h, "", "2") }, host: func(h *hostile) { good(h, "", "host") }, want: "2"},
		"only the host has it":            {host: func(h *hostile) { good(h, "", "host") }, want: "host"},
		"mirrors fail":                    {first: broken, second: broken, host: func(h *hostile) { good(h, "", "host") }, want: "host"},
		"mirrors fail, the host has none": {first: broken, second: broken},
		"the host fails":                  {host: broken, fails: true},
		"a mirror has it, the host fails": {second: func(h *hostile) { good(h, "", "2") }, host: broken, want: "2"},
	} {
		t.Run(name, func(t *testing.T) {
			first, second, host := newHostile(t), newHostile(t), newHostile(t)
			for h, set := range map[*hostile]func(*hostile){first: c.first, second: c.second, host: c.host} {
				if set != nil {
					set(h)
				}
			}
			s := newSource(t, Config{Hosts: []Host{{Host: hostOf(host.Server), PlainHTTP: true, Mirrors: []string{hostOf(first.Server) + "/cache/of", hostOf(second.Server)}}}}, first.Server, second.Server)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			found, err := s.Attestations(ctx, hostOf(host.Server)+"/team/app", imageDigest)
			if (err != nil) != c.fails {
				t.Errorf("error %v", err)
			}
			got := ""
			for _, a := range found {
				got += string(a.Signatures[0].Value)
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func broken(h *hostile) { h.on(ping, status(503, "")) }

// A mirror that hangs leaves time for the host.
func TestAHungMirrorLeavesTime(t *testing.T) {
	mirror, host := newHostile(t), newHostile(t)
	release := make(chan struct{})
	defer close(release)
	mirror.on(ping, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	host.classicOn(t, []byte("payload"), "s")
	s := newSource(t, Config{Hosts: []Host{{Host: hostOf(host.Server), PlainHTTP: true, Mirrors: []string{hostOf(mirror.Server)}}}}, mirror.Server)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	found, err := s.Attestations(ctx, hostOf(host.Server)+"/team/app", imageDigest)
	if err != nil || len(found) != 1 {
		t.Errorf("%d attestations, %v", len(found), err)
	}
}

func TestRepositoriesMustBeNormalised(t *testing.T) {
	s := newSource(t, Config{})
	for _, repository := range []string{"", "nginx", "Registry.example/app", "registry.example/app:tag", "registry.example/../app", "registry.example/a b"} {
		if _, err := s.Attestations(t.Context(), repository, imageDigest); err == nil || !strings.Contains(err.Error(), "not a normalised repository") {
			t.Errorf("%q: %v", repository, err)
		}
	}
}
