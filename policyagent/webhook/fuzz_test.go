package webhook

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// FuzzReview reads anything as a review, without a panic, and finds what encoding/json finds.
func FuzzReview(f *testing.F) {
	for _, name := range goldenNames(f) {
		f.Add(golden(f, name, "IMAGE", signedImage))
	}
	for _, s := range []string{"", "{", "null", "[[[[", `{"a":1,"a":2}`, `{"request":{"uid":"1","object":{"spec":{"containers":[{"image":"\ud800"},{"image":5}]}}}}`,
		`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","kind":{"kind":"Pod"},"operation":"CREATE","object":{"spec":{"containers":[{"im\u0061ge":"\n\"\\x"}, {}, null],"volumes":[{"image":{"reference":"v"}},{"image":null}]}}}}`,
	} {
		f.Add([]byte(s))
	}
	all := builtin()
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := parseReview(body)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q", err)
			}
			return
		}
		for _, raw := range [][]byte{r.object, r.before} {
			if len(raw) > 0 && !json.Valid(raw) {
				t.Fatalf("%q is no part of it", raw)
			}
		}
		for _, paths := range all {
			if len(r.object) == 0 {
				continue
			}
			found, err := imagesOf(r.object, paths)
			if err != nil {
				continue
			}
			var images []string
			for _, e := range found.entries {
				images = append(images, valid(e.image))
			}
			if want := slow(r.object, paths[0]); !slices.Equal(images, want) {
				t.Errorf("%q, want %q in %s", images, want, r.object)
			}
		}
	})
}

// slow finds the images of an object with encoding/json.
func slow(object []byte, path []string) []string {
	var o any
	if err := json.Unmarshal(object, &o); err != nil {
		return nil
	}
	for _, name := range append(slices.Clone(path), "spec") {
		m, _ := o.(map[string]any)
		o = m[name]
	}
	spec, _ := o.(map[string]any)
	var images []string
	for _, list := range []string{"initContainers", "containers", "ephemeralContainers", "volumes"} {
		items, _ := spec[list].([]any)
		for _, item := range items {
			m, _ := item.(map[string]any)
			image := m["image"]
			if list == "volumes" {
				v, _ := image.(map[string]any)
				image = v["reference"]
			}
			if s, _ := image.(string); s != "" {
				images = append(images, s)
			}
		}
	}
	return images
}

// valid is what encoding/json makes of bytes that are no UTF-8: a replacement character for each.
func valid(s string) string { return string([]rune(s)) }
