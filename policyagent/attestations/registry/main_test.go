package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"go.uber.org/goleak"

	"github.com/kritis-node/kritis-node/verifier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var imageDigest = verifier.Digest("sha256:" + strings.Repeat("a", 64))

const (
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	ociIndex    = "application/vnd.oci.image.index.v1+json"
)

func digestOf(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

func hostOf(s *httptest.Server) string { _, host, _ := strings.Cut(s.URL, "://"); return host }

// newSource returns a source that talks plain HTTP to the servers.
func newSource(t *testing.T, config Config, servers ...*httptest.Server) *Source {
	t.Helper()
	for _, s := range servers {
		config.Hosts = append(config.Hosts, Host{Host: hostOf(s), PlainHTTP: true})
	}
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// realRegistry is go-containerregistry's registry.
func realRegistry(t *testing.T, options ...ggcr.Option) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(ggcr.New(append(options, ggcr.Logger(log.New(io.Discard, "", 0)))...))
	t.Cleanup(s.Close)
	return s
}

func push(t *testing.T, method, url, contentType string, body []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("%s %s: %s", method, url, resp.Status)
	}
}

func pushBlob(t *testing.T, s *httptest.Server, path string, blob []byte) {
	t.Helper()
	push(t, http.MethodPost, s.URL+"/v2/"+path+"/blobs/uploads/?digest="+digestOf(blob), "application/octet-stream", blob)
}

func pushManifest(t *testing.T, s *httptest.Server, path, reference, mediaType string, manifest []byte) {
	t.Helper()
	push(t, http.MethodPut, s.URL+"/v2/"+path+"/manifests/"+reference, mediaType, manifest)
}

type object = map[string]any

func encode(t testing.TB, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func descriptor(mediaType string, content []byte, annotations object) object {
	return object{"mediaType": mediaType, "digest": digestOf(content), "size": len(content), "annotations": annotations}
}

// classicManifest is a manifest of classic signatures over a payload.
func classicManifest(t testing.TB, payload []byte, signatures ...string) []byte {
	layers := []object{}
	for _, s := range signatures {
		layers = append(layers, descriptor(simpleSigning, payload, object{signatureAnnotation: base64.StdEncoding.EncodeToString([]byte(s))}))
	}
	return encode(t, object{"schemaVersion": 2, "mediaType": ociManifest, "config": descriptor("application/vnd.oci.image.config.v1+json", []byte("{}"), nil), "layers": layers})
}

func bundleManifest(t testing.TB, bundle []byte, predicate string) []byte {
	return encode(t, object{
		"schemaVersion": 2, "mediaType": ociManifest, "artifactType": bundleType,
		"config":      descriptor("application/vnd.oci.empty.v1+json", []byte("{}"), nil),
		"layers":      []object{descriptor(bundleType, bundle, nil)},
		"subject":     object{"mediaType": ociManifest, "digest": imageDigest, "size": 1},
		"annotations": object{predicateAnnotation: predicate},
	})
}

func index(t testing.TB, manifests ...object) []byte {
	return encode(t, object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": manifests})
}

// hostile answers by path and method, 404 otherwise, and notes what it was asked.
type hostile struct {
	*httptest.Server
	mu      sync.Mutex
	answers map[string]http.HandlerFunc
	asked   []*http.Request
}

func newHostile(t *testing.T) *hostile {
	h := &hostile{answers: map[string]http.HandlerFunc{"/v2/": func(http.ResponseWriter, *http.Request) {}}}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.asked = append(h.asked, r.Clone(t.Context()))
		answer, ok := h.answers[r.URL.Path]
		h.mu.Unlock()
		if !ok {
			http.NotFound(w, r)
			return
		}
		answer(w, r)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hostile) on(path string, answer http.HandlerFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answers[path] = answer
}

func (h *hostile) requests() []*http.Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]*http.Request(nil), h.asked...)
}

func body(mediaType string, b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		_, _ = w.Write(b)
	}
}

func status(code int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, text, code) }
}

const (
	ping      = "/v2/"
	manifests = "/v2/team/app/manifests/"
	blobs     = "/v2/team/app/blobs/"
)

var (
	sigPath       = manifests + "sha256-" + strings.Repeat("a", 64) + ".sig"
	fallbackPath  = manifests + "sha256-" + strings.Repeat("a", 64)
	referrersPath = "/v2/team/app/referrers/" + string(imageDigest)
)

// classicOn makes the registry serve classic signatures.
func (h *hostile) classicOn(t testing.TB, payload []byte, signatures ...string) {
	h.on(sigPath, body(ociManifest, classicManifest(t, payload, signatures...)))
	h.on(blobs+digestOf(payload), body("application/octet-stream", payload))
}
