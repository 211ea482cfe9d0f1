package webhook

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
)

// An answer comes within the deadline, or most of what the API server waits, whatever a source does.
func TestDeadline(t *testing.T) {
	for query, limit := range map[string]time.Duration{"": 300 * time.Millisecond, "?timeout=30s": 300 * time.Millisecond, "?timeout=100ms": 75 * time.Millisecond, "?timeout=-1s": 300 * time.Millisecond, "?timeout=x": 300 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			s := &source{block: make(chan struct{})}
			defer close(s.block)
			c := usual(t)
			c.Sources, c.Deadline = []attestations.Source{s}, 300*time.Millisecond
			w := made(t, c)
			req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, PodsPath+query, bytes.NewReader(golden(t, "pod-create", "IMAGE", signedImage)))
			req.Header.Set("Content-Type", "application/json")
			rw := httptest.NewRecorder()
			began := time.Now()
			w.ServeHTTP(rw, req)
			if took := time.Since(began); took < limit*8/10 || took > limit {
				t.Errorf("%q: took %s", query, took)
			}
			if !strings.Contains(rw.Body.String(), "could not be verified") || !strings.Contains(rw.Body.String(), "there was no answer in time; it is still being asked for") {
				t.Errorf("%q: %s", query, rw.Body)
			}
		})
	}
}

// What is read at once is bounded: in number, and in bytes. Who sends slowly takes little.
func TestLoadIsBounded(t *testing.T) {
	c := usual(t)
	c.Deadline = 200 * time.Millisecond
	w := made(t, c)
	for range maxReviews {
		w.slots <- struct{}{}
	}
	if rw := ask(t, w, golden(t, "pod-create", "IMAGE", signedImage)); rw.Code != 503 || refused(t, rw) != "too many reviews at once: try again" {
		t.Errorf("%d %s", rw.Code, rw.Body)
	}
	<-w.slots
	reviewed(t, w, golden(t, "pod-create", "IMAGE", signedImage))

	w.bodies.taken.Store(maxBodies - firstRead)
	small := podOf(signedImage)
	reviewed(t, w, small)
	if rw := ask(t, w, append(small, bytes.Repeat([]byte(" "), firstRead)...)); rw.Code != 503 || refused(t, rw) != "too many large reviews at once: try again" {
		t.Errorf("%d %s", rw.Code, rw.Body)
	}
	if left := w.bodies.taken.Load(); left != maxBodies-firstRead {
		t.Errorf("%d bytes are not given back", left-maxBodies+firstRead)
	}
	w.bodies.taken.Store(0)

	pr, pw := io.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, PodsPath, pr)
		req.Header.Set("Content-Type", "application/json")
		w.ServeHTTP(httptest.NewRecorder(), req)
	})
	eventually(t, "the slow one has not begun", func() bool { return w.bodies.taken.Load() > 0 })
	if taken := w.bodies.taken.Load(); taken != firstRead {
		t.Errorf("a body that does not arrive takes %d", taken)
	}
	pw.CloseWithError(io.ErrUnexpectedEOF)
	wg.Wait()
	if taken := w.bodies.taken.Load(); taken != 0 {
		t.Errorf("%d bytes are not given back", taken)
	}
}

// The listener holds no more connections than it may, and takes the next when one ends.
func TestConnectionsAreBounded(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitListener(inner, 2)
	accepted := make(chan net.Conn, 4)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	})
	for range 3 {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first := <-accepted
	<-accepted
	select {
	case <-accepted:
		t.Error("three at once")
	case <-time.After(100 * time.Millisecond):
	}
	first.Close()
	first.Close() // twice gives back once
	<-accepted
	c, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	select {
	case <-accepted:
		t.Error("one more than was given back")
	case <-time.After(100 * time.Millisecond):
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

// All that is wrong with a configuration is told at once, in one line.
func TestConfiguration(t *testing.T) {
	_, err := New(Config{DrainDelay: -1, ExemptNamespaces: []string{"kube-*"}, Platforms: []string{"windows/amd64"}})
	want := "configuring the webhook: there is no source of policies: name a folder of policies; " +
		"there is no source of attestations, so nothing would be attested: allow registries, or name a folder of attestations; " +
		"there is no logger: give one; there is no recorder of events: give one; --deadline is 0s, must be between 100ms and 29s: the API server waits for 30s at most; " +
		"--drain-delay is -1ns, must be between 0s and 5m; --exempt-namespace is kube-*, must be the name of a namespace; " +
		"--platform is windows/amd64, must be linux/ARCHITECTURE or linux/ARCHITECTURE/VARIANT"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	for name, change := range map[string]func(*Config){
		"sources":     func(c *Config) { c.Sources = make([]attestations.Source, maxSources+1) },
		"certificate": func(c *Config) { c.CertFile = c.KeyFile },
		"address":     func(c *Config) { c.Listen = "300.0.0.1:1" },
		"status":      func(c *Config) { c.StatusListen = "300.0.0.1:1" },
		"deadline":    func(c *Config) { c.Deadline = maxDeadline + 1 },
		"drain":       func(c *Config) { c.DrainDelay = maxDrain + 1 },
		"template":    func(c *Config) { c.Templates = []Template{{}} },
	} {
		c := usual(t)
		change(&c)
		if _, err := New(c); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
