package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// maxConnections and maxScrapes bound who asks for metrics and probes.
const (
	maxConnections = 32
	maxScrapes     = 4
)

// server answers /metrics, /healthz and /readyz, in every replica.
type server struct {
	listener net.Listener
	registry Registry
}

func addServer(m manager.Manager, cfg Config) error {
	listener, err := net.Listen("tcp", cfg.Listen) //nolint:noctx // it listens at once or fails
	if err != nil {
		return fmt.Errorf("listening for metrics and probes: %w; name another address with --listen", err)
	}
	return m.Add(&server{listener: listener, registry: cfg.Registry})
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (s *server) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable. The manager calls it when it has begun to work or to wait for leadership, and ends
// the process if either fails: so what answers is well.
func (s *server) Start(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes}))
	for _, path := range []string{"/healthz", "/readyz"} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "ok\n") // the asker is gone; nobody is left to tell
		})
	}
	serving := &http.Server{
		Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { serving.Close() })
	defer stop()
	if err := serving.Serve(netutil.LimitListener(s.listener, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving metrics and probes: %w", err)
	}
	return nil
}
