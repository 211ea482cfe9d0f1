package policydir

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxErrors is how many errors are reported. A file of the wrong kind would have thousands.
const maxErrors = 100

// failures collects errors that name their place.
type failures struct {
	errs []error
	more int
}

// at reports what is wrong with a field, and what to do.
func (f *failures) at(file string, n *yaml.Node, field, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if field != "" {
		text = field + ": " + text
	}
	f.add(fmt.Errorf("%s:%d: %s", file, n.Line, text))
}

func (f *failures) add(err error) {
	if len(f.errs) == maxErrors {
		f.more++
		return
	}
	f.errs = append(f.errs, err)
}

// err joins what was reported, a line each.
func (f *failures) err() error {
	if f.more > 0 {
		return errors.Join(append(f.errs, fmt.Errorf("and %d more errors", f.more))...)
	}
	return errors.Join(f.errs...)
}

// find returns the node of a field such as "spec.patterns[0].namespace", or the deepest that exists on the way.
func find(n *yaml.Node, field string) *yaml.Node {
	for _, step := range strings.Split(strings.ReplaceAll(field, "[", ".["), ".") {
		next := child(n, step)
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

func child(n *yaml.Node, step string) *yaml.Node {
	if digits, ok := strings.CutPrefix(step, "["); ok {
		i, err := strconv.Atoi(strings.TrimSuffix(digits, "]"))
		if err != nil || n.Kind != yaml.SequenceNode || i < 0 || i >= len(n.Content) {
			return nil
		}
		return n.Content[i]
	}
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == step {
			return n.Content[i+1]
		}
	}
	return nil
}

// text returns the value of a plain field, if it is text.
func text(n *yaml.Node, name string) string {
	if v := child(n, name); v != nil && v.Kind == yaml.ScalarNode && v.ShortTag() == "!!str" {
		return v.Value
	}
	return ""
}

// brief shortens what somebody wrote for an error message, and quotes it.
func brief(s string) string {
	if len(s) > 100 {
		s = s[:100] + "…"
	}
	return strconv.Quote(s)
}
