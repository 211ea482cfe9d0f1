package nodestate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	// maxSocketPath is the size of sun_path without its final zero: see unix(7).
	maxSocketPath = 107
	socketSuffix  = ".new"
)

// Listen makes the agent's socket with mode 0600, in place of one that an agent which is gone left behind. It fails
// if an agent answers there, or if something else than a socket is in its place.
func Listen(path string) (net.Listener, error) {
	if limit := maxSocketPath - len(socketSuffix); len(path) > limit {
		return nil, fmt.Errorf("the socket path has %d bytes and may have %d: choose a shorter one", len(path), limit)
	}
	if err := checkPlace(path); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of the socket: %w", err)
	}
	// Made beside its place and renamed, so that nobody finds it before its mode is set, and none is missing between
	// an old agent and a new one.
	temp := path + socketSuffix
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing a leftover socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: temp, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("making the socket: %w", err)
	}
	// On close the file stays: it may be the successor's by then. The next start replaces it.
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(temp, 0o600), os.Rename(temp, path)); err != nil {
		return nil, errors.Join(fmt.Errorf("making the socket: %w", err), l.Close(), os.Remove(temp))
	}
	return l, nil
}

// checkPlace sees to it that nothing is lost if the path is replaced.
func checkPlace(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking at the place of the socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket: remove it, or choose another path", path)
	}
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(context.Background(), "unix", path)
	if err != nil {
		return nil // nobody listens any more
	}
	conn.Close()
	return fmt.Errorf("another policy agent answers on %s: stop it, or choose another path", path)
}
