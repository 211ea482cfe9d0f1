package alicloudtest_test

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestImports: an emulator that shared code with the product, or with the SDK that the product uses, would share its mistakes.
func TestImports(t *testing.T) {
	files, err := filepath.Glob("*.go")
	check(t, err)
	read := 0
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		read++
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		check(t, err)
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			check(t, err)
			if strings.Contains(imported, ".") && imported != "go.yaml.in/yaml/v3" {
				t.Errorf("%s imports %s", path, imported)
			}
		}
	}
	if read < 15 {
		t.Errorf("only %d files were read", read)
	}
}
