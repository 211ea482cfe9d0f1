package limits

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

// allocated is how many bytes the whole process allocates meanwhile: more than it holds at any moment.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// A payload of 100 MB, and a hundred thousand signatures of which the last is valid. What is read, and held, is a small part of what
// is there, and the result is that nobody could tell: not that the image is not attested.
func TestTooMuch(t *testing.T) {
	const mb = 1 << 20
	s := newSite(t)
	host := s.lying.host()
	for name, c := range map[string]struct {
		path    string
		prepare func(path string)
		want    verifier.Outcome
		text    string
		// Bytes that the registry may send, and the process allocate.
		sent, alloc int64
	}{
		"payload of 128 KiB": {path: "payload-limit", prepare: func(path string) {
			content := payload(host + "/" + path)
			content = append(content, bytes.Repeat([]byte{' '}, verifier.MaxPayload-len(content))...)
			s.lying.signed(path, content, s.layer(t, content, true))
		}, want: verifier.Allowed, sent: mb, alloc: 16 * mb},
		"payload of 128 KiB and one": {path: "payload-beyond", prepare: func(path string) {
			content := payload(host + "/" + path)
			content = append(content, bytes.Repeat([]byte{' '}, verifier.MaxPayload+1-len(content))...)
			s.lying.signed(path, content, s.layer(t, content, true))
		}, want: verifier.CouldNotTell, text: "may have 131072", sent: mb, alloc: 16 * mb},
		"payload of 100 MB": {path: "payload-100", prepare: func(path string) {
			content := payload(host + "/" + path)
			content = append(content, bytes.Repeat([]byte{' '}, 100*mb-len(content))...)
			s.lying.signed(path, content, s.layer(t, content, true))
		}, want: verifier.CouldNotTell, text: "may have 131072", sent: mb, alloc: 16 * mb},
		"payload of 100 MB that is said to be small": {path: "payload-lie", prepare: func(path string) {
			content := payload(host + "/" + path)
			s.lying.signed(path, content, s.layer(t, content, true))
			s.lying.on(path+"/blobs/"+string(digestOf(content)), body("", bytes.Repeat([]byte{' '}, 100*mb)))
		}, want: verifier.CouldNotTell, text: "more than 131072 bytes", sent: 16 * mb, alloc: 16 * mb},
		"256 signatures, the last valid": {path: "signatures-limit", prepare: func(path string) {
			content := payload(host + "/" + path)
			s.lying.signed(path, content, append(s.layers(t, content, verifier.MaxAttestations-1), s.layer(t, content, true))...)
		}, want: verifier.Allowed, sent: mb, alloc: 32 * mb},
		"257 signatures, the last valid": {path: "signatures-beyond", prepare: func(path string) {
			content := payload(host + "/" + path)
			s.lying.signed(path, content, append(s.layers(t, content, verifier.MaxAttestations), s.layer(t, content, true))...)
		}, want: verifier.CouldNotTell, text: "it has 257 signatures and may have 256", sent: mb, alloc: 32 * mb},
		"100,000 signatures, the last valid": {path: "signatures-100000", prepare: func(path string) {
			content := payload(host + "/" + path)
			s.lying.signed(path, content, append(slices.Repeat(s.layers(t, content, 100), 1000)[1:], s.layer(t, content, true))...)
		}, want: verifier.CouldNotTell, text: "more than 4194304 bytes", sent: 16 * mb, alloc: 32 * mb},
		"100,000 bundles": {path: "bundles", prepare: func(path string) {
			entry := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":700,"artifactType":%q}`, ociManifest, digestOf([]byte("b")), bundleType)
			page := []byte(`{"schemaVersion":2,"mediaType":"` + ociIndex + `","manifests":[` + strings.Join(slices.Repeat([]string{entry}, 1000), ",") + `]}`)
			list := path + "/referrers/" + string(image)
			s.lying.on(list, func(w http.ResponseWriter, r *http.Request) {
				var n int
				_, _ = fmt.Sscan(r.URL.Query().Get("n"), &n)
				if n < 99 {
					w.Header().Set("Link", fmt.Sprintf(`</v2/%s?n=%d>; rel="next"`, list, n+1))
				}
				body(ociIndex, page)(w, r)
			})
		}, want: verifier.CouldNotTell, text: "there are more than 4096", sent: 16 * mb, alloc: 96 * mb},
	} {
		t.Run(name, func(t *testing.T) {
			c.prepare(c.path)
			s.lying.sent.Store(0)
			s.lying.requests.Store(0)
			var v verifier.Verdict
			took := allocated(func() { v = s.decide(t, host+"/"+c.path) })
			if v.Outcome != c.want || !strings.Contains(v.Detail, c.text) || v.Reason == verifier.NotAttested {
				t.Errorf("%v %s: %s", v.Outcome, v.Reason, v.Detail)
			}
			sent, requests := s.lying.sent.Load(), s.lying.requests.Load()
			t.Logf("%d KiB in %d requests were sent, %d KiB allocated", sent>>10, requests, took>>10)
			if sent > c.sent || took > c.alloc || requests > 32 {
				t.Errorf("%d bytes in %d requests were sent, %d allocated", sent, requests, took)
			}
		})
	}
}

