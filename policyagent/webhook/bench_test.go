package webhook

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
)

// BenchmarkReview is one review of a pod as the API server sends it, from its body to the answer, of an image whose
// attestation is at hand, and of one that is named by tag.
func BenchmarkReview(b *testing.B) {
	for name, image := range map[string]string{"signed": signedImage, "tag": "alpine:3"} {
		b.Run(name, func(b *testing.B) {
			c := usual(b)
			c.Resolver = nil
			w := made(b, c)
			body := compact(b, golden(b, "pod-create", "IMAGE", image))
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				req := httptest.NewRequest(http.MethodPost, PodsPath, bytes.NewReader(body))
				req.Header.Set("Content-Type", "application/json")
				rw := httptest.NewRecorder()
				w.ServeHTTP(rw, req)
				if rw.Code != http.StatusOK {
					b.Fatal(rw.Body)
				}
			}
		})
	}
}

// BenchmarkParse is what reading a review costs.
func BenchmarkParse(b *testing.B) {
	body := compact(b, golden(b, "deployment-update", "IMAGE", signedImage, "RUNNING", runningImage))
	paths := builtin()[groupKind{"apps", "Deployment"}]
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		r, err := parseReview(body)
		if err != nil {
			b.Fatal(err)
		}
		if i, err := imagesOf(r.object, paths); err != nil || len(i.entries) != 1 {
			b.Fatal(i, err)
		}
	}
}
