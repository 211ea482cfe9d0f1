package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Environment variables by which the three lives of one program know each other.
const (
	stageVariable = "KRITIS_CLUSTER_STAGE"
	runVariable   = "KRITIS_CLUSTER_RUN"
)

const (
	stageReaper = "reaper" // PID 1 of the new namespaces
	stageInside = "inside" // the program proper
	// stageMachine is a process beside the program proper, see [Machine].
	stageMachine = "machine"
)

// Isolate must be the first thing that TestMain or main does. It runs the program again, as it was called, in PID,
// mount and network namespaces of its own, waits for it and exits with its exit code; in that second run it returns at
// once. In there, loopback is up and the only network, and /run is empty. Everything that still runs or is mounted when
// the program ends, however it ends, goes with it.
//
// needs names what takes a network or a while and must be there beforehand: tools (see [Tool]; "containerd-2.4" always
// is) and packages of this module that [Build] will be asked for, as "./cmd/kritis". It needs root, and says so.
func Isolate(needs ...string) {
	switch os.Getenv(stageVariable) {
	case stageInside:
	case stageReaper:
		os.Exit(report(reap()))
	case stageMachine:
		os.Exit(report(holdMachine()))
	default:
		os.Exit(report(isolate(append([]string{defaultTool, registrydPackage}, needs...))))
	}
}

// Isolated says whether this is the second run that [Isolate] speaks of: whether mounts and links are the program's own.
func Isolated() bool {
	return os.Getenv(stageVariable) == stageInside && os.Getenv(runVariable) != ""
}

// report prints an error where the program has no logger yet, and returns the exit code.
func report(code int, err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/cluster:", err)
		return 1
	}
	return code
}

// isolate is the life outside: prepares, starts the second life, waits for it, cleans up what namespaces do not end.
func isolate(needs []string) (int, error) {
	if os.Geteuid() != 0 {
		return 0, errors.New("namespaces and containers need root: run this as root, or leave the package out")
	}
	ctx := context.Background()
	for _, need := range needs {
		prepare := Tool
		if strings.HasPrefix(need, "./") {
			prepare = Build
		}
		if _, err := prepare(ctx, need); err != nil {
			return 0, err
		}
	}
	program, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("finding the own program: %w", err)
	}
	run, err := newRun(ctx)
	if err != nil {
		return 0, err
	}
	code, err := runIsolated(program, run)
	return code, errors.Join(err, run.remove(ctx))
}

func runIsolated(program string, run *run) (int, error) {
	// The death signal is tied to the thread that starts the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command(program)
	cmd.Args = os.Args
	cmd.Env = append(os.Environ(), stageVariable+"="+stageReaper, runVariable+"="+run.name)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
	}
	// Caught before the start: a signal in between would end this process before the child knows about its death.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwardedSignals...)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("starting in new namespaces: %w", err)
	}
	ended := make(chan struct{})
	forwarded := make(chan struct{})
	go func() {
		defer close(forwarded)
		forward(signals, ended, cmd.Process)
	}()
	err := cmd.Wait()
	close(ended)
	<-forwarded
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exitCode(exit.Sys().(syscall.WaitStatus)), nil
	}
	if err != nil {
		return 0, fmt.Errorf("waiting for the isolated program: %w", err)
	}
	return 0, nil
}

// reap is the life as PID 1: makes the namespaces usable, starts the program proper as its child and collects the exit
// status of every orphan. It is a process of its own because the program waits for its own children, and a general
// wait there would take their statuses away. When it ends, the kernel ends all that is left.
func reap() (int, error) {
	if err := furnish(); err != nil {
		return 0, err
	}
	program, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("finding the own program: %w", err)
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwardedSignals...)
	if err := os.Setenv(stageVariable, stageInside); err != nil {
		return 0, err
	}
	child, err := os.StartProcess(program, os.Args, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return 0, fmt.Errorf("starting the isolated program: %w", err)
	}
	go forward(signals, nil, child) // ends with this process
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err != nil && !errors.Is(err, syscall.EINTR):
			return 0, fmt.Errorf("waiting for the isolated program: %w", err)
		case err == nil && pid == child.Pid:
			return exitCode(status), nil
		}
	}
}

// furnish gives the new namespaces what a program expects: own mounts, /proc of the own processes, a /run without the
// host's sockets (short paths, and gone with the namespace), loopback.
func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	if err := unix.Mount("run", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mounting /run: %w", err)
	}
	return loopbackUp()
}

func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a socket to configure loopback: %w", err)
	}
	defer unix.Close(socket)
	loopback, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	loopback.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, loopback); err != nil {
		return fmt.Errorf("bringing loopback up: %w", err)
	}
	return nil
}

// exitCode turns a wait status into an exit code as shells do.
func exitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
