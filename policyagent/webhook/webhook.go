package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
)

const (
	// DefaultDeadline is how long a review may take. The API server is told to wait for 10 s.
	DefaultDeadline = 5 * time.Second
	// DefaultDrainDelay is how long the webhook answers after it was told to end: until no API server asks it any more.
	DefaultDrainDelay = 5 * time.Second

	minDeadline = 100 * time.Millisecond
	maxDeadline = 29 * time.Second
	maxDrain    = 5 * time.Minute
	maxSources  = 16
)

// Config is what a webhook needs. CertFile, KeyFile, Rules, Sources, Recorder and Logger are required.
type Config struct {
	// Listen is the address for reviews, over HTTPS; StatusListen that for /metrics, /healthz and /readyz.
	Listen, StatusListen string
	CertFile, KeyFile    string
	Rules                RuleSource
	Sources              []attestations.Source
	// Resolver tells what tags mean, and what is under an index. Nil: nobody does.
	Resolver Resolver
	Recorder Recorder
	Logger   *slog.Logger
	// Deadline is how long a review may take, DrainDelay how long reviews are answered after the end was asked for.
	Deadline, DrainDelay time.Duration
	// ExemptNamespaces are not judged here. Nodes judge them all the same.
	ExemptNamespaces []string
	// Templates are of further kinds with pod templates.
	Templates []Template
	// Platforms are those of the cluster's nodes, "linux/amd64" say. None: any.
	Platforms []string
}

// Webhook holds its ports. It answers from Run on.
type Webhook struct {
	config   Config
	log      *slog.Logger
	kinds    kinds
	judge    judge
	evidence *evidence
	metrics  *metrics
	events   *events
	bodies   bodies
	slots    chan struct{}
	cert     *certificate
	draining atomic.Bool

	reviews, status net.Listener
}

// New returns a webhook that listens, or everything that is wrong with its configuration. Run or Close gives the ports back.
func New(c Config) (*Webhook, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf(textConfiguring, err)
	}
	w := &Webhook{config: c, log: c.Logger, slots: make(chan struct{}, maxReviews)}
	var err error
	if w.kinds, err = newKinds(c.Templates); err != nil {
		return nil, fmt.Errorf(textConfiguring, err)
	}
	if w.cert, err = loadCertificate(c.CertFile, c.KeyFile); err != nil {
		return nil, fmt.Errorf(textConfiguring, err)
	}
	w.metrics = newMetrics(w.kinds, func() time.Time { return w.cert.leaf().NotAfter })
	w.events = newEvents(c.Recorder, c.Logger, func(why string) { w.metrics.dropped.WithLabelValues(why).Inc() })
	if m, ok := c.Recorder.(interface{ Metrics() prometheus.Collector }); ok {
		w.metrics.registry.MustRegister(m.Metrics())
	}
	if w.reviews, err = listen(c.Listen, maxConnections); err != nil {
		return nil, err
	}
	if w.status, err = listen(c.StatusListen, maxStatusConnections); err != nil {
		return nil, errors.Join(err, w.reviews.Close())
	}
	w.evidence = newEvidence(c.Sources, c.Resolver, c.Platforms, w.metrics.cache)
	w.judge = judge{rules: c.Rules, evidence: w.evidence}
	return w, nil
}

func listen(address string, connections int) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf(textListen, address, err)
	}
	return limitListener(l, connections), nil
}

var (
	namespaceForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	platformForm  = regexp.MustCompile(`^linux/[a-z0-9]+(/[a-z0-9.]+)?$`)
)

func (c *Config) check() error {
	var errs []error
	if c.Rules == nil {
		errs = append(errs, errors.New(textNoRules))
	}
	if len(c.Sources) == 0 {
		errs = append(errs, errors.New(textNoSources))
	}
	if len(c.Sources) > maxSources {
		errs = append(errs, fmt.Errorf(textSourcesMany, maxSources))
	}
	if c.Logger == nil {
		errs = append(errs, errors.New(textNoLogger))
	}
	if c.Recorder == nil {
		errs = append(errs, errors.New(textNoRecorder))
	}
	if c.Deadline < minDeadline || c.Deadline > maxDeadline {
		errs = append(errs, fmt.Errorf(textDeadline, c.Deadline))
	}
	if c.DrainDelay < 0 || c.DrainDelay > maxDrain {
		errs = append(errs, fmt.Errorf(textDrain, c.DrainDelay))
	}
	for _, n := range c.ExemptNamespaces {
		if !namespaceForm.MatchString(n) {
			errs = append(errs, textError(textExempt, n))
		}
	}
	for _, p := range c.Platforms {
		if !platformForm.MatchString(p) {
			errs = append(errs, textError(textPlatform, p))
		}
	}
	return oneLine(errs)
}

