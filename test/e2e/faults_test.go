package e2e

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/test/cluster"
)

// startFaultyPlugin starts a plugin that registers under the product's name and fails as told. It is killed after the
// test.
func (s *site) startFaultyPlugin(t *testing.T, event, fault string) *cluster.Process {
	t.Helper()
	program, err := cluster.Build(t.Context(), faultyPlugin)
	check(t, err)
	log := filepath.Join(t.TempDir(), "faulty.log")
	process, err := cluster.StartProcess(t.Context(), cluster.Command{
		Path: program, Args: []string{"-socket", s.Node.NRISocket(), "-event", event, "-fault", fault}, Log: log,
	}, nil)
	check(t, err)
	t.Cleanup(func() {
		if err := process.Kill(); err != nil {
			t.Error(err)
		}
	})
	// The library that both sides use tells when it is ready; the runtime's log still has the plugins before it.
	check(t, cluster.Await(t.Context(), "the faulty plugin to be synchronized", func(context.Context) error {
		return containsLine(log, "Started plugin")
	}))
	check(t, s.Node.WaitNRI(t.Context(), plugin.Name))
	return process
}

// expectEnded expects that a process has ended, and waits for it.
func expectEnded(t *testing.T, p *cluster.Process) {
	t.Helper()
	check(t, cluster.Await(t.Context(), "the process to end", func(context.Context) error {
		if p.Running() {
			return os.ErrDeadlineExceeded
		}
		return nil
	}))
	if p.Err() == nil {
		t.Error("it ended well, and should have failed")
	}
}

// relay is a socket that leads to another one, and can be cut.
type relay struct {
	path, target string

	mutex       sync.Mutex
	listener    net.Listener
	connections []net.Conn
	group       sync.WaitGroup
}

func startRelay(t *testing.T, target string) *relay {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "relay-")
	check(t, err)
	r := &relay{path: filepath.Join(dir, "relay.sock"), target: target}
	r.restore(t)
	t.Cleanup(func() {
		r.cut(t)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return r
}

// restore lets new connections through.
func (r *relay) restore(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("unix", r.path)
	check(t, err)
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.listener = listener
	r.group.Go(func() { r.serve(listener) })
}

func (r *relay) serve(listener net.Listener) {
	for {
		here, err := listener.Accept()
		if err != nil {
			return
		}
		there, err := net.Dial("unix", r.target)
		if err != nil {
			here.Close()
			continue
		}
		r.mutex.Lock()
		r.connections = append(r.connections, here, there)
		r.mutex.Unlock()
		r.group.Go(func() { pass(here, there) })
		r.group.Go(func() { pass(there, here) })
	}
}

// pass copies in one direction and closes both ends when one is closed.
func pass(to, from net.Conn) {
	_, _ = io.Copy(to, from) // ends with the connection
	to.Close()
	from.Close()
}

// cut closes all connections and lets no new one through.
func (r *relay) cut(t *testing.T) {
	t.Helper()
	r.mutex.Lock()
	r.listener.Close()
	for _, c := range r.connections {
		c.Close()
	}
	r.mutex.Unlock()
	r.group.Wait()
}
