package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
)

const (
	// Name is what the runtime's required_plugins has to list.
	Name = "kritis"
	// index is the last: the shorter the time between being counted as consulted and being asked, the smaller the
	// window in which the runtime misses our death.
	index = "99"

	reconnectFirst = 50 * time.Millisecond
	reconnectMax   = time.Second
	// reconnectCalm is how long a connection has to last before the next loss is answered at once again.
	reconnectCalm   = 10 * time.Second
	registerTimeout = 15 * time.Second
)

// errStuck says that the runtime took our registration and never configured us. The NRI stub cannot be called off
// in that state: only a new process helps, and its supervisor starts one.
var errStuck = fmt.Errorf("the runtime accepted the registration but did not configure the plugin within %s; exiting to be started again", registerTimeout)

// serve registers with the runtime, again after every loss, until ctx ends.
func (p *Plugin) serve(ctx context.Context) error {
	wait := reconnectFirst
	for {
		connected := time.Now()
		err := p.serveOnce(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errStuck) {
			return err
		}
		if time.Since(connected) > reconnectCalm {
			wait = reconnectFirst
		}
		p.disconnected(err)
		// Not in a tight loop: registering while the runtime stops a container freezes the node's lifecycle calls.
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, reconnectMax)
	}
}

// serveOnce serves one connection until it is lost.
func (p *Plugin) serveOnce(ctx context.Context) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", p.cfg.NRISocket)
	if err != nil {
		return fmt.Errorf("connect to the runtime's NRI socket: %w", err)
	}
	lost := make(chan struct{}, 1)
	h := &handlers{plugin: p}
	// Both fields need NRI 0.12.4 in the runtime; older ones ignore them.
	policy := &api.FailurePolicy{FailRequest: true, KeepConnected: true}
	h.stub, err = stub.New(h, stub.WithPluginName(Name), stub.WithPluginIdx(index), stub.WithConnection(conn),
		stub.WithFailurePolicy(policy), stub.WithLogger(nriLogger{p.log}),
		stub.WithOnClose(func() {
			select {
			case lost <- struct{}{}:
			default:
			}
		}))
	if err != nil {
		conn.Close()
		return fmt.Errorf("set up the NRI connection: %w", err)
	}
	started := make(chan error, 1)
	go func() { started <- h.stub.Start(ctx) }()
	timer := time.NewTimer(registerTimeout)
	defer timer.Stop()
	select {
	case err := <-started:
		if err != nil {
			conn.Close()
			return fmt.Errorf("register with the runtime: %w", err)
		}
	case <-timer.C:
		conn.Close()
		return errStuck
	}
	defer h.stub.Stop()
	// The runtime may have been restarted with another configuration.
	p.assess(p.cfg.required(ctx))
	p.registered()
	select {
	case <-ctx.Done():
		return nil
	case <-lost:
		return errors.New("the runtime closed the connection")
	}
}

// nriLogger hands the NRI library's log lines to ours. Its chatter is for debugging only.
type nriLogger struct{ log *slog.Logger }

func (l nriLogger) Debugf(_ context.Context, format string, args ...any) {
	l.log.Debug(fmt.Sprintf(format, args...))
}
func (l nriLogger) Infof(_ context.Context, format string, args ...any) {
	l.log.Debug(fmt.Sprintf(format, args...))
}
func (l nriLogger) Warnf(_ context.Context, format string, args ...any) {
	l.log.Warn(fmt.Sprintf(format, args...))
}
func (l nriLogger) Errorf(_ context.Context, format string, args ...any) {
	l.log.Error(fmt.Sprintf(format, args...))
}
