// Package manifest finds the images in Kubernetes manifests and rewrites them in place: comments, order, quotes and
// white space stay as their author wrote them.
package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Limits of a manifest.
const (
	// MaxSize is the size of a manifest in bytes.
	MaxSize = 16 << 20
	// MaxImages is the number of images in it.
	MaxImages = 10_000

	maxDepth = 100
)

// Image is one place in a manifest where an image is named.
type Image struct {
	// Line and Column are where the value begins, from 1, with its anchor, tag and quotes. Columns count characters.
	Line, Column int
	// Name is the image as written. Of a kustomization, which writes it in pieces, it is what they make together.
	Name string

	// tag is what stands there if the value is a kustomization's newTag; its key is at keyLine and keyColumn.
	tag                string
	keyLine, keyColumn int
}

// containerLists are the members that list containers: of a pod's specification, in whatever object it stands; and of
// Tekton's tasks.
func containerList(name, group string) bool {
	switch name {
	case "containers", "initContainers", "ephemeralContainers":
		return true
	case "steps", "sidecars":
		return group == "tekton.dev"
	}
	return false
}

// oneContainer says whether a member is a container of its own, as in Argo's workflows.
func oneContainer(name, group string) bool {
	return group == "argoproj.io" && (name == "container" || name == "script")
}

// Images returns every image of a manifest: of containers, and of volumes, in the order in which they stand there.
// The manifest may hold several documents, in YAML or JSON.
func Images(data []byte) ([]Image, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("it has more than %d bytes: split it", MaxSize)
	}
	if !utf8.Valid(data) {
		return nil, errors.New("it is not UTF-8")
	}
	var images []Image
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, errors.New(strings.ReplaceAll(err.Error(), "\n", " "))
		}
		top := &doc
		if len(doc.Content) == 1 {
			top = doc.Content[0]
		}
		version := ""
		if v := member(top, "apiVersion"); v != nil {
			version = v.Value
		}
		group, _, _ := strings.Cut(version, "/")
		if err := kustomization(top, &images); err != nil {
			return nil, err
		}
		if err := walk(&doc, group, 0, &images); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(images, func(a, b Image) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	// An anchor is met once where it stands and once for every alias.
	return slices.Compact(images), nil
}

func walk(n *yaml.Node, group string, depth int, images *[]Image) error {
	if depth > maxDepth {
		return fmt.Errorf("line %d: it nests deeper than %d levels", n.Line, maxDepth)
	}
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			var err error
			switch {
			case containerList(key.Value, group) && value.Kind == yaml.SequenceNode:
				err = each(value.Content, images, "image")
			case oneContainer(key.Value, group):
				err = each([]*yaml.Node{value}, images, "image")
			case key.Value == "volumes" && value.Kind == yaml.SequenceNode:
				err = each(value.Content, images, "image", "reference")
			}
			if err != nil {
				return err
			}
		}
	}
	for _, child := range n.Content {
		if err := walk(child, group, depth+1, images); err != nil {
			return err
		}
	}
	return nil
}

// kustomization adds the images to which a kustomization gives tags.
func kustomization(top *yaml.Node, images *[]Image) error {
	list := member(top, "images")
	if list == nil || list.Kind != yaml.SequenceNode || member(top, "spec") != nil {
		return nil
	}
	for _, item := range list.Content {
		name, tag := member(item, "newName"), member(item, "newTag")
		if name == nil {
			name = member(item, "name")
		}
		if name == nil || tag == nil || member(item, "digest") != nil {
			continue
		}
		before := len(*images)
		if err := each([]*yaml.Node{item}, images, "newTag"); err != nil {
			return err
		}
		if item.Kind != yaml.MappingNode || len(*images) == before {
			continue
		}
		i := &(*images)[before]
		i.tag, i.Name = i.Name, name.Value+":"+i.Name
		for k := 0; k+1 < len(item.Content); k += 2 {
			if key := item.Content[k]; key.Value == "newTag" {
				i.keyLine, i.keyColumn = key.Line, key.Column
			}
		}
	}
	return nil
}

