// Package durable replaces and removes files so that after a power cut at any moment the old state or the new one is on
// disk, never half of one. It imports the standard library alone: it is linked into the plugin.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Temporary files have names that no reader asks for: containerd imports *.toml, systemd reads *.service.
const (
	tempPrefix = ".kritis-"
	tempSuffix = ".tmp"
)

// Owner is whom a file belongs to.
type Owner struct{ UID, GID int }

// Self is whom this process runs as.
func Self() Owner { return Owner{os.Geteuid(), os.Getegid()} }

// Write replaces the file at path, or makes it.
func Write(path string, content io.Reader, mode fs.FileMode, owner Owner) error {
	if err := Replace(path, content, mode, owner); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := SyncFolder(filepath.Dir(path)); err != nil {
		return fmt.Errorf("write %s: sync its folder: %w", path, err)
	}
	return nil
}

// Replace is Write without the last step: the new file lasts once its folder is synced.
func Replace(path string, content io.Reader, mode fs.FileMode, owner Owner) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix+"*"+tempSuffix)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // the first error is the one to tell
			_ = os.Remove(f.Name())
		}
	}()
	if _, err := io.Copy(f, content); err != nil {
		return err
	}
	if owner != Self() { // changing it takes a capability that most callers gave up
		if err := f.Chown(owner.UID, owner.GID); err != nil {
			return err
		}
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	// Without this sync some file systems rename first and write later.
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Remove removes the file at path, if it is there.
func Remove(path string) error {
	if err := os.Remove(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return SyncFolder(filepath.Dir(path))
}

// Sweep removes what a Write that was cut short left in a folder. Nobody may be writing there.
func Sweep(dir string) error {
	return EachEntry(dir, func(e fs.DirEntry) error {
		if !strings.HasPrefix(e.Name(), tempPrefix) || !strings.HasSuffix(e.Name(), tempSuffix) {
			return nil
		}
		return os.Remove(filepath.Join(dir, e.Name()))
	})
}

// EachEntry calls f for every entry of a folder, reading the folder in pieces. A folder that does not exist is empty.
func EachEntry(dir string, f func(fs.DirEntry) error) error {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		entries, err := d.ReadDir(512)
		for _, e := range entries {
			if err := f(e); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// SyncFolder makes renames, removals and new files in a folder last.
func SyncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
