package nodestate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodestate/durable"
)

const lockFile = "agent.lock"

// Writer writes the state folder. There is one at a time on a node; its methods may be called concurrently.
type Writer struct {
	*Reader

	mu   sync.Mutex
	lock *os.File
}

// Create makes the state folder if it does not exist, checks it as Open does, takes the writer's lock and removes
// what an interrupted writer left behind. It fails while another writer holds the lock.
func Create(dir string) (*Writer, error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, fmt.Errorf("making the state folder: %w", err)
	}
	if err := makeFolder(dir); err != nil {
		return nil, fmt.Errorf("making the state folder: %w", err)
	}
	r, err := Open(dir)
	if err != nil {
		return nil, err
	}
	w := &Writer{Reader: r}
	if w.lock, err = takeLock(filepath.Join(dir, lockFile)); err != nil {
		return nil, err
	}
	if err := w.tidy(); err != nil {
		return nil, errors.Join(fmt.Errorf("tidying the state folder: %w", err), w.Close())
	}
	return w, nil
}

// takeLock locks without waiting. The kernel lets go of the lock when the process ends, however it ends.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the state folder: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errors.New("another policy agent is running; stop it, or give this one a state folder of its own")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking the state folder: %s: %w", path, err), f.Close())
	}
	return f, nil
}

func (w *Writer) tidy() error {
	if err := makeFolder(filepath.Join(w.dir, recordFolder)); err != nil {
		return err
	}
	if err := durable.Sweep(w.dir); err != nil {
		return err
	}
	return w.eachRecordFolder(durable.Sweep)
}

// Close gives up the lock.
func (w *Writer) Close() error { return w.lock.Close() }

// NextGeneration is the generation for the next policy: higher than the one on disk, and not lower than the time in
// seconds, so that generations grow even if the file was lost or cannot be read.
func (w *Writer) NextGeneration(now time.Time) uint64 {
	next := uint64(max(now.Unix(), 1))
	if last, err := w.Policy(); err == nil && last.Generation >= next {
		next = last.Generation + 1
	}
	return next
}

// WritePolicy replaces the policy snapshot. A generation that does not grow is an error: readers would keep verdicts
// of the policy before.
func (w *Writer) WritePolicy(p Policy) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.Generation == 0 {
		return errors.New("writing the policy: it has no generation; take the next one")
	}
	if last, err := w.Policy(); err == nil && last.Generation >= p.Generation {
		return fmt.Errorf("writing the policy: generation %d is not higher than %d, which is on disk; take the next one", p.Generation, last.Generation)
	}
	return w.write(policyFile, kindPolicy, p, MaxPolicySize)
}

// WriteRecord replaces the record of a digest.
func (w *Writer) WriteRecord(rec Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := recordPath(rec.Repository, rec.Digest)
	// Also the outer one: somebody may have emptied the state folder.
	for _, folder := range []string{recordFolder, filepath.Dir(name)} {
		if err := makeFolder(filepath.Join(w.dir, folder)); err != nil {
			return fmt.Errorf("writing the %s: %w", kindRecord, err)
		}
	}
	return w.write(name, kindRecord, rec, MaxRecordSize)
}

// WriteStatus replaces the agent's status.
func (w *Writer) WriteStatus(s Status) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.write(statusFile, kindStatus, s, MaxStatusSize)
}

func (w *Writer) write(name, kind string, body any, limit int) error {
	data, err := encode(kind, body, limit)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(w.dir, name), data); err != nil {
		return fmt.Errorf("writing the %s: %w", kind, err)
	}
	return nil
}

// Prune removes the records that were fetched longest ago until at most limit are left.
func (w *Writer) Prune(limit int) error {
	type aged struct {
		path string
		at   time.Time
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var records []aged
	err := w.eachRecordFolder(func(dir string) error {
		return durable.EachEntry(dir, func(e fs.DirEntry) error {
			if !recordName.MatchString(e.Name()) {
				return nil
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			records = append(records, aged{filepath.Join(dir, e.Name()), info.ModTime()})
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("listing the attestation records: %w", err)
	}
	if len(records) <= max(limit, 0) {
		return nil
	}
	slices.SortFunc(records, func(a, b aged) int { return a.at.Compare(b.at) })
	var errs []error
	for _, r := range records[:len(records)-max(limit, 0)] {
		if err := os.Remove(r.path); err != nil {
			errs = append(errs, fmt.Errorf("removing an old attestation record: %w", err))
			break // the next one would fail the same way
		}
	}
	return errors.Join(errs...)
}

// eachRecordFolder calls f with the path of every folder of records.
func (w *Writer) eachRecordFolder(f func(dir string) error) error {
	root := filepath.Join(w.dir, recordFolder)
	return durable.EachEntry(root, func(e fs.DirEntry) error {
		if !e.IsDir() || !recordFolderName.MatchString(e.Name()) {
			return nil
		}
		return f(filepath.Join(root, e.Name()))
	})
}

var (
	recordFolderName = regexp.MustCompile(`^[0-9a-f]{2}$`)
	recordName       = regexp.MustCompile(`^[0-9a-f]{64}\.json$`)
)