// each adds the image that every item of a list has under the path.
func each(list []*yaml.Node, images *[]Image, path ...string) error {
	for _, item := range list {
		n := item
		for _, name := range path {
			n = member(n, name)
		}
		if n == nil || n.Kind != yaml.ScalarNode || n.Tag != "!!str" || n.Value == "" {
			continue
		}
		if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			return fmt.Errorf("line %d: the image's name is a block of text: write it in one line", n.Line)
		}
		if len(*images) == MaxImages {
			return fmt.Errorf("it names more than %d images: split it", MaxImages)
		}
		*images = append(*images, Image{Line: n.Line, Column: n.Column, Name: n.Value})
	}
	return nil
}

func member(n *yaml.Node, name string) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			value := n.Content[i+1]
			if value.Kind == yaml.AliasNode {
				return value.Alias
			}
			return value
		}
	}
	return nil
}

// Rewrite replaces the names of images by what rename returns for them; the same name leaves everything as it is. All
// errors of rename are returned, with their lines.
func Rewrite(data []byte, rename func(string) (string, error)) ([]byte, error) {
	images, err := Images(data)
	if err != nil {
		return nil, err
	}
	const mark = "\ufeff" // of byte order, which no column counts
	text, marked := bytes.CutPrefix(data, []byte(mark))
	lines := splitLines(text)
	var errs []error
	// From the end, so that columns stay what they were.
	for _, image := range slices.Backward(images) {
		name, err := rename(image.Name)
		if err == nil && name != image.Name {
			err = image.replace(lines, name)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", image.Line, err))
		}
	}
	if len(errs) > 0 {
		slices.Reverse(errs)
		return nil, errors.Join(errs...)
	}
	text = bytes.Join(lines, nil)
	if marked {
		text = slices.Concat([]byte(mark), text)
	}
	return text, nil
}

// splitLines splits where YAML's lines end, which is not only at a line feed.
func splitLines(data []byte) [][]byte {
	var lines [][]byte
	begin := 0
	for at := 0; at < len(data); {
		r, size := utf8.DecodeRune(data[at:])
		at += size
		if r == '\r' && at < len(data) && data[at] == '\n' {
			continue
		}
		if r == '\n' || r == '\r' || r == '\u0085' || r == '\u2028' || r == '\u2029' {
			lines = append(lines, data[begin:at])
			begin = at
		}
	}
	return append(lines, data[begin:])
}

// replace writes the name where the image is, or in a kustomization the digest in place of the tag.
func (i Image) replace(lines [][]byte, name string) error {
	if i.tag == "" {
		return replace(lines, i.Line, i.Column, i.Name, name)
	}
	_, digest, ok := strings.Cut(name, "@")
	if !ok {
		return fmt.Errorf("image %s got no digest", i.Name)
	}
	if err := replace(lines, i.Line, i.Column, i.tag, digest); err != nil {
		return err
	}
	return replace(lines, i.keyLine, i.keyColumn, "newTag", "digest")
}

// replace puts text in the place of what is written there.
func replace(lines [][]byte, row, column int, written, text string) error {
	if row < 1 || row > len(lines) {
		return fmt.Errorf("image %s is not where it should be", written)
	}
	line := lines[row-1]
	at := 0
	for range column - 1 {
		_, size := utf8.DecodeRune(line[at:])
		at += size
	}
	for at < len(line) && (line[at] == '&' || line[at] == '!') { // an anchor or a tag stands before the value
		end := bytes.IndexAny(line[at:], " \t")
		if end < 0 {
			break
		}
		at += end + len(line[at+end:]) - len(bytes.TrimLeft(line[at+end:], " \t"))
	}
	if at < len(line) && (line[at] == '"' || line[at] == '\'') {
		at++
	}
	if !bytes.HasPrefix(line[at:], []byte(written)) {
		// Escapes in quotes, a name over several lines: what stands there is not the name itself.
		return fmt.Errorf("image %s is written with escapes or over several lines: write it plainly", written)
	}
	lines[row-1] = slices.Concat(line[:at], []byte(text), line[at+len(written):])
	return nil
}
