package host

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/kritis-node/kritis-node/policyagent/nodestate/durable"
)

// programName is the name of installed binaries: their content's hash.
var programName = regexp.MustCompile(`^kritis-[0-9a-f]{16}$`)

// keepOld is how many binaries that are no longer used stay, for a downgrade by hand.
const keepOld = 1

// program is the binary to install.
type program struct {
	source string
	path   string // on the host
	size   int64
	digest string
	// seen is the installed file when its content was last compared. One that was not touched since is not read again.
	seen fs.FileInfo
}

func newProgram(source, binDir string) (*program, error) {
	digest, size, err := hashFile(source)
	if err != nil {
		return nil, fmt.Errorf("read the program to install: %w", err)
	}
	return &program{source: source, size: size, digest: digest, path: filepath.Join(binDir, "kritis-"+digest[:16])}, nil
}

func hashFile(path string) (string, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	size, err := io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), size, err
}

// install puts the binary into place, and says whether it was not there.
func (p *program) install() (bool, error) {
	have, err := os.Lstat(p.path)
	if err == nil && p.intact(have) {
		return false, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err := os.MkdirAll(filepath.Dir(p.path), 0o755); err != nil {
		return false, err
	}
	if err := durable.Sweep(filepath.Dir(p.path)); err != nil {
		return false, err
	}
	source, err := os.Open(p.source)
	if err != nil {
		return false, err
	}
	defer source.Close()
	if err := durable.Write(p.path, source, 0o755, durable.Owner{}); err != nil {
		return false, err
	}
	if have, err = os.Lstat(p.path); err != nil || !p.intact(have) {
		return true, fmt.Errorf("%s is not what was written there: %w", p.path, cmp.Or(err, errors.New("something else writes to it")))
	}
	return true, nil
}

// intact says whether the installed file is the program, whole.
func (p *program) intact(have fs.FileInfo) bool {
	if !have.Mode().IsRegular() || have.Mode().Perm() != 0o755 || have.Size() != p.size {
		return false
	}
	if p.seen != nil && os.SameFile(p.seen, have) && p.seen.ModTime().Equal(have.ModTime()) {
		return true
	}
	digest, _, err := hashFile(p.path)
	if err != nil || digest != p.digest {
		return false
	}
	p.seen = have
	return true
}

// removeOld removes binaries that are no longer used, but the latest of them.
func (p *program) removeOld() error {
	return removePrograms(filepath.Dir(p.path), keepOld, p.path)
}

// removePrograms removes binaries from a folder, except the newest ones and one that is used.
func removePrograms(dir string, keep int, used string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var old []fs.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil && programName.MatchString(e.Name()) && filepath.Join(dir, e.Name()) != used {
			old = append(old, info)
		}
	}
	slices.SortFunc(old, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	var errs []error
	for _, info := range old[min(keep, len(old)):] {
		errs = append(errs, durable.Remove(filepath.Join(dir, info.Name())))
	}
	return errors.Join(errs...)
}
