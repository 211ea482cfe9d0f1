package registry

import (
	"context"
	"net/http"
	"testing"
	"time"
)

// A registry that sends a byte now and then, or nothing at all, is left when the context ends.
func TestSlowRegistries(t *testing.T) {
	for name, path := range map[string]string{"ping": ping, "manifest": sigPath, "referrers": referrersPath, "blob": blobs + digestOf([]byte("payload"))} {
		h := newHostile(t)
		h.classicOn(t, []byte("payload"), "s")
		dripping := make(chan struct{})
		h.on(path, func(w http.ResponseWriter, r *http.Request) {
			if path != ping {
				_, _ = w.Write([]byte("{"))
				_ = http.NewResponseController(w).Flush()
			}
			select {
			case dripping <- struct{}{}:
			case <-r.Context().Done():
			}
			for tick := time.NewTicker(time.Millisecond); ; {
				select {
				case <-tick.C:
					if path == ping {
						continue
					}
					if _, err := w.Write([]byte(" ")); err != nil {
						return
					}
					_ = http.NewResponseController(w).Flush()
				case <-r.Context().Done():
					tick.Stop()
					return
				}
			}
		})
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			<-dripping
			cancel(context.DeadlineExceeded)
		}()
		_, err := newSource(t, Config{}, h.Server).Attestations(ctx, hostOf(h.Server)+"/team/app", imageDigest)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		cancel(nil)
	}
}
