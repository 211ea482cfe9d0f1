package systemd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// States of a unit, as ActiveState.
const (
	inactive   = "inactive"
	activating = "activating"
	active     = "active"
	failed     = "failed"
)

// service is one unit that was started at least once. One job runs at a time.
type service struct {
	name    string
	options *Options

	job sync.Mutex // held by whoever starts or stops

	mu      sync.Mutex
	state   string
	process *cluster.Process
	starts  int
	// supervised ends the supervision of the process that runs, and waits for it.
	supervised func()
}

func (s *service) set(state string, p *cluster.Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.process = state, p
}

func (s *service) look() (state string, pid, starts int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil && s.process.Running() {
		pid = s.process.PID()
	}
	return s.state, pid, s.starts
}

// start begins the service as the unit says, and returns when it is started or has failed. In the latter case it is
// tried again, if the unit says so.
func (s *service) start(u *unit) error {
	if state, _, _ := s.look(); state == active {
		return nil
	}
	s.endSupervision()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	first := make(chan error, 1)
	s.mu.Lock()
	s.supervised = func() { cancel(); <-done }
	s.mu.Unlock()
	go func() {
		defer close(done)
		s.supervise(ctx, u, first)
	}()
	return <-first
}

// supervise runs the service again and again until ctx ends. The outcome of the first start goes to first.
func (s *service) supervise(ctx context.Context, u *unit, first chan<- error) {
	for {
		p, err := s.launch(ctx, u)
		if first != nil {
			first <- err
			first = nil
		}
		if err == nil {
			select {
			case <-p.Ended():
			case <-ctx.Done():
				s.end(u, p)
				return
			}
			err = p.Err()
		}
		switch {
		case ctx.Err() != nil:
			s.set(inactive, nil)
			return
		case !u.always && err == nil:
			s.set(inactive, nil)
			return
		case !u.always:
			s.set(failed, nil)
			return
		}
		s.set(activating, nil) // auto-restart
		select {
		case <-ctx.Done():
			s.set(inactive, nil)
			return
		case <-time.After(u.restartAfter):
		}
	}
}

// end stops the process that runs, as StopUnit does.
func (s *service) end(u *unit, p *cluster.Process) {
	ctx, cancel := context.WithTimeout(context.Background(), u.stopLimit)
	defer cancel()
	_ = p.Stop(ctx) // one that had to be killed is ended too
	if !u.runtimeKept && u.runtimeDirectory != "" {
		_ = os.RemoveAll(s.options.Path(filepath.Join("/run", u.runtimeDirectory)))
	}
	s.set(inactive, nil)
}

// launch starts the program once, and waits until it is ready.
func (s *service) launch(ctx context.Context, u *unit) (*cluster.Process, error) {
	args, environment, err := u.expand(s.options.Path)
	if err != nil {
		return nil, err
	}
	if u.runtimeDirectory != "" {
		if err := os.MkdirAll(s.options.Path(filepath.Join("/run", u.runtimeDirectory)), 0o755); err != nil {
			return nil, err
		}
	}
	command := cluster.Command{Path: args[0], Args: args[1:], Env: environment, Log: filepath.Join(s.options.Logs, s.name+".log")}
	var notify *net.UnixConn
	if u.kind == "notify" {
		socket := filepath.Join(filepath.Dir(s.options.Socket), s.name+".notify")
		_ = os.Remove(s.options.Path(socket))
		if notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.options.Path(socket), Net: "unixgram"}); err != nil {
			return nil, err
		}
		defer notify.Close()
		if err := passCredentials(notify); err != nil {
			return nil, err
		}
		command.Env = append(command.Env, "NOTIFY_SOCKET="+socket)
	}
	p, err := s.options.Start(ctx, command)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.state, s.process = activating, p
	s.starts++
	s.mu.Unlock()
	if notify != nil {
		if err := awaitReady(ctx, notify, p, u.startLimit); err != nil {
			return nil, errors.Join(err, p.Kill())
		}
	}
	s.set(active, p)
	return p, nil
}

func passCredentials(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) }); err != nil {
		return err
	}
	return failed
}

// awaitReady waits for READY=1 from the main process itself.
func awaitReady(ctx context.Context, c *net.UnixConn, p *cluster.Process, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	stop := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-ctx.Done():
		case <-p.Ended():
		case <-stop:
		}
		_ = c.SetReadDeadline(time.Unix(1, 0))
	}()
	defer func() { close(stop); <-watched }()
	buffer, oob := make([]byte, 4096), make([]byte, 256)
	for {
		n, oobn, _, _, err := c.ReadMsgUnix(buffer, oob)
		switch {
		case err != nil && !p.Running():
			return fmt.Errorf("the process ended before it was ready: %w", errors.Join(p.Err(), syscall.ECHILD))
		case err != nil && ctx.Err() != nil:
			return fmt.Errorf("not ready: %w", ctx.Err())
		case err != nil:
			return err
		}
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil || len(messages) != 1 {
			continue
		}
		sender, err := unix.ParseUnixCredentials(&messages[0])
		if err != nil || int(sender.Pid) != p.PID() {
			continue
		}
		for line := range strings.Lines(string(buffer[:n])) {
			if strings.TrimSpace(line) == "READY=1" {
				return nil
			}
		}
	}
}

// endSupervision stops the service and whatever would start it again.
func (s *service) endSupervision() {
	s.mu.Lock()
	end := s.supervised
	s.supervised = nil
	s.mu.Unlock()
	if end != nil {
		end()
	}
}

// lose kills the process as a power cut does, and forgets the service.
func (s *service) lose() error {
	s.mu.Lock()
	p := s.process
	s.mu.Unlock()
	var err error
	if p != nil {
		err = p.Kill()
	}
	s.endSupervision()
	return err
}
