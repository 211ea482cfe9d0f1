package webhook

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/policyagent/attestations/registry"
	"github.com/kritis-node/kritis-node/verifier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const repository = "registry.example/team/app"

func digest(c string) verifier.Digest { return verifier.Digest("sha256:" + strings.Repeat(c, 64)) }

func pinned(c string) string { return repository + "@" + string(digest(c)) }

// What the tests' images are called. Of these, signedImage and runningImage are attested.
var (
	signedImage   = pinned("a")
	unsignedImage = pinned("b")
	runningImage  = pinned("c")
	otherImage    = pinned("d")
)

const taggedImage = repository + ":v1"

// usual is a configuration that works, with rules, a source and a resolver of its own.
func usual(t testing.TB) Config {
	cert, key, _ := writeCertificate(t, t.TempDir(), 1)
	return Config{Listen: "127.0.0.1:0", StatusListen: "127.0.0.1:0", CertFile: cert, KeyFile: key,
		Rules: new(fixed).set(document()), Sources: []attestations.Source{new(source).attest(signedImage, runningImage)},
		Resolver: &resolver{means: map[string]registry.Image{
			taggedImage: {Digest: digest("a")}, signedImage: {Digest: digest("a")}, unsignedImage: {Digest: digest("b")}, otherImage: {Digest: digest("d")}}},
		Recorder: &recorder{}, Logger: slog.New(slog.NewTextHandler(&lines{}, nil)),
		Deadline: 5 * time.Second, ExemptNamespaces: []string{"kube-system"}}
}

// made returns a webhook that is not run. It answers all the same.
func made(t testing.TB, c Config) *Webhook {
	t.Helper()
	w, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// golden reads a review with its images in place.
func golden(t testing.TB, name string, images ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var quoted []string
	for i, s := range images {
		if i%2 == 1 {
			b, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			s = string(b)
		} else {
			s = `"` + s + `"`
		}
		quoted = append(quoted, s)
	}
	return []byte(strings.NewReplacer(quoted...).Replace(string(data)))
}

// ask sends a body to the handler.
func ask(t testing.TB, w http.Handler, body []byte) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, WorkloadsPath+"?timeout=10s", bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	rw := httptest.NewRecorder()
	w.ServeHTTP(rw, req)
	return rw
}

// reviewed sends a body and reads the answer as the API server does.
func reviewed(t testing.TB, w http.Handler, body []byte) *admissionv1.AdmissionResponse {
	t.Helper()
	rw := ask(t, w, body)
	if rw.Code != http.StatusOK {
		t.Fatalf("status %d: %s", rw.Code, rw.Body)
	}
	d := json.NewDecoder(rw.Body)
	d.DisallowUnknownFields()
	var a admissionv1.AdmissionReview
	if err := d.Decode(&a); err != nil {
		t.Fatal(err)
	}
	if a.APIVersion != "admission.k8s.io/v1" || a.Kind != "AdmissionReview" || a.Response == nil || a.Response.UID == "" {
		t.Fatalf("%+v", a)
	}
	r := a.Response
	if len(r.Warnings) > maxWarnings {
		t.Errorf("%d warnings", len(r.Warnings))
	}
	for _, warning := range r.Warnings {
		if len(warning) > 256 || strings.ContainsAny(warning, "\r\n\x00") {
			t.Errorf("warning %q", warning)
		}
	}
	if r.Allowed != (r.Result == nil) {
		t.Errorf("allowed %v with status %+v", r.Allowed, r.Result)
	}
	return r
}

// refused is why there was no answer, as the API server reads it.
func refused(t testing.TB, rw *httptest.ResponseRecorder) string {
	t.Helper()
	var s metav1.Status
	if err := json.Unmarshal(rw.Body.Bytes(), &s); err != nil || s.Kind != "Status" || s.APIVersion != "v1" || s.Status != "Failure" || int(s.Code) != rw.Code || rw.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%v: %+v", err, s)
	}
	return s.Message
}

// tagged is what the verifier says of an image without a digest that nobody knows.
func tagged() string {
	set, _ := verifier.Compile(document())
	return verifier.Rules{Cluster: set}.Decide(verifier.Request{Namespace: "default", Image: taggedImage}, named{err: errUnasked}, nil).Detail
}

// said is the message of a denial, or "allowed".
func said(r *admissionv1.AdmissionResponse) string {
	if r.Allowed {
		return "allowed"
	}
	return r.Result.Message
}

// verdict is the reason that the audit log gets.
func verdict(r *admissionv1.AdmissionResponse) string { return r.AuditAnnotations["verdict"] }
