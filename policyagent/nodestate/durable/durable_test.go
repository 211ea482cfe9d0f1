package durable

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
)

// content returns what is in the folder, by name.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(data)
	}
	return all
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, text := range []string{"first", "", strings.Repeat("second", 100_000)} {
		if err := Write(path, strings.NewReader(text), 0o640, Self()); err != nil {
			t.Fatal(err)
		}
		if all := content(t, dir); len(all) != 1 || all["file"] != text {
			t.Errorf("%d files, %d bytes", len(all), len(all["file"]))
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
}

// TestReaders shows that whoever has the old file open goes on reading the old one: it is replaced, not written into.
func TestReaders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Write(path, strings.NewReader("new"), 0o600, Self()); err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(f); err != nil || string(data) != "old" {
		t.Errorf("%q, %v", data, err)
	}
}

// TestFailuresLeaveTheOld shows that a content that ends half-way, and a place that cannot be written to, change nothing.
func TestFailuresLeaveTheOld(t *testing.T) {
	broken := errors.New("broken")
	for name, write := range map[string]func(path string) error{
		"half a content": func(path string) error {
			return Write(path, io.MultiReader(bytes.NewReader(make([]byte, 1<<20)), iotest.ErrReader(broken)), 0o600, Self())
		},
		"a folder in its place": func(path string) error {
			return Write(filepath.Join(filepath.Dir(path), "folder"), strings.NewReader("new"), 0o600, Self())
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "file")
			if err := errors.Join(os.WriteFile(path, []byte("old"), 0o600), os.Mkdir(filepath.Join(dir, "folder"), 0o700)); err != nil {
				t.Fatal(err)
			}
			if err := write(path); err == nil || !strings.Contains(err.Error(), "write "+dir) {
				t.Errorf("%v", err)
			}
			entries, err := os.ReadDir(dir)
			if data, readErr := os.ReadFile(path); err != nil || readErr != nil || string(data) != "old" || len(entries) != 2 {
				t.Errorf("%q, %v, %v, %v", data, entries, err, readErr)
			}
		})
	}
}

func TestOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may give files away")
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := Write(path, strings.NewReader("x"), 0o600, Owner{12, 34}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := info.Sys().(*syscall.Stat_t); !ok || s.Uid != 12 || s.Gid != 34 {
		t.Errorf("it belongs to %+v", info.Sys())
	}
}

func TestRemove(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // what is gone is removed
		if err := Remove(path); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("it is there: %v", err)
		}
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".kritis-1.tmp", ".kritis-.tmp", "kritis-1.tmp", ".kritis-1", "90-kritis-required.toml"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 1100 { // more than are read at once
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf(".kritis-a%d.tmp", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Sweep(dir); err != nil {
		t.Fatal(err)
	}
	if all := content(t, dir); len(all) != 3 {
		t.Errorf("left: %v", all)
	}
	if err := Sweep(filepath.Join(dir, "none")); err != nil {
		t.Errorf("a folder that is not there: %v", err)
	}
}
