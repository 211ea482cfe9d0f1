package policydir

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kritis-node/kritis-node/verifier"
)

// Limits of a folder. One more is an error.
const (
	maxFiles  = 1000
	maxFile   = 1 << 20  // bytes
	maxTotal  = 16 << 20 // bytes of all files, so that the snapshot stays below its limit
	maxOthers = 10_000   // entries that are not read
)

// Contents are what a folder holds.
type Contents struct {
	Document verifier.Document
	// Notices are what was skipped, a line each.
	Notices []string
}

// Load reads the folder and returns its policy, or everything that is wrong, joined, a line each.
func Load(dir string) (verifier.Document, error) {
	c, err := Read(dir)
	return c.Document, err
}

// Read is Load with the notices.
func Read(dir string) (Contents, error) {
	// Kubernetes replaces all files of a ConfigMap at once, by turning the link ..data. Half of the old and half of
	// the new could be looser than either.
	for attempt := 0; ; attempt++ {
		before, _ := os.Readlink(filepath.Join(dir, "..data"))
		c, err := read(dir)
		after, _ := os.Readlink(filepath.Join(dir, "..data"))
		if before == after {
			return c, err
		}
		if attempt == 3 {
			return Contents{}, fmt.Errorf("policy folder %s: it changes while it is read; leave it alone for a moment", dir)
		}
	}
}

// Parse is Read for the text of one file. The name is what errors call it.
func Parse(name string, data []byte) (Contents, error) {
	if len(data) > maxFile {
		return Contents{}, fmt.Errorf("%s: it has more than %d bytes; split it", name, maxFile)
	}
	o := objects{places: map[string]string{}}
	o.file(name, data)
	if err := o.failures.err(); err != nil {
		return Contents{}, err
	}
	return Contents{o.document, o.notices}, nil
}

func read(dir string) (Contents, error) {
	names, err := list(dir)
	if err != nil {
		return Contents{}, fmt.Errorf("policy folder %s: %w", dir, err)
	}
	o := objects{places: map[string]string{}}
	total := 0
	for _, name := range names {
		path := filepath.Join(dir, name)
		data, err := readFile(path)
		if err != nil {
			o.failures.add(err)
			continue
		}
		if total += len(data); total > maxTotal {
			o.failures.add(fmt.Errorf("policy folder %s: its files have more than %d bytes together: make them smaller", dir, maxTotal))
			break
		}
		o.file(path, data)
	}
	if err := o.failures.err(); err != nil {
		return Contents{}, err
	}
	return Contents{o.document, o.notices}, nil
}

// list returns the names of the files to read, in order.
func list(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("%w; make it, or name another", unwrap(err))
	}
	defer d.Close()
	var names []string
	for seen := 0; ; {
		entries, err := d.ReadDir(512)
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(e.Name())) {
				seen++
				continue
			}
			names = append(names, e.Name())
		}
		if len(names) > maxFiles {
			return nil, fmt.Errorf("it has more than %d files: put several objects into one", maxFiles)
		}
		if seen > maxOthers {
			return nil, fmt.Errorf("it has more than %d entries that are not policy: name a folder of policies", maxOthers)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w; name a folder", unwrap(err))
		}
	}
	if len(names) == 0 {
		return nil, errors.New("it has no .yaml, .yml or .json file: put policies there, or an empty file if there shall be no policy")
	}
	slices.Sort(names)
	return names, nil
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; put a readable file there", path, unwrap(err))
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: it is not a file; rename or remove it", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; put a readable file there", path, unwrap(err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w; put a readable file there", path, unwrap(err))
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: it has more than %d bytes; split it", path, maxFile)
	}
	return data, nil
}

// unwrap drops the path, which our messages begin with.
func unwrap(err error) error {
	if inner, ok := errors.AsType[*os.PathError](err); ok {
		return inner.Err
	}
	return err
}
