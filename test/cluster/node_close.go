package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// closeLimit bounds the orderly part of [Node.Close].
	closeLimit = 2 * time.Minute
	// abandonedAfter is how long a shim may outlive all containers and pods. A containerd that is restarted while it speaks to a
	// shim may take it for dead and clean up after it, and nobody ends it then.
	abandonedAfter = 10 * time.Second
)

// Logs returns what containerd and the containers wrote, each file under its name: to be shown when a test fails.
func (n *Node) Logs() string {
	var b strings.Builder
	for _, pattern := range []string{"*.log", "*/*.log"} {
		files, _ := filepath.Glob(n.path("logs", pattern))
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				content = []byte(err.Error())
			}
			name, _ := filepath.Rel(n.path("logs"), file)
			fmt.Fprintf(&b, "--- %s\n%s\n", name, strings.TrimRight(string(content), "\n"))
		}
	}
	return b.String()
}

// Close removes all pods, stops containerd and removes the node's folder. Processes or mounts of the node that are left
// after an orderly stop are an error; they are ended in any case, as they are, silently, when containerd was down
// already and there was nobody to stop them. A second call does nothing.
func (n *Node) Close() error {
	n.mutex.Lock()
	closed := n.closed
	n.closed = true
	n.mutex.Unlock()
	if closed {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	var failures []error
	orderly := n.Containerd() != nil && n.Containerd().Running()
	if orderly {
		// One that a test left paused would not answer.
		failures = append(failures, n.Containerd().Resume(), n.removePods(ctx), n.Containerd().Stop(ctx))
		orderly = errors.Join(failures...) == nil
	}
	if n.cri != nil {
		failures = append(failures, n.cri.close())
	}
	// Shims end by themselves, shortly after their last container was deleted.
	if orderly {
		gone := func(context.Context) error { return n.Leaks() }
		failures = append(failures, Await(ctx, "the node's shims and mounts to go", gone))
	}
	return errors.Join(append(failures, n.endLeftovers(ctx), os.RemoveAll(n.dir))...)
}

// removePods removes all pods, also one that is listed only later because its client was stopped while it was made.
func (n *Node) removePods(ctx context.Context) error {
	// Many take longer than a wait.
	if err := n.cri.removePods(ctx); err != nil {
		return err
	}
	var alone time.Time // since when nothing but shims is left
	return Await(ctx, "the node's pods to go", func(ctx context.Context) error {
		if err := n.cri.removePods(ctx); err != nil {
			return err
		}
		processes, err := n.processes()
		if err != nil {
			return err
		}
		processes = slices.DeleteFunc(processes, func(p nodeProcess) bool { return p.pid == n.Containerd().PID() })
		switch {
		case len(processes) == 0:
		case slices.ContainsFunc(processes, func(p nodeProcess) bool { return !p.isShim() }):
			alone = time.Time{}
		case alone.IsZero():
			alone = time.Now()
		case time.Since(alone) > abandonedAfter:
			for _, p := range processes {
				_ = unix.Kill(p.pid, syscall.SIGKILL) // it may have ended
			}
		}
		if len(processes) > 0 {
			return fmt.Errorf("process %d is left: %s", processes[0].pid, processes[0].command)
		}
		mounts, err := n.mounts()
		if err == nil && len(mounts) > 0 {
			err = fmt.Errorf("mount is left: %s", mounts[0])
		}
		return err
	})
}

// Leaks returns an error that lists the node's containers, shims, other processes and mounts, if there are any;
// containerd is one of them while it runs.
func (n *Node) Leaks() error {
	processes, err := n.processes()
	if err != nil {
		return err
	}
	mounts, err := n.mounts()
	if err != nil {
		return err
	}
	var failures []error
	for _, process := range processes {
		failures = append(failures, fmt.Errorf("process %d is left: %s", process.pid, process.command))
	}
	for _, mount := range mounts {
		failures = append(failures, fmt.Errorf("mount is left: %s", mount))
	}
	return errors.Join(failures...)
}

func (n *Node) endLeftovers(ctx context.Context) error {
	return Await(ctx, "leftovers of the node to end", func(ctx context.Context) error {
		processes, err := n.processes()
		if err != nil {
			return err
		}
		for _, process := range processes {
			if err := unix.Kill(process.pid, syscall.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("killing %s: %w", process.command, err)
			}
		}
		mounts, err := n.mounts()
		if err != nil {
			return err
		}
		// Later mounts may lie in or over earlier ones.
		for _, mount := range slices.Backward(mounts) {
			if err := n.unmount(ctx, mount); err != nil {
				return fmt.Errorf("unmounting %s: %w", mount, err)
			}
		}
		return n.Leaks()
	})
}

type nodeProcess struct {
	pid     int
	command string
}

func (p nodeProcess) isShim() bool {
	program, _, _ := strings.Cut(p.command, " ")
	return strings.HasPrefix(filepath.Base(program), "containerd-shim-")
}

// processes returns what runs in a cgroup of the node's containers, or was started with a path in the node's folder, as
// shims are.
func (n *Node) processes() ([]nodeProcess, error) {
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	home := n.dir
	if m := n.options.Machine; m != nil {
		home = m.options.Dir
	}
	var found []nodeProcess
	for _, folder := range folders {
		pid, err := strconv.Atoi(filepath.Base(folder))
		if err != nil || pid == os.Getpid() {
			continue
		}
		// What cannot be read has ended in the meantime; a zombie, which has an empty command line, is about to.
		command, _ := os.ReadFile(filepath.Join(folder, "cmdline"))
		if len(command) == 0 {
			continue
		}
		cgroups, _ := os.ReadFile(filepath.Join(folder, "cgroup"))
		if strings.Contains(string(cgroups), n.cgroup+"/") || strings.Contains(string(command), home+"/") {
			line := strings.TrimRight(strings.ReplaceAll(string(command), "\x00", " "), " ")
			found = append(found, nodeProcess{pid: pid, command: line})
		}
	}
	return found, nil
}

// mounts returns the mount points in the node's folder, in the order in which they were made.
func (n *Node) mounts() ([]string, error) {
	process := "self"
	if m := n.options.Machine; m != nil {
		if !m.Running() {
			return nil, nil
		}
		process = strconv.Itoa(m.Holder().PID())
	}
	table, err := os.ReadFile("/proc/" + process + "/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("reading mounts: %w", err)
	}
	var found []string
	for line := range strings.Lines(string(table)) {
		// Fields are those of proc_pid_mountinfo(5): ID, parent, device, root, mount point.
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], n.dir+"/") {
			found = append(found, fields[4])
		}
	}
	return found, nil
}

