package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// cgroupPrefix is the folder, in every cgroup hierarchy, below which containers of tests live.
const cgroupPrefix = "kritis-node-test"

const cgroupMount = "/sys/fs/cgroup"

// run is one isolated run. Namespaces end processes and mounts; cgroups outlive them and have to be removed, after the
// run, or if that died before the next one. A lock that is held for as long as the run lives tells which are over.
type run struct {
	name string
	lock *os.File
}

// newRun removes what is left of runs that are over and registers a new one.
func newRun(ctx context.Context) (*run, error) {
	folder := filepath.Join(os.TempDir(), cgroupPrefix)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("creating the folder for run locks: %w", err)
	}
	// Between creating and locking its file, a run would look like one that is over.
	register, err := os.OpenFile(filepath.Join(folder, "register"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the register of runs: %w", err)
	}
	defer register.Close()
	if err := unix.Flock(int(register.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("locking the register of runs: %w", err)
	}
	locks, err := filepath.Glob(filepath.Join(folder, "run-*"))
	if err != nil {
		return nil, err
	}
	for _, lock := range locks {
		if err := removeIfOver(ctx, lock); err != nil {
			return nil, fmt.Errorf("removing an earlier run: %w", err)
		}
	}
	lock, err := os.CreateTemp(folder, "run-")
	if err != nil {
		return nil, fmt.Errorf("registering a run: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("locking a new run: %w", errors.Join(err, lock.Close()))
	}
	return &run{name: filepath.Base(lock.Name()), lock: lock}, nil
}

// removeIfOver removes a run whose lock is free.
func removeIfOver(ctx context.Context, path string) error {
	lock, err := os.Open(path)
	if err != nil {
		return err
	}
	if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return lock.Close()
	}
	return (&run{name: filepath.Base(path), lock: lock}).remove(ctx)
}

// remove is called when all processes of the run have ended.
func (r *run) remove(ctx context.Context) error {
	for _, hierarchy := range cgroupHierarchies() {
		err := Await(ctx, "the kernel to release cgroups", func(context.Context) error {
			return removeCgroups(filepath.Join(hierarchy, cgroupPrefix, r.name))
		})
		if err != nil {
			return err
		}
	}
	return errors.Join(os.Remove(r.lock.Name()), r.lock.Close())
}

// cgroupHierarchies returns the mounted ones of version 1, and the mount point itself, which is version 2's.
func cgroupHierarchies() []string {
	folders, _ := filepath.Glob(filepath.Join(cgroupMount, "*"))
	return append(folders, cgroupMount)
}

// removeCgroups removes a cgroup and all below it. Their files cannot be removed and go with the folder.
func removeCgroups(top string) error {
	var folders []string
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			folders = append(folders, path)
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
		return err
	}
	for _, folder := range slices.Backward(folders) {
		if err := unix.Rmdir(folder); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("removing cgroup %s: %w", folder, err)
		}
	}
	return nil
}