// Addresses are those that the webhook listens on, for reviews and for its status.
func (w *Webhook) Addresses() (reviews, status net.Addr) { return w.reviews.Addr(), w.status.Addr() }

// Close gives back what New took, for webhooks that are not run.
func (w *Webhook) Close() error {
	w.evidence.close()
	return errors.Join(w.reviews.Close(), w.status.Close())
}

// Run answers until the context ends, then drains, and returns nil. It leaves no goroutine behind.
func (w *Webhook) Run(ctx context.Context) error {
	w.announce(ctx)
	// What serves lives longer than ctx: until it is drained.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer w.evidence.close()
	reviews, status := w.server(), w.statusServer()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return served(reviews.ServeTLS(w.reviews, "", "")) })
	g.Go(func() error { return served(status.Serve(w.status)) })
	g.Go(func() error { return w.cert.watch(serving, w.log) })
	g.Go(func() error { return w.events.run(serving) })
	g.Go(func() error {
		defer stop()
		<-gctx.Done()
		if ctx.Err() != nil {
			w.drain(ctx)
		}
		return shutDown(ctx, w.config.Deadline, reviews, status)
	})
	if err := g.Wait(); err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	w.log.InfoContext(ctx, "webhook stopped")
	return nil
}

// drain says that it is not ready, and goes on answering until that is known everywhere.
func (w *Webhook) drain(ctx context.Context) {
	w.log.InfoContext(ctx, "webhook drains", "for", w.config.DrainDelay)
	w.draining.Store(true)
	time.Sleep(w.config.DrainDelay)
}

// shutDown waits for reviews under way. None takes much longer than the deadline.
func shutDown(ctx context.Context, deadline time.Duration, servers ...*http.Server) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deadline+2*time.Second)
	defer cancel()
	var errs []error
	for _, s := range servers {
		if err := s.Shutdown(ctx); err != nil {
			errs = append(errs, fmt.Errorf("waiting for requests: %w", errors.Join(err, s.Close())))
		}
	}
	return oneLine(errs)
}

func served(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// announce logs what the webhook does, and what loosens security.
func (w *Webhook) announce(ctx context.Context) {
	w.log.InfoContext(ctx, "webhook starts", "reviews", w.reviews.Addr().String(), "status", w.status.Addr().String(),
		"exempt", w.config.ExemptNamespaces, "deadline", w.config.Deadline, "certificateExpires", w.cert.leaf().NotAfter)
	for _, s := range w.config.Sources {
		w.log.InfoContext(ctx, "source of attestations", "source", s.Name())
		w.announceUnsafe(ctx, s)
	}
	w.announceUnsafe(ctx, w.config.Rules)
}

// unsafe is what has settings that loosen security.
type unsafe interface{ Unsafe() []string }

func (w *Webhook) announceUnsafe(ctx context.Context, what any) {
	u, ok := what.(unsafe)
	if !ok {
		return
	}
	for _, setting := range u.Unsafe() {
		w.metrics.unsafe.Inc()
		w.log.WarnContext(ctx, "unsafe setting", "setting", setting)
	}
}

// ready says whether reviews should be sent here, and why not.
func (w *Webhook) ready() error {
	if w.draining.Load() {
		return errors.New(textDraining)
	}
	_, err := w.config.Rules.Rules()
	return err
}

// server is that for reviews.
func (w *Webhook) server() *http.Server {
	mux := http.NewServeMux()
	mux.Handle(PodsPath, w)
	mux.Handle(WorkloadsPath, w)
	return &http.Server{
		Handler:           mux,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: w.cert.get},
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      w.config.Deadline + 10*time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(w.log.Handler(), slog.LevelDebug), // whoever scans ports would fill it
	}
}

// maxStatusConnections bounds the other port: a scraper and a kubelet.
const maxStatusConnections = 50

func (w *Webhook) statusServer() *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(w.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprintln(rw, "ok") })
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, _ *http.Request) {
		if err := w.ready(); err != nil {
			http.Error(rw, strings.ReplaceAll(err.Error(), "\n", "; "), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(rw, "ok")
	})
	return &http.Server{Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(w.log.Handler(), slog.LevelDebug)}
}
