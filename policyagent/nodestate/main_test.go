package nodestate

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kritis-node/kritis-node/verifier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testRepository = "registry.example/team/app"

var (
	testDigest = verifier.Digest("sha256:" + strings.Repeat("a", 64))
	testTime   = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
)

func newWriter(t *testing.T) *Writer {
	t.Helper()
	w, err := Create(t.TempDir() + "/state")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func testPolicy(generation uint64) Policy {
	return Policy{
		Generation: generation, WrittenAt: testTime, Source: "folder x",
		Document: verifier.Document{Policies: []verifier.PolicySpec{{Namespace: "default", Name: "p", AuthorityNames: []string{"qa"}}}},
		Problems: []verifier.Problem{{Object: "o", Code: "c", Text: "t"}},
	}
}

func testRecord(payload string) Record {
	return Record{
		Repository: testRepository, Digest: testDigest, FetchedAt: testTime,
		Attestations: []verifier.Attestation{{Format: verifier.FormatCosign, Payload: []byte(payload), Signatures: []verifier.Signature{{Value: []byte("s")}}}},
	}
}

// post sends a body to a handler and returns the status.
func post(t *testing.T, h http.Handler, body []byte) int {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(body)))
	return w.Code
}
