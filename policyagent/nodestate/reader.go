package nodestate

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/kritis-node/kritis-node/verifier"
)

// DefaultDir and DefaultSocket are where agent and plugin meet unless told otherwise.
const (
	DefaultDir    = "/var/lib/kritis"
	DefaultSocket = "/run/kritis/agent.sock"
)

const (
	policyFile = "policy.json"
	statusFile = "agent.json"
)

// Reader reads the state folder. It keeps nothing, and any number may be used at the same time as a writer.
type Reader struct {
	dir string
}

// Open checks that the folder can be trusted: a directory of root's or of the current user's that nobody else may
// write to. A folder that does not exist is ErrNotFound.
func Open(dir string) (*Reader, error) {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("state folder %s: %w: start the policy agent, which makes it", dir, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("state folder %s is not a directory: name the folder that the policy agent writes to", dir)
	}
	if why := distrust(info); why != "" {
		return nil, fmt.Errorf("state folder %s %s: whoever may write there decides what runs; run chown root and chmod 0755 on it", dir, why)
	}
	return &Reader{dir: dir}, nil
}

// Policy returns the policy snapshot, or an error that wraps ErrNotFound, ErrCorrupt or ErrNewer.
func (r *Reader) Policy() (Policy, error) {
	var p Policy
	if err := r.read(policyFile, kindPolicy, MaxPolicySize, &p); err != nil {
		return Policy{}, err
	}
	return p, nil
}

// Attestations returns the record of a digest, or an error that wraps ErrNotFound, ErrCorrupt or ErrNewer.
func (r *Reader) Attestations(repository string, d verifier.Digest) (Record, error) {
	name := recordPath(repository, d)
	var rec Record
	if err := r.read(name, kindRecord, MaxRecordSize, &rec); err != nil {
		return Record{}, err
	}
	if rec.Repository != repository || rec.Digest != d {
		return Record{}, fmt.Errorf("%s: %w: it is about another image; %s", filepath.Join(r.dir, name), ErrCorrupt, remedy(kindRecord))
	}
	return rec, nil
}

// Status returns what the agent last said about itself.
func (r *Reader) Status() (Status, error) {
	var s Status
	if err := r.read(statusFile, kindStatus, MaxStatusSize, &s); err != nil {
		return Status{}, err
	}
	return s, nil
}

func (r *Reader) read(name, kind string, limit int, into any) error {
	path := filepath.Join(r.dir, name)
	data, err := readFile(path, limit)
	if err == nil {
		err = decode(data, kind, limit, into)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w: the policy agent has not written it yet; see that it runs", path, ErrNotFound)
	case errors.Is(err, ErrNewer):
		return fmt.Errorf("%s: %w; upgrade this program to the agent's version", path, err)
	case errors.Is(err, ErrCorrupt):
		return fmt.Errorf("%s: %w; %s", path, err, remedy(kind))
	default:
		return fmt.Errorf("reading the %s: %w", kind, err)
	}
}

func remedy(kind string) string {
	if kind == kindRecord {
		return "the policy agent writes it again on the next fetch"
	}
	return "restart the policy agent, which writes it again"
}

// readFile reads a regular file of at most a header and limit bytes.
func readFile(path string, limit int) ([]byte, error) {
	// Without O_NONBLOCK a pipe in the file's place would hold the caller up for ever.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file: remove it", path)
	}
	if why := distrust(info); why != "" {
		return nil, fmt.Errorf("%s %s: remove it, the policy agent writes it again", path, why)
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(limit+maxHeader)+1))
	if err != nil {
		return nil, err
	}
	if len(data) > limit+maxHeader {
		return nil, fmt.Errorf("%w: it has more than %d bytes", ErrCorrupt, limit)
	}
	return data, nil
}

// distrust says why a file or folder cannot be trusted, or nothing.
func distrust(info fs.FileInfo) string {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "has no owner that can be seen"
	}
	if stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Sprintf("belongs to user %d", stat.Uid)
	}
	if perm := info.Mode().Perm(); perm&0o022 != 0 {
		return fmt.Sprintf("has mode %#o and is writable by others than its owner", perm)
	}
	return ""
}
