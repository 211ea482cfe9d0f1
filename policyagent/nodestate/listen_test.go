package nodestate

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
)

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "agent.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode %v (%v)", info.Mode(), err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "another policy agent answers") {
		t.Errorf("a second agent: %v", err)
	}
	l.Close()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the socket file is gone after close: %v", err)
	}
	l, err = Listen(path)
	if err != nil {
		t.Fatalf("over a stale socket: %v", err)
	}
	l.Close()

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("over a file: %v", err)
	}
	dir, err := os.MkdirTemp("/tmp", "k")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	limit := maxSocketPath - len(socketSuffix)
	for n, ok := range map[int]bool{limit: true, limit + 1: false} {
		l, err := Listen(filepath.Join(dir, strings.Repeat("x", n-len(dir)-1)))
		if (err == nil) != ok || (err != nil && !strings.Contains(err.Error(), "choose a shorter one")) {
			t.Errorf("a path of %d bytes: %v", n, err)
		}
		if err == nil {
			l.Close()
		}
	}
}

// pipes is a listener whose connections are pipes.
type pipes struct{ conns chan net.Conn }

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p pipes) Close() error   { close(p.conns); return nil }
func (p pipes) Addr() net.Addr { return nil }

func TestConnectionsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := pipes{make(chan net.Conn, 3)}
		for range 3 {
			c, _ := net.Pipe()
			inner.conns <- c
		}
		l := newLimitedListener(inner, 2)
		accepted := make(chan net.Conn, 3)
		ended := make(chan error)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					ended <- err
					return
				}
				accepted <- c
			}
		}()
		synctest.Wait()
		if len(accepted) != 2 {
			t.Fatalf("%d connections were accepted", len(accepted))
		}
		first := <-accepted
		first.Close()
		first.Close() // closing twice frees one place only
		synctest.Wait()
		if len(accepted) != 2 || len(l.slots) != 2 {
			t.Errorf("%d connections, %d places taken", len(accepted), len(l.slots))
		}
		(<-accepted).Close()
		synctest.Wait()
		l.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v", err)
		}
		(<-accepted).Close()
		if len(l.slots) != 0 {
			t.Errorf("%d places are still taken", len(l.slots))
		}
		// One that waits for a place ends with the listener too.
		full := newLimitedListener(pipes{make(chan net.Conn)}, 0)
		full.Close()
		if _, err := full.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v", err)
		}
	})
}
