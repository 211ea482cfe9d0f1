package faults

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// fillDisk leaves not a byte on the disk that the product writes its state and its log to.
func (p *place) fillDisk(ctx context.Context, f Fault) error {
	path := p.Nodes()[0].Path(disk + "/filler")
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	for _, size := range []int{1 << 20, 4 << 10, 1} {
		for err = nil; err == nil; {
			_, err = file.Write(make([]byte, size))
		}
		if !errors.Is(err, unix.ENOSPC) {
			return errors.Join(fmt.Errorf("filling the disk: %w", err), file.Close(), os.Remove(path))
		}
	}
	wait(ctx, f.For)
	return errors.Join(file.Close(), os.Remove(path))
}

// spoil damages files of the state folder, as a bad disk or a bad administrator does.
func (p *place) spoil(f Fault) error {
	files, err := stateFiles(p.Nodes()[0].Path(stateDir))
	if err != nil || len(files) == 0 {
		return err
	}
	if f.Kind == removeAll {
		all, err := filepath.Glob(p.Nodes()[0].Path(stateDir) + "/*")
		failures := []error{err}
		for _, path := range all {
			failures = append(failures, os.RemoveAll(path))
		}
		return errors.Join(failures...)
	}
	// Every other time it is the policy: without it, nothing can be decided.
	file := files[f.Choice%uint64(len(files))]
	if policy := slices.IndexFunc(files, func(f string) bool { return filepath.Base(f) == "policy.json" }); policy >= 0 && f.Choice%2 == 0 {
		file = files[policy]
	}
	return spoilFile(file, f)
}

func spoilFile(file string, f Fault) error {
	data, err := os.ReadFile(file)
	if err != nil || len(data) == 0 {
		return gone(err)
	}
	switch where := f.Choice / 2 % uint64(len(data)); f.Kind {
	case flip:
		data[where] ^= 1 << (f.Choice % 8)
	case truncate:
		data = data[:where]
	case remove:
		return gone(os.Remove(file))
	}
	return os.WriteFile(file, data, 0o600)
}

// gone is nil for what is not there any more.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// stateFiles are the agent's files, in a fixed order; the lock is none of what it says.
func stateFiles(dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && strings.HasSuffix(path, ".json") {
			files = append(files, path)
		}
		return gone(err)
	})
	return files, err
}
