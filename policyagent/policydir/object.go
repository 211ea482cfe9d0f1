package policydir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/verifier"
)

// maxObjects is the number of objects in a folder, those of other groups included.
const maxObjects = 10_000

// defaultNamespace is where objects without namespace are. kubectl would take its context's; a file has none.
const defaultNamespace = "default"

// objects collects what the files of a folder hold.
type objects struct {
	document verifier.Document
	notices  []string
	failures failures
	count    int
	places   map[string]string // of each object, to find those that are there twice
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// file adds a file's documents.
func (o *objects) file(name string, data []byte) {
	d := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			line := "1"
			if m := yamlLine.FindStringSubmatch(err.Error()); m != nil && m[1] != "" {
				line = m[1]
			}
			o.failures.add(fmt.Errorf("%s:%s: it is not YAML: %s; correct it", name, line, clip(yamlLine.ReplaceAllString(err.Error(), ""))))
			return // what follows cannot be made out
		}
		if len(doc.Content) == 1 && doc.Content[0].ShortTag() != "!!null" {
			o.object(name, doc.Content[0], false)
		}
	}
}

// object adds an object, or the items of a list of objects.
func (o *objects) object(file string, n *yaml.Node, inList bool) {
	if o.count++; o.count > maxObjects {
		if o.count == maxObjects+1 {
			o.failures.at(file, n, "", "there are more than %d objects in the folder: use several nodes' folders, or a cluster", maxObjects)
		}
		return
	}
	apiVersion, kind := text(n, "apiVersion"), text(n, "kind")
	group, version, _ := strings.Cut(apiVersion, "/")
	ours := slices.Contains([]string{v1beta1.KindAuthority, v1beta1.KindPolicy, v1beta1.KindAllowlist}, strings.TrimSuffix(kind, "List"))
	switch {
	case n.Kind != yaml.MappingNode:
		o.failures.at(file, n, "", "it is %s where an object belongs: write apiVersion, kind, metadata and spec", describe(n))
	case apiVersion == "" || kind == "":
		o.failures.at(file, n, "", "it has no apiVersion or no kind: write apiVersion: %s and one of our kinds", v1beta1.APIVersion)
	case strings.HasSuffix(kind, "List") && (apiVersion == "v1" || group == v1beta1.Group) && !inList:
		o.list(file, n)
	case group != v1beta1.Group && ours:
		o.failures.at(file, find(n, "apiVersion"), "apiVersion", "%s has no %s: write %s", brief(apiVersion), kind, v1beta1.APIVersion)
	case group != v1beta1.Group:
		o.notices = append(o.notices, fmt.Sprintf("%s:%d: %s of %s is not ours and was skipped", file, n.Line, clip(kind), clip(apiVersion)))
	case version != v1beta1.Version:
		o.failures.at(file, find(n, "apiVersion"), "apiVersion", "version %s is not known: write %s", brief(version), v1beta1.APIVersion)
	case kind == v1beta1.KindAuthority:
		var a v1beta1.AttestationAuthority
		o.decode(file, n, &a, &a.ObjectMeta, true, func() v1beta1.Objects {
			return v1beta1.Objects{Authorities: []v1beta1.AttestationAuthority{a}}
		})
	case kind == v1beta1.KindPolicy:
		var p v1beta1.GenericAttestationPolicy
		o.decode(file, n, &p, &p.ObjectMeta, true, func() v1beta1.Objects {
			return v1beta1.Objects{Policies: []v1beta1.GenericAttestationPolicy{p}}
		})
	case kind == v1beta1.KindAllowlist:
		var l v1beta1.AdmissionAllowlist
		o.decode(file, n, &l, &l.ObjectMeta, false, func() v1beta1.Objects {
			return v1beta1.Objects{Allowlists: []v1beta1.AdmissionAllowlist{l}}
		})
	default:
		o.failures.at(file, find(n, "kind"), "kind", "%s has no kind %s: write %s, %s or %s", v1beta1.Group, brief(kind), v1beta1.KindAuthority, v1beta1.KindPolicy, v1beta1.KindAllowlist)
	}
}

// list adds the items of a list, as kubectl prints them.
func (o *objects) list(file string, n *yaml.Node) {
	items := child(n, "items")
	if items == nil || items.Kind != yaml.SequenceNode {
		o.failures.at(file, n, "items", "a list without items: write them, or write the objects one by one")
		return
	}
	for _, item := range items.Content {
		o.object(file, item, true)
	}
}

// decode reads an object into a value and adds what it becomes to the document.
func (o *objects) decode(file string, n *yaml.Node, into any, meta *metav1.ObjectMeta, namespaced bool, value func() v1beta1.Objects) {
	before := len(o.failures.errs) + o.failures.more
	d := decoder{file, &o.failures}
	d.value(n, reflect.ValueOf(into).Elem(), "")
	if namespaced && meta.Namespace == "" {
		meta.Namespace = defaultNamespace
	}
	if len(o.failures.errs)+o.failures.more > before {
		return // what follows would complain about the same again
	}
	document, problems := v1beta1.Document(value())
	for _, p := range problems {
		o.failures.at(file, find(n, p.Field), p.Field, "%s", p.Text)
	}
	key := text(n, "kind") + " " + meta.Namespace + "/" + meta.Name
	if other, twice := o.places[key]; twice {
		o.failures.at(file, n, "", "%s is also in %s: keep one", key, other)
	}
	o.places[key] = fmt.Sprintf("%s:%d", file, n.Line)
	o.document.Authorities = append(o.document.Authorities, document.Authorities...)
	o.document.Policies = append(o.document.Policies, document.Policies...)
	o.document.Allowlist = append(o.document.Allowlist, document.Allowlist...)
}
