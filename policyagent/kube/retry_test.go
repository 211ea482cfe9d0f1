package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

// outages is an API server that is away from time to time. It notes when each kind was listed first after it came back.
type outages struct {
	mu   sync.Mutex
	away chan struct{} // closed while it is away
	back map[string]time.Time
}

func (o *outages) leave() {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.away)
	o.back = nil
}

func (o *outages) comeBack() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.away, o.back = make(chan struct{}), map[string]time.Time{}
}

func (o *outages) RoundTrip(r *http.Request) (*http.Response, error) {
	o.mu.Lock()
	away, kind := o.away, filepath.Base(r.URL.Path)
	select {
	case <-away:
		o.mu.Unlock()
		return nil, errors.New("connection refused")
	default:
	}
	if _, known := o.back[kind]; !known {
		o.back[kind] = time.Now()
	}
	o.mu.Unlock()
	body := io.NopCloser(bytes.NewBufferString(fmt.Sprintf(`{"kind":"%sList","apiVersion":"kritis.grafeas.io/v1beta1","metadata":{"resourceVersion":"1"},"items":[]}`, kind)))
	if r.URL.Query().Get("watch") != "" {
		reader, writer := io.Pipe()
		body = reader
		go func() {
			select {
			case <-away:
			case <-r.Context().Done():
			}
			writer.CloseWithError(io.ErrUnexpectedEOF)
		}()
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: body, Request: r}, nil
}

// However long the API server was away, all kinds are followed again soon, and together.
func TestKindsComeBackTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Kubernetes' libraries leave some time between two errors, by a clock that began before the test's: spend it now.
		utilruntime.HandleErrorWithContext(klog.NewContext(t.Context(), logr.Discard()), nil, "first")
		o := &outages{}
		o.comeBack()
		server, err := NewServer(&rest.Config{Host: "http://api.example", Transport: o}, "test")
		if err != nil {
			t.Fatal(err)
		}
		p := NewPolicies(server)
		for _, r := range p.watcher.resources {
			r.kind = r.name // what the server calls them
		}
		ctx, cancel := context.WithCancel(t.Context())
		var watching sync.WaitGroup
		watching.Go(func() { p.watcher.run(ctx, func() {}, func(error) {}) })
		defer watching.Wait()
		defer cancel()
		time.Sleep(time.Minute)
		for i := range 10 {
			o.leave()
			time.Sleep(time.Duration(i) * 20 * time.Second)
			o.comeBack()
			returned := time.Now()
			time.Sleep(2*retryCap + lookEvery)
			synctest.Wait()
			if len(o.back) != 3 {
				t.Fatalf("outage %d: %s after it only %v are followed again", i, time.Since(returned), o.back)
			}
			var first, last time.Time
			for _, at := range o.back {
				if first.IsZero() || at.Before(first) {
					first = at
				}
				if at.After(last) {
					last = at
				}
			}
			if apart := last.Sub(first); apart > 2*lookEvery {
				t.Errorf("outage %d: the last kind is followed %s after the first", i, apart)
			}
		}
	})
}
