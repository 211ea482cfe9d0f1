package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kritis-node/kritis-node/test/stack"
)

// TestIsolation shows that the plugin, which runs as root and has the last word, can neither connect anywhere nor use
// any of root's privileges.
func TestIsolation(t *testing.T) {
	onEachVersion(t, stack.Options{}, func(t *testing.T, s *site) {
		expectStarts(t, s.run(t, prod, s.pushSigned(t, "isolation/app"))) // it works like that
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", s.Plugin.PID()))
		check(t, err)
		if len(tasks) == 0 {
			t.Fatal("the plugin has no threads")
		}
		ours, err := os.Readlink("/proc/self/ns/net")
		check(t, err)
		for _, task := range tasks {
			theirs, err := os.Readlink(filepath.Join(task, "ns", "net"))
			check(t, err)
			if theirs == ours {
				t.Errorf("thread %s is in our network namespace", task)
			}
			expectNoPrivileges(t, filepath.Join(task, "status"))
		}

		if err := connectTo(s.Registry.Host()); err != nil {
			t.Fatalf("from here the registry can be reached: %v", err)
		}
		check(t, inNetworkOf(s.Plugin.PID(), func() error {
			if connectTo(s.Registry.Host()) == nil {
				t.Errorf("from the plugin's network the registry can be reached")
			}
			interfaces, err := net.Interfaces()
			for _, i := range interfaces {
				if i.Flags&net.FlagUp != 0 {
					t.Errorf("interface %s is up", i.Name)
				}
			}
			return err
		}))
	})
}

// expectNoPrivileges reads a status file as proc_pid_status(5) describes it.
func expectNoPrivileges(t *testing.T, status string) {
	t.Helper()
	text, err := os.ReadFile(status)
	check(t, err)
	values := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		values[key] = strings.TrimSpace(value)
	}
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		if strings.Trim(values[set], "0") != "" || values[set] == "" {
			t.Errorf("%s: %s is %q", status, set, values[set])
		}
	}
	if values["NoNewPrivs"] != "1" {
		t.Errorf("%s: NoNewPrivs is %q", status, values["NoNewPrivs"])
	}
}

// connectTo connects from the calling thread, and from no other.
func connectTo(host string) error {
	address, err := net.ResolveTCPAddr("tcp4", host)
	if err != nil {
		return err
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	return unix.Connect(socket, &unix.SockaddrInet4{Port: address.Port, Addr: [4]byte(address.IP.To4())})
}

// inNetworkOf runs a function on a thread in the network namespace of a process. The thread ends with it.
func inNetworkOf(pid int, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked
		done <- func() error {
			namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
			if err != nil {
				return err
			}
			defer namespace.Close()
			if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
				return err
			}
			return f()
		}()
	}()
	return <-done
}
