package folder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/policyagent/attestations/statement"
	"github.com/kritis-node/kritis-node/verifier"
)

// maxEntries is the number of files in the folder, those of other digests included.
const maxEntries = 20_000

// Source reads attestations from a folder. It keeps nothing, so new files count at once.
type Source struct {
	dir string
}

var _ attestations.Source = (*Source)(nil)

// New returns a source, or an error if there is no such folder.
func New(dir string) (*Source, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("folder of attestations: %w; make it, or name another", err)
	}
	return &Source{dir}, root.Close()
}

// Name returns "folder" and its path.
func (s *Source) Name() string { return "folder " + s.dir }

// Attestations returns what the files of the digest hold, in order of their names.
func (s *Source) Attestations(ctx context.Context, _ string, d verifier.Digest) ([]verifier.Attestation, error) {
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return nil, fmt.Errorf("folder of attestations: %w; make it again", err)
	}
	defer root.Close()
	names, err := fileNames(root, "sha256-"+d.Hex())
	if err != nil {
		return nil, fmt.Errorf("folder of attestations %s: %w", s.dir, err)
	}
	var list attestations.List
	var failed []string
	for _, name := range names {
		if ctx.Err() != nil {
			failed = append(failed, "the rest was not read in time")
			break
		}
		a, err := read(root, name)
		if err == nil {
			a.Source = clip(s.dir+"/"+name, attestations.MaxText)
			err = list.Add(a)
		}
		if err != nil {
			failed = append(failed, fmt.Sprintf("%s: %v", name, err))
		}
	}
	if len(failed) > 3 {
		failed = append(failed[:3], fmt.Sprintf("and %d more", len(failed)-3))
	}
	if failed != nil {
		err = fmt.Errorf("folder of attestations %s: %s", s.dir, strings.Join(failed, "; "))
	}
	return list.Items(), err
}

// fileNames lists the files whose names begin so, at most one more than can count.
func fileNames(root *os.Root, prefix string) ([]string, error) {
	dir, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var names []string
	for seen := 0; ; {
		entries, err := dir.ReadDir(512)
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), prefix) && strings.HasSuffix(e.Name(), ".json") {
				names = append(names, e.Name())
			}
		}
		if seen += len(entries); seen > maxEntries {
			return nil, fmt.Errorf("it has more than %d files: remove old ones", maxEntries)
		}
		if len(names) > verifier.MaxAttestations {
			return nil, fmt.Errorf("more than %d files are about the digest: remove old ones", verifier.MaxAttestations)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(names)
	return names, nil
}

func read(root *os.Root, name string) (verifier.Attestation, error) {
	// Root follows links within the folder only. Without O_NONBLOCK a pipe would hold us up for ever.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		if inner, ok := errors.AsType[*fs.PathError](err); ok {
			err = inner.Err
		}
		return verifier.Attestation{}, fmt.Errorf("%w; put a readable file there", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return verifier.Attestation{}, err
	}
	if !info.Mode().IsRegular() {
		return verifier.Attestation{}, errors.New("it is not a regular file; remove it")
	}
	data, err := io.ReadAll(io.LimitReader(f, statement.MaxSize+1))
	if err != nil {
		return verifier.Attestation{}, err
	}
	return statement.Parse(data)
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
