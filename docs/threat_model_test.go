package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// shown matches what the threat model names as evidence: a package's folder, a test, and perhaps the name of a case in it.
var shown = regexp.MustCompile("`([a-z0-9/]+) (Test[A-Za-z0-9]+)(?:/([^`]+))?`")

// Each test that the threat model names must exist, under the name that it says.
func TestThreatModelNamesTests(t *testing.T) {
	named := shown.FindAllStringSubmatch(read(t, "threat-model.md"), -1)
	if len(named) < 60 {
		t.Errorf("it names %d tests only", len(named))
	}
	packages := map[string]tests{}
	for _, m := range named {
		folder, test, name := m[1], m[2], m[3]
		if _, ok := packages[folder]; !ok {
			packages[folder] = testsOf(t, filepath.Join("..", folder))
		}
		if !packages[folder].functions[test] {
			t.Errorf("%s has no test %s", folder, test)
		}
		for part := range strings.SplitSeq(name, "/") {
			if !strings.Contains(packages[folder].texts, "\n"+part+"\n") {
				t.Errorf("%s %s has no case %q", folder, test, part)
			}
		}
	}
	// A case without evidence is a claim.
	_, cases, _ := strings.Cut(read(t, "threat-model.md"), "\n## Cases\n")
	cases, _, _ = strings.Cut(cases, "\n## ")
	for line := range strings.Lines(cases) {
		if cells := strings.Split(line, "|"); len(cells) > 4 && !strings.HasPrefix(line, "| case") && !strings.HasPrefix(line, "| ---") && !shown.MatchString(cells[len(cells)-2]) {
			t.Errorf("no test is named for %q", strings.TrimSpace(cells[1]))
		}
	}
}

// tests are what a package's test files hold: functions, and texts that cases may be called by, a line each.
type tests struct {
	functions map[string]bool
	texts     string
}

func testsOf(t *testing.T, folder string) tests {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Errorf("%s has no tests: %v", folder, err)
	}
	found := tests{functions: map[string]bool{}, texts: "\n\n"}
	for _, path := range files {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, source, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				found.functions[n.Name.Name] = n.Recv == nil
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); err == nil {
					found.texts += text + "\n"
				}
			}
			return true
		})
	}
	return found
}
