package registry

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/verifier"
)

func fetch(t *testing.T, h *hostile) ([]verifier.Attestation, error) {
	t.Helper()
	return newSource(t, Config{}, h.Server).Attestations(t.Context(), hostOf(h.Server)+"/team/app", imageDigest)
}

// check runs a case at a limit and one beyond it.
func check(t *testing.T, name string, want int, text string, prepare func(*hostile)) {
	t.Helper()
	h := newHostile(t)
	prepare(h)
	found, err := fetch(t, h)
	if len(found) != want || (err == nil) != (text == "") || (err != nil && !strings.Contains(err.Error(), text)) {
		t.Errorf("%s: %d attestations, want %d; error %v, want %q", name, len(found), want, err, text)
	}
}

func pad(b []byte, n int) []byte { return append(b, bytes.Repeat([]byte{' '}, n-len(b))...) }

func TestManifestSize(t *testing.T) {
	payload := []byte("payload")
	for n, c := range map[int]struct {
		want int
		text string
	}{maxManifest: {1, ""}, maxManifest + 1: {0, "more than 4194304 bytes"}, 2 * maxManifest: {0, "more than 4194304 bytes"}} {
		check(t, fmt.Sprint(n), c.want, c.text, func(h *hostile) {
			h.classicOn(t, payload, "s")
			h.on(sigPath, body(ociManifest, pad(classicManifest(t, payload, "s"), n)))
		})
	}
}

func TestPayloadSize(t *testing.T) {
	for n, c := range map[int]struct {
		want int
		text string
	}{verifier.MaxPayload: {1, ""}, verifier.MaxPayload + 1: {0, "may have 131072"}} {
		payload := bytes.Repeat([]byte{'x'}, n)
		check(t, fmt.Sprint("classic ", n), c.want, c.text, func(h *hostile) { h.classicOn(t, payload, "s") })
		check(t, fmt.Sprint("bundle ", n), c.want, c.text, func(h *hostile) { h.bundlesOn(t, payload) })
	}
	// What is announced as small and is not.
	check(t, "more than announced", 0, "bytes where its manifest says 7", func(h *hostile) {
		h.classicOn(t, []byte("payload"), "s")
		h.on(blobs+digestOf([]byte("payload")), body("", []byte("payload and more")))
	})
	// go-containerregistry reads the answer to its first request to the end.
	check(t, "endless ping", 1, "", func(h *hostile) {
		h.classicOn(t, []byte("payload"), "s")
		h.on(ping, endless)
	})
	check(t, "endless", 0, "more than 131072 bytes", func(h *hostile) {
		h.classicOn(t, []byte("payload"), "s")
		h.on(blobs+digestOf([]byte("payload")), endless)
	})
}

func endless(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		if _, err := w.Write(make([]byte, 1<<16)); err != nil {
			return
		}
	}
}

// bundlesOn makes the registry list bundles by the referrers API.
func (h *hostile) bundlesOn(t testing.TB, bundles ...[]byte) {
	var entries []object
	for _, b := range bundles {
		m := bundleManifest(t, b, signPredicate)
		h.on(manifests+digestOf(m), body(ociManifest, m))
		h.on(blobs+digestOf(b), body("", b))
		d := descriptor(ociManifest, m, nil)
		d["artifactType"] = bundleType
		entries = append(entries, d)
	}
	h.on(referrersPath, body(ociIndex, index(t, entries...)))
}

func TestNumberOfAttestations(t *testing.T) {
	many := func(n int) (signatures []string, bundles [][]byte) {
		for i := range n {
			signatures = append(signatures, fmt.Sprint("signature ", i))
			bundles = append(bundles, fmt.Appendf(nil, "bundle %d", i))
		}
		return signatures, bundles
	}
	signatures, bundles := many(verifier.MaxAttestations + 1)
	const n = verifier.MaxAttestations
	check(t, "classic at the limit", n, "", func(h *hostile) { h.classicOn(t, []byte("p"), signatures[:n]...) })
	check(t, "classic beyond", 0, "it has 257 signatures", func(h *hostile) { h.classicOn(t, []byte("p"), signatures...) })
	check(t, "bundles at the limit", n, "", func(h *hostile) { h.bundlesOn(t, bundles[:n]...) })
	check(t, "bundles beyond", n, "257 bundles refer to the digest", func(h *hostile) { h.bundlesOn(t, bundles...) })
	check(t, "both together", n, "more than 256 attestations", func(h *hostile) {
		h.classicOn(t, []byte("p"), signatures[:n]...)
		h.bundlesOn(t, []byte("one more"))
	})
}