// layers are signatures by nobody.
func (s *site) layers(t *testing.T, content []byte, n int) []string {
	t.Helper()
	all := make([]string, n)
	for i := range all {
		all[i] = s.layer(t, content, false)
	}
	return all
}

// A registry that drips one byte a second holds up its own images, until the agent's deadline, and no others; and it holds few
// connections however many images are asked for.
func TestADrippingRegistry(t *testing.T) {
	s := newSite(t)
	done := make(chan struct{})
	dripping := make(chan struct{}, 1000)
	drip := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000000")
		dripping <- struct{}{}
		for tick := time.NewTicker(time.Second); ; {
			select {
			case <-tick.C:
				if _, err := w.Write([]byte(" ")); err != nil {
					return
				}
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				tick.Stop()
				return
			}
		}
	}
	const images = 100
	for i := range images {
		s.lying.on(fmt.Sprintf("drip-%d/manifests/sha256-%s.sig", i, image.Hex()), drip)
	}
	repository := s.honest.host() + "/app"
	content := payload(repository)
	s.honest.signed("app", content, s.layer(t, content, true))

	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	first := make(chan verifier.Verdict, 1)
	go func() { defer close(done); first <- s.decide(t, s.lying.host()+"/drip-0") }()
	<-dripping
	for i := 1; i < images; i++ {
		// The plugin waits for its budget at most; the agent goes on.
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		_, err := s.client.Fetch(ctx, nodestate.FetchRequest{Repository: fmt.Sprintf("%s/drip-%d", s.lying.host(), i), Digests: []verifier.Digest{image}})
		cancel()
		if err == nil {
			t.Fatal("a fetch from the slow registry ended")
		}
	}
	<-dripping
	if v := s.decide(t, repository); v.Outcome != verifier.Allowed {
		t.Errorf("an image of another registry: %v %s: %s", v.Outcome, v.Reason, v.Detail)
	}
	select {
	case <-done:
		t.Error("the first of the slow registry was told before one of the other: this shows nothing")
	default:
	}
	runtime.GC()
	runtime.ReadMemStats(&during)
	if held := int64(during.HeapAlloc) - int64(before.HeapAlloc); held > 16<<20 {
		t.Errorf("%d bytes are held", held)
	}
	if most := s.lying.mostOpen.Load(); most < 4 || most > 8 {
		t.Errorf("%d requests at once", most)
	}
	select {
	case v := <-first:
		if v.Outcome != verifier.CouldNotTell || v.Reason != verifier.SourceFailed {
			t.Errorf("%v %s: %s", v.Outcome, v.Reason, v.Detail)
		}
	case <-time.After(2 * time.Minute):
		t.Error("it hangs")
	}
}
