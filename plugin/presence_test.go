package plugin

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Nothing is stopped while the runtime is away or has just come, and a stop does not outlast the connection: registering while the
// runtime stops a container freezes the node.
func TestMayStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := newPlugin(t, nil)
		p.cfg.Recheck.StopGrace = time.Minute
		try := func() (context.Context, error) {
			ctx, done, err := p.mayStop(t.Context())
			if err == nil {
				t.Cleanup(done)
			}
			return ctx, err
		}
		if _, err := try(); err == nil {
			t.Error("stopped before the first registration")
		}
		p.registered()
		if len(p.recheck.wake) != 1 {
			t.Error("a registration is no reason to look at what runs")
		}
		if _, err := try(); err == nil {
			t.Error("stopped right after a registration")
		}
		time.Sleep(stopCalm)
		ctx, err := try()
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(p.cfg.Recheck.StopGrace + stopMargin/2)
		if ctx.Err() != nil {
			t.Error("a stop has no time for its grace period")
		}
		p.disconnected(errors.New("lost"))
		synctest.Wait()
		if ctx.Err() == nil {
			t.Error("a stop outlasts the connection")
		}
		if _, err := try(); err == nil {
			t.Error("stopped without a connection")
		}
		p.registered()
		time.Sleep(stopCalm)
		if ctx, err = try(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(p.cfg.Recheck.StopGrace + stopMargin + time.Second)
		if ctx.Err() == nil {
			t.Error("a stop has no end")
		}
		p.disconnected(errors.New("lost"))
	})
}
