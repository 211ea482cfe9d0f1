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
	// Name is the image as written.
	Name string
}

// containerLists are the members of a pod's specification that list containers, in whatever object they stand.
var containerLists = map[string]bool{"containers": true, "initContainers": true, "ephemeralContainers": true}

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
		if err := walk(&doc, 0, &images); err != nil {
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

func walk(n *yaml.Node, depth int, images *[]Image) error {
	if depth > maxDepth {
		return fmt.Errorf("line %d: it nests deeper than %d levels", n.Line, maxDepth)
	}
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			var err error
			switch {
			case containerLists[key.Value] && value.Kind == yaml.SequenceNode:
				err = each(value, images, "image")
			case key.Value == "volumes" && value.Kind == yaml.SequenceNode:
				err = each(value, images, "image", "reference")
			}
			if err != nil {
				return err
			}
		}
	}
	for _, child := range n.Content {
		if err := walk(child, depth+1, images); err != nil {
			return err
		}
	}
	return nil
}

// each adds the image that every item of a list has under the path.
func each(list *yaml.Node, images *[]Image, path ...string) error {
	for _, item := range list.Content {
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
		*images = append(*images, Image{n.Line, n.Column, n.Value})
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
	lines := bytes.SplitAfter(data, []byte("\n"))
	var errs []error
	// From the end, so that columns stay what they were.
	for _, image := range slices.Backward(images) {
		name, err := rename(image.Name)
		if err == nil && name != image.Name {
			err = replace(lines, image, name)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", image.Line, err))
		}
	}
	if len(errs) > 0 {
		slices.Reverse(errs)
		return nil, errors.Join(errs...)
	}
	return bytes.Join(lines, nil), nil
}

func replace(lines [][]byte, image Image, name string) error {
	if image.Line > len(lines) {
		return fmt.Errorf("image %s is not where it should be", image.Name)
	}
	line := lines[image.Line-1]
	at := 0
	for range image.Column - 1 {
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
	if !bytes.HasPrefix(line[at:], []byte(image.Name)) {
		// Escapes in quotes, a name over several lines: what stands there is not the name itself.
		return fmt.Errorf("image %s is written with escapes or over several lines: write it plainly", image.Name)
	}
	lines[image.Line-1] = slices.Concat(line[:at], []byte(name), line[at+len(image.Name):])
	return nil
}