func TestBytesTogether(t *testing.T) {
	large := make([][]byte, attestations.MaxBytes/verifier.MaxPayload+1)
	for i := range large {
		large[i] = append(bytes.Repeat([]byte{'x'}, verifier.MaxPayload-1), byte(i))
	}
	check(t, "too many large ones", len(large)-2, "bytes together", func(h *hostile) { h.bundlesOn(t, large...) })
}

func TestReferrerPages(t *testing.T) {
	bundle := []byte("bundle")
	manifest := bundleManifest(t, bundle, signPredicate)
	pages := func(h *hostile, n int) {
		h.bundlesOn(t, bundle)
		h.on(referrersPath, func(w http.ResponseWriter, r *http.Request) {
			var page int
			fmt.Sscanf(r.URL.Query().Get("page"), "%d", &page)
			entries := []object{}
			if page == n-1 {
				entries = append(entries, descriptor(ociManifest, manifest, nil))
			} else {
				w.Header().Set("Link", fmt.Sprintf(`<%s?page=%d>; rel="next"`, r.URL.Path, page+1))
			}
			body(ociIndex, index(t, entries...))(w, r)
		})
	}
	check(t, "at the limit", 1, "", func(h *hostile) { pages(h, maxPages) })
	check(t, "beyond", 0, "more than 16 pages", func(h *hostile) { pages(h, maxPages+1) })
	for link, ok := range map[string]bool{
		`<http://elsewhere.example` + referrersPath + `?page=1>; rel="next"`: false,
		`</v2/other/app/referrers/x>; rel=next`:                              false,
		`<http://user:password@HOST` + referrersPath + `?page=1>; rel=next`:  false,
		`<https://HOST` + referrersPath + `?page=1>; rel=next`:               false,
		`<http://HOST` + referrersPath + `?page=1>; title="x"; rel="next"`:   true,
		`<?page=1>;rel=next`:                         true,
		`</elsewhere>; rel="prev"`:                   true,
		`</elsewhere>; rel="prev", </x>; rel="next"`: false,
	} {
		want, text := 1, ""
		if !ok {
			want, text = 0, "the next page is elsewhere"
		}
		check(t, link, want, text, func(h *hostile) {
			h.bundlesOn(t, bundle)
			first := true
			h.on(referrersPath, func(w http.ResponseWriter, r *http.Request) {
				if first {
					w.Header().Set("Link", strings.Replace(link, "HOST", hostOf(h.Server), 1))
				}
				first = false
				body(ociIndex, index(t, descriptor(ociManifest, manifest, nil)))(w, r)
			})
		})
	}
}

func TestNumberOfReferrers(t *testing.T) {
	others := make([]object, maxReferrers)
	for i := range others {
		others[i] = object{"mediaType": ociManifest, "digest": imageDigest, "size": 1, "artifactType": "text/plain"}
	}
	for n, text := range map[int]string{0: "", 1: "more than 4096"} {
		entries := index(t, append(others[:maxReferrers:maxReferrers], others[:n]...)...)
		check(t, fmt.Sprint("API, limit and ", n), 0, text, func(h *hostile) { h.on(referrersPath, body(ociIndex, entries)) })
		check(t, fmt.Sprint("tag, limit and ", n), 0, text, func(h *hostile) { h.on(fallbackPath, body(ociIndex, entries)) })
	}
}

func TestRedirects(t *testing.T) {
	for n, text := range map[int]string{maxRedirects: "", maxRedirects + 1: "more than 5 redirects"} {
		want := 1
		if text != "" {
			want = 0
		}
		check(t, fmt.Sprint(n), want, text, func(h *hostile) {
			payload := []byte("payload")
			h.classicOn(t, payload, "s")
			h.on(blobs+digestOf(payload), http.RedirectHandler("/1", http.StatusTemporaryRedirect).ServeHTTP)
			for i := 1; i < n; i++ {
				h.on(fmt.Sprint("/", i), http.RedirectHandler(fmt.Sprint("/", i+1), http.StatusTemporaryRedirect).ServeHTTP)
			}
			h.on(fmt.Sprint("/", n), body("", payload))
		})
	}
}

