package alicloud

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// Only this package imports the SDK, and not its typed services: their clients fill a map of the package's without a lock.
func TestOnlyHereIsTheSDK(t *testing.T) {
	const root = "../.."
	files := 0
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (path == filepath.Join(root, "test") || path == filepath.Join(root, "bin") || e.Name() == ".git") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		files++
		for _, spec := range file.Imports {
			name := strings.Trim(spec.Path.Value, `"`)
			if sdk, ok := strings.CutPrefix(name, "github.com/aliyun/"); ok && (filepath.Dir(path) != filepath.Join(root, "policyagent", "alicloud") || strings.Contains(sdk, "/services/")) {
				t.Errorf("%s imports %s", path, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Errorf("looked at %d files only", files)
	}
}
