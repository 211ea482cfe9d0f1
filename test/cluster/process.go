package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// stopLimit is how long a process may take to end after SIGTERM before it is killed. It is generous: an API server on a
// loaded machine takes more than ten seconds.
const stopLimit = 30 * time.Second

// Command says how to start a [Process].
type Command struct {
	Path string
	Args []string
	// Env is added to the environment of the caller.
	Env []string
	// Dir is the working folder; empty: the caller's.
	Dir string
	// Log is the file that output and errors are appended to.
	Log string
	// Machine is where the program runs; nil: where the caller does. Path, Args and Dir are then the machine's, Log is not.
	Machine *Machine

	namespaces uintptr // flags of new ones, see clone(2)
}

// Process is a program that was started and logs to a file. Its methods may be called from any goroutine.
type Process struct {
	name    string
	log     string
	process *os.Process
	ended   chan struct{}
	err     error // how it ended; to be read once ended is closed
}

// StartProcess starts a program and waits until ready returns nil (nil: does not wait). ctx bounds only that wait. A
// program that ends before it is ready is an error that shows the end of its log. It leads a process group of its own,
// and is killed when this process dies.
func StartProcess(ctx context.Context, command Command, ready func(context.Context) error) (*Process, error) {
	p := &Process{name: filepath.Base(command.Path), log: command.Log, ended: make(chan struct{})}
	log, err := os.OpenFile(command.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", p.name, err)
	}
	defer log.Close()
	if command.Machine != nil {
		if command, err = command.Machine.enter(command); err != nil {
			return nil, fmt.Errorf("starting %s: %w", p.name, err)
		}
	}
	cmd := exec.Command(command.Path, command.Args...)
	cmd.Env = append(os.Environ(), command.Env...)
	cmd.Dir = command.Dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Cloneflags: command.namespaces}

	// The kernel sends the death signal when the starting thread ends, not the process: so one thread is kept for as
	// long as the program lives.
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.name, err)
	}
	p.process = cmd.Process
	if ready == nil {
		return p, nil
	}
	if err := p.await(ctx, p.name+" to be ready", ready); err != nil {
		return nil, errors.Join(err, p.Kill())
	}
	return p, nil
}

// await waits for ready, or for the process to end, which is an error.
func (p *Process) await(ctx context.Context, what string, ready func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	defer func() { cancel(nil); <-watched }()
	go func() {
		defer close(watched)
		select {
		case <-p.ended:
			cancel(fmt.Errorf("%s ended: %w", p.name, p.ending()))
		case <-ctx.Done():
		}
	}()
	err := Await(ctx, what, ready)
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, ctx.Err()) {
		err = cause
	}
	return fmt.Errorf("%w; the end of its log:\n%s", err, p.logTail())
}

// ending says how the process ended, also when it ended well.
func (p *Process) ending() error {
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

// Name is the program's name.
func (p *Process) Name() string { return p.name }

// PID returns the process ID, also after the end.
func (p *Process) PID() int { return p.process.Pid }

// LogFile returns the path of the log.
func (p *Process) LogFile() string { return p.log }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Err returns how the process ended: nil while it runs and after exit status 0.
func (p *Process) Err() error {
	select {
	case <-p.ended:
		return p.err
	default:
		return nil
	}
}

// Running says whether the process has not ended; one that is paused runs.
func (p *Process) Running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Signal sends a signal; to a process that has ended it does nothing.
func (p *Process) Signal(signal syscall.Signal) error {
	if err := p.process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %s to %s: %w", signal, p.name, err)
	}
	return nil
}

// Pause stops the process from running, as one that hangs, and returns once the kernel has done so.
func (p *Process) Pause(ctx context.Context) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return p.await(ctx, p.name+" to be paused", func(context.Context) error {
		state, err := processState(p.PID())
		if err == nil && state != 'T' {
			err = fmt.Errorf("process state %c", state)
		}
		return err
	})
}

// Resume lets a paused process go on.
func (p *Process) Resume() error { return p.Signal(syscall.SIGCONT) }

// Kill ends the process by SIGKILL and returns when it has ended.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.ended
	return nil
}

// Stop asks the process to end (SIGTERM), also a paused one, and returns when it has. One that takes longer than 30
// seconds, or than ctx, is killed, and that is an error. How the process ended is not: see [Process.Err].
func (p *Process) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	if err := errors.Join(p.Signal(syscall.SIGTERM), p.Resume()); err != nil {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("%s did not end after SIGTERM: killed it: %w", p.name, ctx.Err()), p.Kill())
	}
}

// logTail returns the last lines of the log, for error messages.
func (p *Process) logTail() []byte {
	const most = 2000
	log, err := os.ReadFile(p.log)
	if err != nil {
		return []byte(err.Error())
	}
	if len(log) > most {
		log = log[len(log)-most:]
		log = log[bytes.IndexByte(log, '\n')+1:]
	}
	return bytes.TrimRight(log, "\n")
}

// processState returns the letter for the state of a process, as proc_pid_stat(5) lists them.
func processState(pid int) (byte, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name before the state is in parentheses and may itself hold any character.
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 || end+2 >= len(stat) {
		return 0, fmt.Errorf("unexpected content of /proc/%d/stat", pid)
	}
	return stat[end+2], nil
}
