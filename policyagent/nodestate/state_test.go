package nodestate

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kritis-node/kritis-node/verifier"
)

func TestWhatIsWrittenIsRead(t *testing.T) {
	w := newWriter(t)
	r, err := Open(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Policy(); !errors.Is(err, ErrNotFound) {
		t.Errorf("policy before the first write: %v", err)
	}
	if _, err := r.Attestations(testRepository, testDigest); !errors.Is(err, ErrNotFound) {
		t.Errorf("record before the first write: %v", err)
	}
	if _, err := r.Status(); !errors.Is(err, ErrNotFound) {
		t.Errorf("status before the first write: %v", err)
	}
	p, rec, s := testPolicy(3), testRecord("payload"), Status{PID: 7, StartedAt: testTime, Sources: []SourceStatus{{Name: "folder", Asked: 2}}}
	if err := errors.Join(w.WritePolicy(p), w.WriteRecord(rec), w.WriteStatus(s)); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Policy(); err != nil || !cmp.Equal(got, p) {
		t.Errorf("policy: %v\n%s", err, cmp.Diff(p, got))
	}
	if got, err := r.Attestations(testRepository, testDigest); err != nil || !cmp.Equal(got, rec) {
		t.Errorf("record: %v\n%s", err, cmp.Diff(rec, got))
	}
	if got, err := r.Status(); err != nil || !cmp.Equal(got, s) {
		t.Errorf("status: %v\n%s", err, cmp.Diff(s, got))
	}
	if _, err := r.Attestations(testRepository+"x", testDigest); !errors.Is(err, ErrNotFound) {
		t.Errorf("record of another repository: %v", err)
	}
}

func TestGenerationsGrow(t *testing.T) {
	w := newWriter(t)
	if got := w.NextGeneration(testTime); got != uint64(testTime.Unix()) {
		t.Errorf("first generation: %d", got)
	}
	if err := w.WritePolicy(testPolicy(w.NextGeneration(testTime))); err != nil {
		t.Fatal(err)
	}
	if got := w.NextGeneration(testTime.Add(-time.Hour)); got != uint64(testTime.Unix())+1 {
		t.Errorf("generation after the clock went back: %d", got)
	}
	for _, g := range []uint64{0, 1, uint64(testTime.Unix())} {
		if err := w.WritePolicy(testPolicy(g)); err == nil {
			t.Errorf("generation %d was accepted although it does not grow", g)
		}
	}
	if err := os.WriteFile(filepath.Join(w.dir, policyFile), []byte("lost"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := w.NextGeneration(testTime.Add(time.Second)); got != uint64(testTime.Unix())+1 {
		t.Errorf("generation after the file was lost: %d", got)
	}
}

func TestOneWriter(t *testing.T) {
	w := newWriter(t)
	if _, err := Create(w.dir); err == nil || !strings.Contains(err.Error(), "another policy agent is running") {
		t.Fatalf("a second writer: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := Create(w.dir)
	if err != nil {
		t.Fatalf("after the first closed: %v", err)
	}
	second.Close()
}

func TestCreateIgnoresTheUmask(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	w := newWriter(t)
	if err := errors.Join(w.WritePolicy(testPolicy(1)), w.WriteRecord(testRecord("p"))); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{
		"": 0o755, recordFolder: 0o755, filepath.Dir(recordPath(testRepository, testDigest)): 0o755,
		recordPath(testRepository, testDigest): 0o644, policyFile: 0o644,
	} {
		info, err := os.Stat(filepath.Join(w.dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%q has mode %v, want %v (%v)", name, info.Mode().Perm(), want, err)
		}
	}
}

func TestFoldersThatOthersMayWriteAreRefused(t *testing.T) {
	for _, mode := range []os.FileMode{0o775, 0o757, 0o777, 0o722} {
		dir := t.TempDir()
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "writable by others") {
			t.Errorf("mode %v: %v", mode, err)
		}
		if _, err := Create(dir); err == nil {
			t.Errorf("mode %v: accepted by the writer", mode)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("a file: %v", err)
	}
	if _, err := Open(file + "-missing"); !errors.Is(err, ErrNotFound) {
		t.Errorf("nothing: %v", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("changing owners needs root")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 4711, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "belongs to user 4711") {
		t.Errorf("a stranger's folder: %v", err)
	}
}

func TestFilesThatAreNotTheWriters(t *testing.T) {
	w := newWriter(t)
	if err := w.WritePolicy(testPolicy(1)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.dir, policyFile)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, place := range map[string]func() error{
		"writable by others": func() error { return errors.Join(os.WriteFile(path, good, 0o600), os.Chmod(path, 0o666)) },
		"a symbolic link": func() error {
			return errors.Join(os.WriteFile(path+".elsewhere", good, 0o644), os.Symlink(path+".elsewhere", path))
		},
		"a pipe":   func() error { return syscall.Mkfifo(path, 0o600) },
		"a folder": func() error { return os.Mkdir(path, 0o755) },
	} {
		if err := errors.Join(os.Remove(path), place()); err != nil {
			t.Fatal(err)
		}
		if p, err := w.Policy(); err == nil {
			t.Errorf("%s was read: generation %d", name, p.Generation)
		}
	}
}

func TestARecordUnderAnotherNameIsNotRead(t *testing.T) {
	w := newWriter(t)
	if err := w.WriteRecord(testRecord("p")); err != nil {
		t.Fatal(err)
	}
	other := verifier.Digest("sha256:" + strings.Repeat("b", 64))
	from, to := filepath.Join(w.dir, recordPath(testRepository, testDigest)), filepath.Join(w.dir, recordPath(testRepository, other))
	if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.Rename(from, to)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Attestations(testRepository, other); !errors.Is(err, ErrCorrupt) {
		t.Errorf("%v", err)
	}
}

func TestPrune(t *testing.T) {
	w := newWriter(t)
	const n = 6
	for i := range n {
		rec := testRecord("p")
		rec.Digest = verifier.Digest("sha256:" + strings.Repeat(string(rune('0'+i)), 64))
		if err := w.WriteRecord(rec); err != nil {
			t.Fatal(err)
		}
		at := testTime.Add(time.Duration(i) * time.Minute)
		if err := os.Chtimes(filepath.Join(w.dir, recordPath(rec.Repository, rec.Digest)), at, at); err != nil {
			t.Fatal(err)
		}
	}
	stranger := filepath.Join(w.dir, recordFolder, "00", "README")
	if err := errors.Join(os.MkdirAll(filepath.Dir(stranger), 0o755), os.WriteFile(stranger, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	left := func() (digits string) {
		for i := range n {
			d := strings.Repeat(string(rune('0'+i)), 64)
			if _, err := w.Attestations(testRepository, verifier.Digest("sha256:"+d)); err == nil {
				digits += d[:1]
			}
		}
		return digits
	}
	for _, c := range []struct {
		limit int
		want  string
	}{{n + 1, "012345"}, {n, "012345"}, {n - 1, "12345"}, {2, "45"}, {0, ""}} {
		if err := w.Prune(c.limit); err != nil {
			t.Fatal(err)
		}
		if got := left(); got != c.want {
			t.Errorf("pruned to %d: left %q, want %q", c.limit, got, c.want)
		}
	}
	if _, err := os.Stat(stranger); err != nil {
		t.Errorf("prune touched what is not a record: %v", err)
	}
}
