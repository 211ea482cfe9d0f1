package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kritis-node/kritis-node/test/alicloudtest"
	"github.com/kritis-node/kritis-node/test/cluster"
)

// strike makes a fault happen and returns when it is repaired. An error is one of the soak itself.
func (p *place) strike(ctx context.Context, f Fault) error {
	switch f.Target {
	case Plugin, Agent, Webhook, Controller:
		return p.strikeProduct(ctx, f)
	case Containerd:
		return p.strikeProcess(ctx, f, p.Node().Containerd, p.Node().StartContainerd)
	case Registry:
		return p.strikeProcess(ctx, f, p.Registry.Process, p.Registry.Start)
	case APIServer:
		return p.strikeProcess(ctx, f, p.APIServer, p.StartAPIServer)
	case Cloud:
		repair, err := p.cloud.Break(alicloudtest.Fault{Kind: alicloudtest.FaultKind(f.Kind)})
		if err != nil {
			return err
		}
		defer repair()
		wait(ctx, f.For)
		return nil
	case Disk:
		return p.fillDisk(ctx, f)
	case State:
		return p.spoil(f)
	case Clock:
		return p.jump(ctx, f)
	}
	return fmt.Errorf("nobody knows how to strike %s", f.Target)
}

// wait waits, or until ctx ends: what was struck is repaired in any case.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// strikeProcess strikes what somebody has to start again: one fault after the other, as a start that is struck is one that failed.
func (p *place) strikeProcess(ctx context.Context, f Fault, current func() *cluster.Process, start func(context.Context) error) error {
	p.starting[f.Target].Lock()
	defer p.starting[f.Target].Unlock()
	process, unbound := current(), context.WithoutCancel(ctx)
	switch f.Kind {
	case pause:
		if err := process.Pause(ctx); err != nil {
			return errors.Join(err, process.Resume())
		}
		wait(ctx, f.For)
		return process.Resume()
	case kill:
		if err := process.Kill(); err != nil {
			return err
		}
		wait(ctx, f.For)
	default:
		if err := process.Stop(unbound); err != nil {
			return err
		}
	}
	return start(unbound)
}

// strikeProduct strikes processes of the product, which somebody else starts again: systemd, or the kubelet.
func (p *place) strikeProduct(ctx context.Context, f Fault) error {
	switch f.Kind {
	case restart:
		return signalAll(p.processes(f.Target), syscall.SIGTERM)
	case pause:
		struck := p.processes(f.Target)
		err := signalAll(struck, syscall.SIGSTOP)
		wait(ctx, f.For)
		return errors.Join(err, signalAll(struck, syscall.SIGCONT))
	}
	ctx, cancel := context.WithTimeout(ctx, f.For)
	defer cancel()
	for ctx.Err() == nil {
		if err := signalAll(p.processes(f.Target), syscall.SIGKILL); err != nil {
			return err
		}
		wait(ctx, 100*time.Millisecond)
	}
	return nil
}

// signalAll sends a signal to processes that may have ended.
func signalAll(pids []int, signal syscall.Signal) error {
	var failures []error
	for _, pid := range pids {
		if err := unix.Kill(pid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			failures = append(failures, fmt.Errorf("sending %s to process %d: %w", signal, pid, err))
		}
	}
	return errors.Join(failures...)
}

// processes are those of a part of the product, on the node and in pods: all are in this run's PID namespace.
func (p *place) processes(t Target) []int {
	if t == Plugin {
		if _, pid, _ := p.Systemd(0).State(pluginUnit); pid != 0 {
			return []int{pid}
		}
		return nil
	}
	begin := map[Target]string{
		Agent: "/usr/bin/kritis\x00policyagent\x00", Webhook: "/usr/bin/kritis\x00webhook\x00", Controller: "/usr/bin/kritis-controller\x00",
	}[t]
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var found []int
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err != nil || !bytes.HasPrefix(line, []byte(begin)) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			found = append(found, pid)
		}
	}
	return found
}

// product are the parts of it that are processes.
var product = []Target{Plugin, Agent, Webhook, Controller}

// jump moves the clocks of some of the product's processes, or of all, and back.
func (p *place) jump(ctx context.Context, f Fault) error {
	there, back := syscall.SIGUSR1, syscall.SIGUSR2
	if f.Kind == dayBack {
		there, back = back, there
	}
	var struck []int
	for i, t := range product {
		if which := f.Choice % 16; which == 0 || which&(1<<i) != 0 {
			struck = append(struck, p.processes(t)...)
		}
	}
	born := map[int]string{}
	for _, pid := range struck {
		born[pid] = birth(pid)
	}
	err := signalAll(struck, there)
	wait(ctx, f.For)
	for _, pid := range struck {
		if birth(pid) == born[pid] { // another process has the machine's clock already
			err = errors.Join(err, signalAll([]int{pid}, back))
		}
	}
	return err
}

// birth is when a process was started, in the kernel's own measure; empty: there is none.
func birth(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The name before it is in parentheses, and may hold anything. See proc_pid_stat(5): starttime is field 22.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return ""
	}
	return fields[19]
}