// Garbage, lies and half answers are "could not tell".
func TestGarbage(t *testing.T) {
	payload, bundle := []byte("payload"), []byte("bundle")
	manifest := bundleManifest(t, bundle, signPredicate)
	truncated := func(mediaType string, b []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", mediaType)
			w.Header().Set("Content-Length", fmt.Sprint(len(b)+10))
			_, _ = w.Write(b)
			panic(http.ErrAbortHandler)
		}
	}
	signature := base64.StdEncoding.EncodeToString([]byte("s"))
	for name, c := range map[string]struct {
		path   string
		answer http.HandlerFunc
		text   string
	}{
		"no JSON":                    {sigPath, body("text/html", []byte("<html>")), "not the JSON of a manifest"},
		"an index":                   {sigPath, body(ociIndex, index(t)), "is no image manifest"},
		"truncated manifest":         {sigPath, truncated(ociManifest, classicManifest(t, payload, "s")), "ended before the answer"},
		"no signature":               {sigPath, body(ociManifest, bytes.Replace(classicManifest(t, payload, "s"), []byte(signature), nil, 1)), "has no signature"},
		"signature no base64":        {sigPath, body(ociManifest, bytes.Replace(classicManifest(t, payload, "s"), []byte(signature), []byte("!"), 1)), "has no signature"},
		"negative size":              {sigPath, body(ociManifest, bytes.Replace(classicManifest(t, payload, "s"), []byte(`"size":7`), []byte(`"size":-1`), 1)), "it has -1 bytes"},
		"digest no digest":           {sigPath, body(ociManifest, bytes.Replace(classicManifest(t, payload, "s"), []byte(digestOf(payload)), []byte("sha256:../x"), 1)), "not the JSON of a manifest"},
		"another blob":               {blobs + digestOf(payload), body("", []byte("pay1oad")), "has digest sha256:"},
		"truncated blob":             {blobs + digestOf(payload), truncated("", payload), "ended before the answer"},
		"missing blob":               {blobs + digestOf(payload), http.NotFound, "status 404"},
		"referrers no JSON":          {referrersPath, body(ociIndex, []byte("[]")), "not the JSON of an OCI index"},
		"referrers a page of HTML":   {referrersPath, body("text/html", []byte("<html>")), "not the JSON of an OCI index"},
		"referrers another type":     {referrersPath, body("application/json", []byte(`{"manifests":[]}`)), "not the JSON of an OCI index"},
		"missing referrer":           {manifests + digestOf(manifest), http.NotFound, "is listed and does not exist"},
		"another referrer":           {manifests + digestOf(manifest), body(ociManifest, bytes.Replace(manifest, []byte("2"), []byte("3"), 1)), "has digest sha256:"},
		"referrer of another digest": {"", nil, "it refers to another digest"},
		"referrer with two layers":   {"", nil, "not the one layer"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHostile(t)
			h.classicOn(t, payload, "s")
			h.bundlesOn(t, bundle)
			if c.answer != nil {
				h.on(c.path, c.answer)
			} else {
				m := bytes.Replace(manifest, []byte(imageDigest), []byte("sha256:"+strings.Repeat("b", 64)), 1)
				if strings.Contains(name, "layers") {
					m = bytes.Replace(manifest, []byte(`"layers":[`), append([]byte(`"layers":[`), append(encode(t, descriptor(bundleType, bundle, nil)), ',')...), 1)
				}
				h.on(manifests+digestOf(m), body(ociManifest, m))
				h.on(referrersPath, body(ociIndex, index(t, descriptor(ociManifest, m, nil))))
			}
			found, err := fetch(t, h)
			if err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v, want %q", err, c.text)
			}
			if len(found) != 1 {
				t.Errorf("%d attestations: the other form should have been found", len(found))
			}
		})
	}
}
