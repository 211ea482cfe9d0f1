package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	metricName    = regexp.MustCompile(`^kritis_(plugin|policyagent|node|events|webhook|controller)_[a-z_]+$`)
	metricCell    = regexp.MustCompile("`(kritis_[a-z_]+)(?:\\{([a-z,]+)\\})?`")
	agentMetric   = regexp.MustCompile(`^[a-z]+(_[a-z]+)+$`)
	metricFolders = []string{"../plugin", "../policyagent"}
)

// exposed returns the names of all metrics in the code of nodes and webhook: what is written as a name of one, and what
// the agent's collector puts its prefix before.
func exposed(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, folder := range metricFolders {
		err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					if f, ok := n.Fun.(*ast.Ident); ok && (f.Name == "gauge" || f.Name == "count") && path == "../policyagent/metrics.go" {
						if name := literal(n.Args[0]); agentMetric.MatchString(name) {
							names["kritis_policyagent_"+name] = true
						}
					}
				case *ast.BasicLit:
					if name := literal(n); metricName.MatchString(name) && !strings.HasSuffix(name, "_") {
						names[name] = true
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}

func literal(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	text, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return text
}

// The tables of metrics name what the code exposes, all of it and nothing else. What each package really serves, labels
// included, its own tests compare.
func TestMetricsAreDocumented(t *testing.T) {
	_, section, ok := strings.Cut(read(t, "cluster.md"), "\n## Metrics\n")
	if !ok {
		t.Fatal("there is no section")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	documented := map[string]bool{}
	for row := range strings.Lines(section) {
		cell, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " | ")
		if !strings.HasPrefix(row, "| `") {
			continue
		}
		for _, m := range metricCell.FindAllStringSubmatch(cell, -1) {
			if documented[m[1]] {
				t.Errorf("%s is there twice", m[1])
			}
			documented[m[1]] = true
		}
	}
	code := exposed(t)
	if len(code) < 50 {
		t.Errorf("found %d metrics only: %v", len(code), slices.Sorted(maps.Keys(code)))
	}
	for name := range code {
		if !documented[name] {
			t.Errorf("cluster.md does not have %s", name)
		}
	}
	for name := range documented {
		if !code[name] && metricName.MatchString(name) {
			t.Errorf("cluster.md has %s, which nothing exposes", name)
		}
	}
}
