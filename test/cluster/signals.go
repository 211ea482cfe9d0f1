package cluster

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// forwardedSignals are those that somebody may send to the process that is visible outside and means the program.
var forwardedSignals = []os.Signal{
	syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2,
}

// forward passes signals on until ended is closed. What is typed at a terminal is left out: the terminal sends it to
// the whole process group, and the program must not see it twice.
func forward(signals <-chan os.Signal, ended <-chan struct{}, process *os.Process) {
	_, err := unix.IoctlGetTermios(int(os.Stdin.Fd()), unix.TCGETS)
	terminal := err == nil
	for {
		select {
		case <-ended:
			return
		case received := <-signals:
			if terminal && (received == syscall.SIGINT || received == syscall.SIGQUIT) {
				continue
			}
			// Fails only when the process has just ended.
			_ = process.Signal(received)
		}
	}
}
