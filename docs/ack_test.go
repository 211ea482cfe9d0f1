package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// code returns the files of a package that are not tests.
func code(t *testing.T, folder string) []*ast.File {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var all []*ast.File
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(folder, e.Name()), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, file)
	}
	return all
}

// firstText returns the first text in an expression.
func firstText(e ast.Expr) string {
	text := ""
	ast.Inspect(e, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && text == "" {
			text = literal(lit)
		}
		return text == ""
	})
	return text
}

// cloudTexts returns how the texts of the client's errors begin.
func cloudTexts(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, file := range code(t, "../policyagent/alicloud") {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Text" {
					all = append(all, firstText(n.Value))
				}
			case *ast.AssignStmt:
				for i, left := range n.Lhs {
					if s, ok := left.(*ast.SelectorExpr); ok && s.Sel.Name == "Text" && len(n.Lhs) == len(n.Rhs) {
						all = append(all, firstText(n.Rhs[i]))
					}
				}
			case *ast.CallExpr:
				if s, ok := n.Fun.(*ast.SelectorExpr); ok && (s.Sel.Name == "unfit" || s.Sel.Name == "unauthenticated") && len(n.Args) == 2 {
					all = append(all, firstText(n.Args[1]))
				}
			}
			return true
		})
	}
	return all
}

// Whatever the client says of the cloud, a user can look up.
func TestWhatTheCloudSaysIsExplained(t *testing.T) {
	page := strings.ReplaceAll(read(t, "troubleshooting.md"), "`", "")
	found := 0
	for _, text := range cloudTexts(t) {
		p := strings.Trim(phrase(text), " (,:")
		if len(p) < 6 {
			continue // no more than a value
		}
		found++
		if !strings.Contains(page, p) {
			t.Errorf("troubleshooting.md does not explain %q", p)
		}
	}
	if found < 25 {
		t.Errorf("found %d texts only: where are they?", found)
	}
}

// Conditions and events of Security Center's objects are on both pages.
func TestReasonsOfSecurityCenterAreExplained(t *testing.T) {
	reason := regexp.MustCompile(`^(Reason|Event)[A-Z]`)
	found := 0
	for _, file := range code(t, "../policyagent/securitycenter") {
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || !reason.MatchString(spec.Names[0].Name) {
				return true
			}
			found++
			word := "`" + literal(spec.Values[0]) + "`"
			for page, as := range map[string]string{"cluster.md": word, "troubleshooting.md": "\n| " + word + " |"} {
				if !strings.Contains(read(t, page), as) {
					t.Errorf("%s does not have %s", page, as)
				}
			}
			return true
		})
	}
	if found < 9 {
		t.Errorf("found %d reasons only", found)
	}
}

// The RAM actions of ack.md are those that the client asks for: one less, and something is refused; one more is a right too many.
func TestRAMActionsAreThoseOfTheCode(t *testing.T) {
	name := regexp.MustCompile(`^(Describe|Get|List|Asymmetric)[A-Z][A-Za-z]+$`)
	asked := map[string]bool{}
	for _, file := range code(t, "../policyagent/alicloud") {
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && name.MatchString(literal(lit)) {
				asked[literal(lit)] = true
			}
			return true
		})
	}
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("`(?:yundun-sas|kms|cr):([A-Za-z]+)`").FindAllStringSubmatch(read(t, "ack.md"), -1) {
		documented[m[1]] = true
	}
	delete(documented, "PullRepository") // the registry asks for it, not we
	for action := range asked {
		if !documented[action] {
			t.Errorf("ack.md does not have %s, which is asked for", action)
		}
	}
	for action := range documented {
		if !asked[action] {
			t.Errorf("ack.md has %s, which nothing asks for", action)
		}
	}
	if len(asked) < 10 {
		t.Errorf("found %d actions only: %v", len(asked), asked)
	}
}

// Values that pages name are in the chart.
func TestValuesOfAlibabaCloudAreThere(t *testing.T) {
	var values map[string]any
	if err := yaml.Unmarshal([]byte(read(t, "../daemonset/chart/values.yaml")), &values); err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range pages(t) {
		for _, path := range regexp.MustCompile(`\balicloud(?:\.[a-z][A-Za-z]*)+`).FindAllString(read(t, page), -1) {
			if strings.HasSuffix(path, ".yaml") || strings.HasSuffix(path, ".go") {
				continue
			}
			found++
			at, names := any(values), strings.Split(path, ".")
			for i, name := range names {
				fields, ok := at.(map[string]any)
				if free := i > 0 && slices.Contains([]string{"domains", "endpoints"}, names[i-1]); free && ok {
					break // users name what is in these
				}
				if at, ok = fields[name]; !ok {
					t.Errorf("%s names %s, which the chart does not have", page, path)
					break
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("pages name %d values only", found)
	}
}
