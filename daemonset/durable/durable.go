// Package durable replaces and removes files so that after a power cut at any moment the old state or the new one is on
// disk, never half of one.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Temporary files have names that no reader asks for: containerd imports *.toml, systemd reads *.service.
const (
	tempPrefix = ".kritis-"
	tempSuffix = ".tmp"
)

// Owner is whom a file belongs to.
type Owner struct{ UID, GID int }

// Write replaces the file at path, or makes it.
func Write(path string, content io.Reader, mode fs.FileMode, owner Owner) error {
	dir := filepath.Dir(path)
	if err := replace(dir, path, content, mode, owner); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := syncFolder(dir); err != nil {
		return fmt.Errorf("write %s: sync its folder: %w", path, err)
	}
	return nil
}

func replace(dir, path string, content io.Reader, mode fs.FileMode, owner Owner) (err error) {
	f, err := os.CreateTemp(dir, tempPrefix+"*"+tempSuffix)
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
	if owner != (Owner{os.Geteuid(), os.Getegid()}) { // changing it takes a capability that most callers gave up
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
	return syncFolder(filepath.Dir(path))
}

// Sweep removes what a Write that was cut short left in a folder. Nobody may be writing there.
func Sweep(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, tempPrefix+"*"+tempSuffix))
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// syncFolder makes renames and removals in a folder last.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
