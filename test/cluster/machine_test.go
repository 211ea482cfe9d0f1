package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// startMachine starts a machine that is halted after the test.
func startMachine(t *testing.T, network bool) *cluster.Machine {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "machine-")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	machine, err := cluster.StartMachine(t.Context(), cluster.MachineOptions{Dir: dir, Network: network, Shared: []string{dir}})
	check(t, err)
	t.Cleanup(func() {
		if err := machine.Halt(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return machine
}

// on runs a script on a machine to its end and returns what it printed.
func on(t *testing.T, machine *cluster.Machine, script string) string {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	process, err := cluster.StartProcess(t.Context(), cluster.Command{
		Path: "/bin/sh", Args: []string{"-ec", script}, Dir: "/etc", Log: log, Machine: machine,
	}, nil)
	check(t, err)
	<-process.Ended()
	output, err := os.ReadFile(log)
	if err := errors.Join(err, process.Err()); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	return strings.TrimSpace(string(output))
}

func TestMachineHasFilesOfItsOwn(t *testing.T) {
	one, two := startMachine(t, false), startMachine(t, false)
	const name = "kritis-node-test-machine"
	for _, folder := range []string{"/run", "/var/lib", "/var/log", "/etc", "/opt", "/usr/local"} {
		t.Run(folder, func(t *testing.T) {
			path := filepath.Join(folder, name)
			on(t, one, "echo one > "+path)
			on(t, two, "echo two > "+path)
			for machine, want := range map[*cluster.Machine]string{one: "one\n", two: "two\n"} {
				if content, err := os.ReadFile(machine.Path(path)); err != nil || string(content) != want {
					t.Errorf("it holds %q, %v; want %q", content, err, want)
				}
			}
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the program has it as well: %v", err)
			}
		})
	}
	if shown := on(t, one, "cat /etc/passwd | head -n 1; pwd; ls "+one.RunDir()); !strings.HasPrefix(shown, "root:") || !strings.Contains(shown, "\n/etc\n") || !strings.Contains(shown, name) {
		t.Errorf("the host's /etc, the working folder, the own folder: %s", shown)
	}
}

func TestMachineNetwork(t *testing.T) {
	for _, own := range []bool{false, true} {
		t.Run(fmt.Sprintf("own %t", own), func(t *testing.T) {
			ours, err := os.Readlink("/proc/self/ns/net")
			check(t, err)
			machine := startMachine(t, own)
			if theirs := on(t, machine, "readlink /proc/self/ns/net"); (theirs != ours) != own {
				t.Errorf("its network is %s, the program's is %s", theirs, ours)
			}
			if links := on(t, machine, "ip -brief link show up"); !strings.HasPrefix(links, "lo ") {
				t.Errorf("loopback is not up: %s", links)
			}
		})
	}
}

// What ran is gone, also what left its parents, and /run with it; the disk is not.
func TestMachineBoot(t *testing.T) {
	machine := startMachine(t, true)
	before := on(t, machine, "echo kept > /var/lib/kept; echo lost > /run/lost; setsid sleep 1000 > /dev/null 2>&1 & cat /proc/sys/kernel/random/boot_id")
	if before != machine.BootID() {
		t.Errorf("the boot ID is %s; want %s", before, machine.BootID())
	}
	if machine.Leaks() == nil {
		t.Fatal("found no process: this test shows nothing")
	}
	if err := machine.Boot(t.Context()); err == nil {
		t.Error("a machine that runs is booted")
	}
	running := machine.Holder().PID()
	check(t, machine.Halt(t.Context()))
	check(t, machine.Leaks())
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/root/var", running)); err == nil {
		t.Error("its first process is left")
	}
	if _, err := cluster.StartProcess(t.Context(), cluster.Command{Path: "/bin/true", Log: filepath.Join(t.TempDir(), "log"), Machine: machine}, nil); err == nil {
		t.Error("a process was started on a halted machine")
	}
	check(t, machine.Boot(t.Context()))
	if kept := on(t, machine, "cat /var/lib/kept; ls /run/lost 2>/dev/null || echo gone; pgrep -x sleep || true"); kept != "kept\ngone" {
		t.Errorf("after a boot there is: %s", kept)
	}
	if after := on(t, machine, "cat /proc/sys/kernel/random/boot_id"); after == before {
		t.Error("the boot ID is the same")
	}
}
