package policyagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

const (
	// stuckAfter is how long the agent may leave undone what it does every few seconds, before it counts as hung.
	stuckAfter = 2 * time.Minute
	// maxTelemetry is how many connections there may be, maxScrapes how many scrapes at once.
	maxTelemetry = 32
	maxScrapes   = 4
)

// Handler answers /metrics, /healthz (does the agent work?) and /readyz (has it said what policy is?).
func (a *Agent) Handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{a})
	for _, source := range []any{a.config.Policies, a.config.Pods, a.config.Events, a.config.Reports} {
		if m, ok := source.(interface{ Metrics() prometheus.Collector }); ok {
			registry.MustRegister(m.Metrics())
		}
	}
	gatherers := prometheus.Gatherers{registry}
	if a.config.PluginSocket != "" {
		gatherers = append(gatherers, pluginGatherer{a.config.PluginSocket})
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherers, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes}))
	mux.HandleFunc("GET /healthz", probe(a.healthy))
	mux.HandleFunc("GET /readyz", probe(a.ready))
	return mux
}

func probe(check func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if err := check(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n") // the asker is gone; nobody is left to tell
	}
}

// healthy says whether the agent does what it does now and then. Sources that fail are no reason to restart it.
func (a *Agent) healthy() error {
	a.status.mu.Lock()
	defer a.status.mu.Unlock()
	if since := time.Since(a.status.beats); !a.status.beats.IsZero() && since > stuckAfter {
		return fmt.Errorf("the agent has been stuck for %s: restart it, and please report it", since.Round(time.Second))
	}
	return nil
}

// ready says whether this run's source of policies has been heard and what it said is on disk.
func (a *Agent) ready() error {
	a.status.mu.Lock()
	defer a.status.mu.Unlock()
	switch {
	case a.status.loaded:
		return nil
	case a.status.now.PolicyError != "":
		return fmt.Errorf("no policy since the start: %s", oneLine(a.status.now.PolicyError))
	default:
		return errors.New("no policy since the start: the source has not answered yet")
	}
}

// serveTelemetry answers until the context ends.
func (a *Agent) serveTelemetry(ctx context.Context) error {
	server := &http.Server{
		Handler: a.Handler(), ReadTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(netutil.LimitListener(a.telemetry, maxTelemetry)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving metrics and probes: %w", err)
	}
	return nil
}
