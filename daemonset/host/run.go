package host

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// slowest bounds the time between passes that fail.
	slowest = time.Minute
	// leaveLimit bounds asking what the end means, and removing.
	leaveLimit = 100 * time.Second
	// headerLimit bounds reading a probe's request.
	headerLimit = 5 * time.Second
)

// Leaving says what the end of this process means.
type Leaving interface {
	// Remove says whether the service has to be removed, and why. An error means that it cannot be told.
	Remove(ctx context.Context) (bool, string, error)
}

// Runner keeps the service installed.
type Runner struct {
	*Installer
	leaving Leaving

	mu   sync.Mutex
	last error // of the latest pass
	done bool  // a pass was made
}

// NewRunner returns a runner. leaving is nil if the end of the process never means that the service is to be removed.
func NewRunner(i *Installer, leaving Leaving) *Runner { return &Runner{Installer: i, leaving: leaving} }

// Run makes passes until ctx ends, and then leaves the service as it is, unless it has to be removed.
func (r *Runner) Run(ctx context.Context) error {
	wait := r.cfg.Every
	for ctx.Err() == nil {
		err := r.Ensure(ctx)
		if ctx.Err() != nil {
			break
		}
		r.note(err)
		if err == nil {
			wait = r.cfg.Every
		} else {
			wait = min(slowest, 2*wait)
			r.log.Error("the plugin is not installed as it should be, trying again", "error", err, "in", wait)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return r.leave(context.WithoutCancel(ctx))
}

func (r *Runner) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last, r.done = err, true
}

// Ready returns nil if the latest pass found or left everything as it should be.
func (r *Runner) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.done {
		return errors.New("the plugin is being installed")
	}
	return r.last
}

// leave finds out what the end means.
func (r *Runner) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaveLimit)
	defer cancel()
	if r.leaving == nil {
		r.log.Info("ending; the plugin's service stays")
		return nil
	}
	remove, why, err := r.leaving.Remove(ctx)
	switch {
	case err != nil:
		r.log.Warn("ending; the plugin's service stays, because it cannot be told whether it is to be removed: kritis install host --remove does it by hand", "error", err)
		return nil
	case !remove:
		r.log.Info("ending; the plugin's service stays", "why", why)
		return nil
	}
	r.log.Info("removing the plugin's service", "why", why)
	return r.Remove(ctx)
}

// ServeProbes answers /healthz and /readyz until ctx ends.
func (r *Runner) ServeProbes(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := r.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: headerLimit, ReadTimeout: headerLimit, WriteTimeout: headerLimit, MaxHeaderBytes: 16 << 10}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
