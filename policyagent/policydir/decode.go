package policydir

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// metadata are the fields of Kubernetes' metadata that mean something in a file.
type metadata struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// ignoredMeta are the fields of Kubernetes' metadata that exist, that `kubectl get` prints, and that mean nothing here.
var ignoredMeta = []string{
	"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
	"managedFields", "finalizers", "ownerReferences", "selfLink",
}

// decoder fills Go values from YAML nodes, by the values' json tags. Unlike the YAML library's own it knows the line of
// every complaint, and takes nothing for something else: no numbers for text, no field twice, no unknown field.
type decoder struct {
	file     string
	failures *failures
}

func (d *decoder) value(n *yaml.Node, v reflect.Value, field string) {
	if n.Kind == yaml.AliasNode {
		d.failures.at(d.file, n, field, "aliases are not supported: write it out")
		return
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return // as in Kubernetes: not set
	}
	switch {
	case v.Type() == reflect.TypeFor[metav1.Time]():
		d.time(n, v, field)
	case v.Type() == reflect.TypeFor[metav1.ObjectMeta]():
		var m metadata
		d.object(n, reflect.ValueOf(&m).Elem(), field)
		v.Set(reflect.ValueOf(metav1.ObjectMeta{Name: m.Name, Namespace: m.Namespace, Labels: m.Labels, Annotations: m.Annotations}))
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), field)
	case v.Kind() == reflect.Struct:
		d.object(n, v, field)
	case v.Kind() == reflect.Slice:
		if d.is(n, yaml.SequenceNode, field, "a list") {
			v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
			for i, item := range n.Content {
				d.value(item, v.Index(i), fmt.Sprintf("%s[%d]", field, i))
			}
		}
	case v.Kind() == reflect.Map:
		d.strings(n, v, field)
	case v.Kind() == reflect.Bool:
		if d.scalar(n, "!!bool", field, "true or false") {
			v.SetBool(strings.EqualFold(n.Value, "true"))
		}
	case v.Kind() == reflect.String:
		if d.scalar(n, "!!str", field, "text") {
			v.SetString(n.Value)
		}
	default:
		d.failures.at(d.file, n, field, "this program cannot read fields of type %s: report it as a bug", v.Type())
	}
}

func (d *decoder) is(n *yaml.Node, kind yaml.Kind, field, want string) bool {
	if n.Kind != kind {
		d.failures.at(d.file, n, field, "it is %s where %s belongs: see the documentation of the kind", describe(n), want)
		return false
	}
	return true
}

func (d *decoder) scalar(n *yaml.Node, tag, field, want string) bool {
	if !d.is(n, yaml.ScalarNode, field, want) {
		return false
	}
	if n.ShortTag() != tag {
		advice := "write that"
		if tag == "!!str" {
			advice = "put it in quotes"
		}
		d.failures.at(d.file, n, field, "%s is not %s: %s", brief(n.Value), want, advice)
		return false
	}
	return true
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	default:
		return "a single value"
	}
}

func (d *decoder) time(n *yaml.Node, v reflect.Value, field string) {
	if !d.is(n, yaml.ScalarNode, field, "a time") {
		return
	}
	t, err := time.Parse(time.RFC3339, n.Value)
	if err != nil {
		d.failures.at(d.file, n, field, "%s is not a time: write it like 2026-12-31T00:00:00Z", brief(n.Value))
		return
	}
	v.Set(reflect.ValueOf(metav1.NewTime(t)))
}

// each calls f for every member of an object with a name that is there once.
func (d *decoder) each(n *yaml.Node, field string, f func(key, value *yaml.Node)) {
	if !d.is(n, yaml.MappingNode, field, "an object") {
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge" {
			d.failures.at(d.file, key, field, "only plain names may stand before a colon: write it out")
			continue
		}
		if line, twice := seen[key.Value]; twice {
			d.failures.at(d.file, key, join(field, key.Value), "it is there twice, first in line %d: keep one", line)
			continue
		}
		seen[key.Value] = key.Line
		f(key, n.Content[i+1])
	}
}

func (d *decoder) object(n *yaml.Node, v reflect.Value, field string) {
	fields := map[string]reflect.Value{}
	collect(v, fields)
	if field == "" {
		delete(fields, "status") // the cluster's, which `kubectl get` prints
	}
	d.each(n, field, func(key, value *yaml.Node) {
		if target, ok := fields[key.Value]; ok {
			d.value(value, target, join(field, key.Value))
			return
		}
		ignored := v.Type() == reflect.TypeFor[metadata]() && slices.Contains(ignoredMeta, key.Value) ||
			field == "" && key.Value == "status"
		if !ignored {
			names := slices.Sorted(func(yield func(string) bool) {
				for name := range fields {
					if !yield(name) {
						return
					}
				}
			})
			d.failures.at(d.file, key, join(field, clip(key.Value)), "there is no such field: remove it, or use one of %s", strings.Join(names, ", "))
		}
	})
}

// collect lists the fields of a struct by their names in JSON, those of embedded structs without a name included.
func collect(v reflect.Value, fields map[string]reflect.Value) {
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if name == "" && v.Type().Field(i).Anonymous {
			collect(v.Field(i), fields)
			continue
		}
		fields[name] = v.Field(i)
	}
}

// strings fills a map of text, such as labels.
func (d *decoder) strings(n *yaml.Node, v reflect.Value, field string) {
	m := map[string]string{}
	d.each(n, field, func(key, value *yaml.Node) {
		var s string
		d.value(value, reflect.ValueOf(&s).Elem(), join(field, clip(key.Value)))
		m[key.Value] = s
	})
	v.Set(reflect.ValueOf(m))
}

func join(field, name string) string {
	if field == "" {
		return name
	}
	return field + "." + name
}

func clip(s string) string {
	q := brief(s)
	return q[1 : len(q)-1]
}
