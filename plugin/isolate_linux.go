package plugin

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// isolatedMark is set for the re-executed process, so that a kernel that does not do what it says ends in an error
// and not in a loop.
const isolatedMark = "KRITIS_PLUGIN_ISOLATED"

// GiveUpNetwork makes this process unable to connect anywhere: it moves into an empty network namespace, in which not
// even the loopback interface is up, and gives up every capability, so that it cannot move back. UNIX sockets with a
// path still work; the plugin needs nothing else.
//
// Threads that exist already would stay in the old namespace, so the process executes itself again from the thread
// that moved. If the process has no network to begin with (systemd's PrivateNetwork, say), nothing happens. It does
// not return on success unless there is nothing left to give up.
func GiveUpNetwork() error {
	isolated, err := hasNoNetwork()
	if err != nil {
		return err
	}
	if isolated {
		return nil
	}
	if os.Getenv(isolatedMark) != "" {
		return errors.New("give up the network: this process still has network interfaces in a new network namespace")
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("give up the network: %w", err)
	}
	runtime.LockOSThread() // never unlocked: the thread becomes the new process
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("give up the network: %w; run as root, with CAP_SYS_ADMIN, or in a network namespace without interfaces", err)
	}
	if err := dropCapabilities(); err != nil {
		return fmt.Errorf("give up capabilities: %w", err)
	}
	return fmt.Errorf("give up the network: execute again: %w", unix.Exec(self, os.Args, append(os.Environ(), isolatedMark+"=1")))
}

// hasNoNetwork says whether this process' network namespace has no interface that is up.
func hasNoNetwork() (bool, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return false, fmt.Errorf("list network interfaces: %w", err)
	}
	for _, i := range interfaces {
		if i.Flags&net.FlagUp != 0 {
			return false, nil
		}
	}
	return true, nil
}

// dropCapabilities empties this thread's bounding set, so that what it executes has none, and forbids gaining any.
func dropCapabilities() error {
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			break // this kernel knows fewer
		}
		if err != nil {
			return err
		}
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}
