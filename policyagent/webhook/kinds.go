package webhook

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limits of what a configuration may add.
const (
	maxTemplates = 64
	maxSegments  = 16
)

// groupKind names a kind in any of its versions.
type groupKind struct{ group, kind string }

// String returns "Deployment.apps", or "Pod" for those of the core group.
func (g groupKind) String() string {
	if g.group == "" {
		return g.kind
	}
	return g.kind + "." + g.group
}

// Template says where objects of a kind have a pod template.
type Template struct {
	kind groupKind
	// path leads to what has a pod's spec: the names of members; one that ends in [] is a list.
	path []string
}

// ParseTemplate reads GROUP/KIND=path.to.template, as in "apps.kruise.io/CloneSet=spec.template". In a path, "tasks[]" is
// each element of a list. A kind with several templates gets one for each.
func ParseTemplate(s string) (Template, error) {
	name, path, ok := strings.Cut(s, "=")
	group, kind, grouped := strings.Cut(name, "/")
	t := Template{groupKind{group, kind}, strings.Split(path, ".")}
	switch {
	case !ok || !grouped || kind == "" || strings.ContainsAny(name, " \t\r\n") || strings.Contains(kind, "/"):
		return Template{}, textError(textTemplateForm, s)
	case len(t.path) > maxSegments:
		return Template{}, fmt.Errorf(textTemplateLong, maxSegments)
	case slices.ContainsFunc(t.path, func(p string) bool { return strings.TrimSuffix(p, "[]") == "" || strings.ContainsAny(p, " \t\r\n*") }):
		return Template{}, textError(textTemplatePath, path)
	case slices.Contains(kinds{}.withoutImages(), t.kind) || builtin()[t.kind] != nil:
		return Template{}, textError(textTemplateKnown, t.kind.String())
	}
	return t, nil
}

// kinds are the kinds that are judged, with the paths of their templates. A pod is its own template.
type kinds map[groupKind][][]string

func builtin() kinds {
	template := [][]string{{"spec", "template"}}
	return kinds{
		{"", "Pod"}:                   {{}},
		{"", "ReplicationController"}: template,
		{"apps", "Deployment"}:        template,
		{"apps", "DaemonSet"}:         template,
		{"apps", "ReplicaSet"}:        template,
		{"apps", "StatefulSet"}:       template,
		{"batch", "Job"}:              template,
		{"batch", "CronJob"}:          {{"spec", "jobTemplate", "spec", "template"}},
	}
}

// withoutImages are kinds that arrive with rules such as "pods/*", and hold no image.
func (kinds) withoutImages() []groupKind {
	return []groupKind{{"autoscaling", "Scale"}, {"policy", "Eviction"}, {"", "Binding"}}
}

func newKinds(templates []Template) (kinds, error) {
	if len(templates) > maxTemplates {
		return nil, fmt.Errorf(textTemplatesMany, maxTemplates)
	}
	all := builtin()
	for _, t := range templates {
		if t.kind.kind == "" || len(t.path) == 0 {
			return nil, errors.New(textTemplateZero)
		}
		all[t.kind] = append(all[t.kind], t.path)
	}
	return all, nil
}