// unmount removes a mount of the node, though it may be in use.
func (n *Node) unmount(ctx context.Context, path string) error {
	m := n.options.Machine
	if m == nil {
		return unix.Unmount(path, unix.MNT_DETACH)
	}
	command, err := m.enter(Command{Path: "umount", Args: []string{"--lazy", path}})
	if err != nil {
		return err
	}
	if output, err := exec.CommandContext(ctx, command.Path, command.Args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(output))
	}
	return nil
}

// Crash ends everything on the node at once, as a loss of power does: containerd, shims, containers. What is on the
// node's disk stays, what the kernel and /run had of it goes. [Node.StartContainerd] is the boot.
func (n *Node) Crash(ctx context.Context) error {
	if containerd := n.Containerd(); containerd != nil {
		// First, for it would start others.
		if err := containerd.Kill(); err != nil {
			return err
		}
	}
	if err := n.endLeftovers(ctx); err != nil {
		return err
	}
	hierarchies, _ := mountedHierarchies()
	err := Await(ctx, "the kernel to release the node's cgroups", func(context.Context) error {
		var failures []error
		for _, hierarchy := range hierarchies {
			failures = append(failures, removeCgroups(filepath.Join(hierarchy, n.cgroup)))
		}
		return errors.Join(failures...)
	})
	failures := []error{err}
	for _, path := range []string{n.StateDir(), n.path("runc"), n.ContainerdSocket(), n.ContainerdSocket() + ".ttrpc", n.NRISocket()} {
		failures = append(failures, os.RemoveAll(path))
	}
	return errors.Join(failures...)
}
