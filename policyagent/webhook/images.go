package webhook

import (
	"slices"
	"strings"
)

// maxEntries is how many containers and image volumes of one object are read. The API server takes objects of 3 MiB, in
// which some 60,000 fit that say nothing; Kubernetes itself breaks down long before this number.
const maxEntries = 20_000

// Where an image stands in a pod's spec, in the order in which they are told.
const (
	listInit = iota
	listContainers
	listEphemeral
	listVolumes
	lists
)

// entry is a container or a volume that names an image.
type entry struct {
	list        int
	name, image string
}

// images are those of one object.
type images struct {
	entries []entry
	// more is true if there are more than maxEntries, and the rest was not read.
	more bool
}

// imagesOf reads the images of an object, at each of the paths. Null is an object without any.
func imagesOf(object []byte, paths [][]string) (images, error) {
	var found [lists][]entry
	var all images
	for _, path := range paths {
		c := cursor{data: object}
		if err := c.walk(path, func() error { return c.template(&found, &all.more) }); err != nil {
			return images{}, err
		}
	}
	all.entries = slices.Concat(found[:]...)
	if len(all.entries) > maxEntries {
		all.entries, all.more = all.entries[:maxEntries], true
	}
	return all, nil
}

// walk calls f at each value that the path leads to. A path that leads nowhere is an object without a template.
func (c *cursor) walk(path []string, f func() error) error {
	if len(path) == 0 {
		return f()
	}
	name, isList := strings.CutSuffix(path[0], "[]")
	return c.object(field{name, func() error {
		if isList {
			return c.list(func() error { return c.walk(path[1:], f) })
		}
		return c.walk(path[1:], f)
	}})
}

// template reads what has a pod's spec.
func (c *cursor) template(found *[lists][]entry, more *bool) error {
	return c.object(field{"spec", func() error {
		return c.object(
			c.entries("initContainers", listInit, found, more),
			c.entries("containers", listContainers, found, more),
			c.entries("ephemeralContainers", listEphemeral, found, more),
			c.entries("volumes", listVolumes, found, more),
		)
	}})
}

// entries reads a list of containers or volumes. An element without an image can start nothing, and is left to the API
// server, which wants images in pods, but not in every template.
func (c *cursor) entries(name string, list int, found *[lists][]entry, more *bool) field {
	return field{name, func() error {
		n := 0
		return c.list(func() error {
			if n++; n > maxEntries {
				*more = true
				c.skip()
				return nil
			}
			e := entry{list: list}
			image := c.text("image", &e.image)
			if list == listVolumes {
				image = field{"image", func() error { return c.object(c.text("reference", &e.image)) }}
			}
			if err := c.object(c.text("name", &e.name), image); err != nil {
				return err
			}
			if e.image != "" {
				found[list] = append(found[list], e)
			}
			return nil
		})
	}}
}

// newIn returns the images, each once, of entries that the old object does not have: there, an entry of the same list
// and name has the same image. One of the old excuses one of the new.
func (i images) newIn(before images) []string {
	had := make(map[entry]int, len(before.entries))
	for _, e := range before.entries {
		had[e]++
	}
	seen := map[string]bool{}
	var fresh []string
	for _, e := range i.entries {
		if had[e] > 0 {
			had[e]--
			continue
		}
		if !seen[e.image] {
			seen[e.image] = true
			fresh = append(fresh, e.image)
		}
	}
	return fresh
}
