package verifier

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What this package needs of the standard library. Nothing here does I/O, and nothing may be added that does.
var standardImports = []string{
	"bytes", "cmp", "crypto", "crypto/ecdsa", "crypto/elliptic", "crypto/rsa", "crypto/sha256", "crypto/x509", "encoding/base64",
	"encoding/json", "encoding/pem", "errors", "fmt", "math/big", "slices", "strconv", "strings", "time", "unicode/utf8",
}

func parseSources(t *testing.T) []*ast.File {
	t.Helper()
	var files []*ast.File
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

func TestImports(t *testing.T) {
	for _, f := range parseSources(t) {
		for _, spec := range f.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if path != "github.com/distribution/reference" && !slices.Contains(standardImports, path) {
				t.Errorf("imports %s", path)
			}
		}
	}
}

// The time comes with the request.
func TestNoClock(t *testing.T) {
	for _, f := range parseSources(t) {
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" && s.Sel.Name != "Time" {
					t.Errorf("uses time.%s", s.Sel.Name)
				}
			}
			return true
		})
	}
}

func TestImportClosure(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"github.com/distribution/reference",
		"github.com/kritis-node/kritis-node/verifier",
		"github.com/opencontainers/go-digest",
	}
	if got := slices.Sorted(slices.Values(strings.Fields(string(out)))); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
