package nodestate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// maxRequests is how many requests are served at once. A node creates a few containers at a time.
	maxRequests = 64
	// maxConns leaves room for connections that wait for a request.
	maxConns = 2 * maxRequests

	// maxWait bounds one request. The agent's own deadline for a fetch is much shorter.
	maxWait      = time.Minute
	readTimeout  = 5 * time.Second
	idleTimeout  = time.Minute
	stopDuration = 2 * time.Second
)

// Fetcher does what a FetchRequest asks. It returns when the records are written or the context ends.
type Fetcher interface {
	Fetch(context.Context, FetchRequest) (FetchResponse, error)
}

// Reporter takes what the plugin tells. It returns soon: whatever is done about it is done later.
type Reporter interface {
	Report(Report)
	// Unreadable is called with why a report could not be read.
	Unreadable(error)
}

// maxReports is how many reports are taken at once. One plugin sends one at a time.
const maxReports = 4

// Serve answers requests until the context ends, and returns nil then. It closes the listener and leaves no
// goroutine behind.
func Serve(ctx context.Context, l net.Listener, f Fetcher, r Reporter) error {
	h := &handler{fetcher: f, slots: make(chan struct{}, maxRequests)}
	reports := &reportHandler{reporter: r, slots: make(chan struct{}, maxReports)}
	mux := http.NewServeMux()
	mux.Handle("POST "+fetchPath, h)
	mux.Handle("POST "+reportPath, reports)
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      maxWait + readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    8 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(newLimitedListener(l, maxConns)) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving the socket: %w; restart the policy agent", errors.Join(err, server.Close()))
	case <-ctx.Done():
	}
	// The requests' contexts have ended too, so they are about to be answered.
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopDuration)
	defer cancel()
	err := server.Shutdown(stop)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	if end := <-served; err == nil && !errors.Is(end, http.ErrServerClosed) {
		err = end
	}
	if err != nil {
		return fmt.Errorf("closing the socket: %w", err)
	}
	return nil
}

type handler struct {
	fetcher Fetcher
	slots   chan struct{}
}

func (h *handler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	data, release, ok := receive(w, req, h.slots, MaxMessage)
	if !ok {
		return
	}
	defer release()
	r, err := parseFetchRequest(data)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	ctx, cancel := context.WithTimeout(req.Context(), maxWait)
	defer cancel()
	answer, err := h.fetcher.Fetch(ctx, r)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err)
		return
	}
	answer.Failures = boundFailures(answer.Failures)
	reply(w, http.StatusOK, answer)
}

// reportHandler has places of its own, so that fetches that wait for a registry are not in the way of reports.
type reportHandler struct {
	reporter Reporter
	slots    chan struct{}
}

func (h *reportHandler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	data, release, ok := receive(w, req, h.slots, MaxReport)
	if !ok {
		return
	}
	defer release()
	r, err := parseReport(data)
	if err != nil {
		h.reporter.Unreadable(err)
		refuse(w, http.StatusBadRequest, err)
		return
	}
	h.reporter.Report(r)
	reply(w, http.StatusOK, reportResponse{})
}

// receive takes a place and reads a message of at most limit bytes, and one more that tells that it is longer. If it
// could not, it has answered.
func receive(w http.ResponseWriter, req *http.Request, slots chan struct{}, limit int64) (_ []byte, release func(), ok bool) {
	select {
	case slots <- struct{}{}:
	default:
		refuse(w, http.StatusServiceUnavailable, fmt.Errorf("%d requests are being served already: ask again later", cap(slots)))
		return nil, nil, false
	}
	data, err := io.ReadAll(io.LimitReader(req.Body, limit+1))
	if err != nil {
		<-slots
		refuse(w, http.StatusBadRequest, errors.New("the request could not be read to its end: send it again"))
		return nil, nil, false
	}
	return data, func() { <-slots }, true
}

func refuse(w http.ResponseWriter, status int, err error) {
	reply(w, status, errorResponse{Error: clip(err.Error(), MaxFailure)})
}

func reply(w http.ResponseWriter, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		status, data = http.StatusInternalServerError, []byte(`{"error":"the answer could not be encoded"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(data) // whoever asked may have left
}

// limitedListener holds back connections beyond a number. They wait in the kernel's queue, which is bounded too.
type limitedListener struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func newLimitedListener(l net.Listener, n int) *limitedListener {
	return &limitedListener{Listener: l, slots: make(chan struct{}, n), closed: make(chan struct{})}
}

func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *limitedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	release func()
}

func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
