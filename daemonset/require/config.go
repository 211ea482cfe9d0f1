package require

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/kritis-node/kritis-node/plugin/runtimeconfig"
)

const (
	// maxConfig bounds a configuration file, in bytes.
	maxConfig = 4 << 20
	// maxImports bounds how many files are imported.
	maxImports = 1000
	// importMark ends a line that is ours.
	importMark = " # added by kritis install --require"
)

// configVersions are those of config.toml that are understood.
var configVersions = []int64{2, 3, 4}

// mainFile is config.toml.
type mainFile struct {
	// path is as given: relative imports start there. real is where it is written.
	path, real string
	text       []byte
	values     map[string]any
	imports    []string
	importing  bool // has the key, even if empty
}

func readMain(path string) (*mainFile, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("containerd's configuration %s does not exist: name the right file with --containerd-config, or write one with `containerd config default`", path)
	}
	if err != nil {
		return nil, err
	}
	text, err := readBounded(real)
	if err != nil {
		return nil, err
	}
	f := &mainFile{path: path, real: real, text: text}
	if f.values, err = parse(text); err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w; correct it first", path, err)
	}
	if version, _ := f.values["version"].(int64); !slices.Contains(configVersions, version) {
		return nil, fmt.Errorf("%s is of version %d, and 2 to 4 are understood: rewrite it with `containerd config migrate`", path, version)
	}
	list, found := f.values["imports"]
	f.importing = found
	entries, _ := list.([]any)
	for _, e := range entries {
		f.imports = append(f.imports, fmt.Sprint(e))
	}
	return f, nil
}

func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxConfig {
		return nil, fmt.Errorf("%s is no file of at most %d bytes", path, maxConfig)
	}
	return os.ReadFile(path)
}

func parse(text []byte) (map[string]any, error) {
	values := map[string]any{}
	if err := toml.Unmarshal(text, &values); err != nil {
		return nil, errors.New(strings.ReplaceAll(err.Error(), "\n", " "))
	}
	return values, nil
}

// pattern returns an entry of imports as containerd resolves it.
func (f *mainFile) pattern(entry string) string {
	entry = filepath.Clean(entry)
	if !filepath.IsAbs(entry) {
		entry = filepath.Join(filepath.Dir(f.path), entry)
	}
	return entry
}

// dropInFolder returns the folder in which a file of this name is imported.
func (f *mainFile) dropInFolder(name string) (string, bool) {
	for _, entry := range slices.Backward(f.imports) { // the last one is read last
		p := f.pattern(entry)
		if dir := filepath.Dir(p); !strings.Contains(dir, "*") {
			if ok, err := filepath.Match(p, filepath.Join(dir, name)); ok && err == nil {
				return dir, true
			}
		}
	}
	return "", false
}

// imported returns the files that are imported directly, in containerd's order, as if extra existed as well.
func (f *mainFile) imported(imports []string, extra string) ([]string, error) {
	var files []string
	for _, entry := range imports {
		p := f.pattern(entry)
		if !strings.Contains(p, "*") {
			files = append(files, p)
			continue
		}
		matches, err := filepath.Glob(p)
		if err != nil {
			return nil, fmt.Errorf("%s imports %q: %w", f.path, entry, err)
		}
		if ok, _ := filepath.Match(p, extra); ok && !slices.Contains(matches, extra) {
			matches = append(matches, extra)
		}
		slices.Sort(matches)
		files = append(files, matches...)
	}
	if len(files) > maxImports {
		return nil, fmt.Errorf("%s imports more than %d files", f.path, maxImports)
	}
	return files, nil
}

// versionLine is where a line of ours goes: behind it there is certainly no table yet.
var versionLine = regexp.MustCompile(`(?m)^[ \t]*version[ \t]*=[ \t]*[0-9]+[^\n]*(\n|$)`)

// addImport returns the file's text with a line that imports the folder.
func (f *mainFile) addImport(entry string) ([]byte, error) {
	at := versionLine.FindIndex(f.text)
	if at == nil {
		return nil, f.byHand(entry)
	}
	version := f.text[at[0]:at[1]]
	end := "\n"
	if bytes.HasSuffix(version, []byte("\r\n")) {
		end = "\r\n"
	}
	line := fmt.Sprintf("imports = [%q]%s%s", entry, importMark, end)
	if !bytes.HasSuffix(version, []byte("\n")) {
		line = end + strings.TrimSuffix(line, end) // the file has no end of line at its end, and does not get one
	}
	text := slices.Concat(f.text[:at[1]], []byte(line), f.text[at[1]:])
	// The judge of a text's edit are the values: all are as before, and this one is new.
	values, err := parse(text)
	want := withImports(f.values, []any{entry})
	if err != nil || !reflect.DeepEqual(values, want) {
		return nil, f.byHand(entry)
	}
	return text, nil
}

func (f *mainFile) byHand(entry string) error {
	return fmt.Errorf("%s is not understood well enough to add a line to it: add imports = [%q] before the first table yourself, then run the command again", f.path, entry)
}

// removeImport returns the file's text without the line that addImport added, and whether it was there.
func (f *mainFile) removeImport(entry string) ([]byte, bool) {
	line := fmt.Sprintf("imports = [%q]%s", entry, importMark)
	at := bytes.Index(f.text, []byte(line))
	if at < 0 || at > 0 && f.text[at-1] != '\n' {
		return nil, false
	}
	end := at + len(line)
	rest := f.text[end:]
	switch {
	case bytes.HasPrefix(rest, []byte("\r\n")):
		end += 2
	case bytes.HasPrefix(rest, []byte("\n")):
		end++
	case len(rest) > 0:
		return nil, false
	default:
		at = len(bytes.TrimSuffix(f.text[:at], []byte("\n")))
	}
	text := slices.Concat(f.text[:at], f.text[end:])
	values, err := parse(text)
	if err != nil || !reflect.DeepEqual(values, withImports(f.values, nil)) {
		return nil, false
	}
	return text, true
}

// withImports returns the values with other imports, or without.
func withImports(values map[string]any, imports []any) map[string]any {
	out := map[string]any{}
	for k, v := range values {
		if k != "imports" {
			out[k] = v
		}
	}
	if imports != nil {
		out["imports"] = imports
	}
	return out
}

// judge lets containerd's loader say what it would make of the files once the drop-in has this text.
func (f *mainFile) judge(ctx context.Context, imports []string, dropIn, text string) (runtimeconfig.Config, error) {
	dir, err := os.MkdirTemp("", "kritis-require-")
	if err != nil {
		return runtimeconfig.Config{}, err
	}
	defer os.RemoveAll(dir)
	files, err := f.imported(imports, dropIn)
	if err != nil {
		return runtimeconfig.Config{}, err
	}
	staged := filepath.Join(dir, "dropin.toml")
	list := make([]any, len(files))
	for n, file := range files {
		if list[n] = file; file == dropIn {
			list[n] = staged
		}
	}
	main, err := toml.Marshal(withImports(f.values, list))
	if err != nil {
		return runtimeconfig.Config{}, err
	}
	if err := errors.Join(os.WriteFile(staged, []byte(text), 0o600), os.WriteFile(filepath.Join(dir, "config.toml"), main, 0o600)); err != nil {
		return runtimeconfig.Config{}, err
	}
	return runtimeconfig.Load(ctx, filepath.Join(dir, "config.toml"))
}
