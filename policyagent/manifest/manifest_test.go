package manifest

import (
	"fmt"
	"strings"
	"testing"
)

const manifest = `# Ünïcode in a comment, and 日本 before the image:
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {"日本": 日本}}
spec:
  initContainers: [{name: "日本", image: 'init:1'}]   # keep me
  containers:
  - name: app
    image:   app:v1     # the app
    env:
    - {name: image, value: not:me}
  -   image: "r.example:5000/app:v2"
      name: b
  volumes:
  - name: model
    image:
      reference: models/m:1
      pullPolicy: Always
  - name: tmp
    emptyDir: {}
---
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec: {containers: [{image: "app:v1"}, {image: &x other:1}, {image: *x}]}
---
{"kind": "List", "items": [{"spec": {"ephemeralContainers": [{"image": "debug:1"}]}}]}
---
kind: ConfigMap
data:
  containers: |
    - image: not:me
`

func TestImages(t *testing.T) {
	images, err := Images([]byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range images {
		names = append(names, i.Name)
	}
	want := "init:1 app:v1 r.example:5000/app:v2 models/m:1 app:v1 other:1 debug:1"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("images = %s, want %s", got, want)
	}
}

func TestRewrite(t *testing.T) {
	got, err := Rewrite([]byte(manifest), func(name string) (string, error) { return "<" + name + ">", nil })
	if err != nil {
		t.Fatal(err)
	}
	want := manifest
	for _, edit := range [][2]string{
		{"'init:1'", "'<init:1>'"}, {"image:   app:v1     #", "image:   <app:v1>     #"}, {`"r.example:5000/app:v2"`, `"<r.example:5000/app:v2>"`},
		{"models/m:1", "<models/m:1>"}, {`{image: "app:v1"}`, `{image: "<app:v1>"}`}, {"&x other:1", "&x <other:1>"}, {`"debug:1"`, `"<debug:1>"`},
	} {
		want = strings.Replace(want, edit[0], edit[1], 1)
	}
	if string(got) != want {
		t.Errorf("rewritten:\n%s\nwant:\n%s", got, want)
	}
}

func TestRewriteElsewhere(t *testing.T) {
	for name, tc := range map[string]struct{ in, out string }{
		"kustomization": {
			"resources: [a.yaml]\nimages:\n- name: app # ours\n  newTag: v1   # the tag\n- name: x\n  newName: r.example/y\n  newTag: \"v2\"\n- {name: z, digest: 'sha256:1'}\n- {name: q, newName: p}\n",
			"resources: [a.yaml]\nimages:\n- name: app # ours\n  digest: sha256:app:v1   # the tag\n- name: x\n  newName: r.example/y\n  digest: \"sha256:r.example/y:v2\"\n- {name: z, digest: 'sha256:1'}\n- {name: q, newName: p}\n",
		},
		"kustomization with both":   {"images: [{name: app, newTag: v1, digest: 'sha256:1'}]", "images: [{name: app, newTag: v1, digest: 'sha256:1'}]"},
		"kustomization in one line": {"images: [{newTag: 'v1', name: app}]", "images: [{digest: 'sha256:app:v1', name: app}]"},
		"images of another kind":    {"spec: {}\nimages:\n- {name: a, newTag: b}\n", "spec: {}\nimages:\n- {name: a, newTag: b}\n"},
		"Tekton": {
			"apiVersion: tekton.dev/v1\nspec: {steps: [{image: a:1}], sidecars: [{image: b:1}]}\n",
			"apiVersion: tekton.dev/v1\nspec: {steps: [{image: a:1@sha256:a:1}], sidecars: [{image: b:1@sha256:b:1}]}\n",
		},
		"Argo": {
			"apiVersion: argoproj.io/v1alpha1\nspec: {templates: [{container: {image: a:1}}, {script: {image: b:1}}]}\n",
			"apiVersion: argoproj.io/v1alpha1\nspec: {templates: [{container: {image: a:1@sha256:a:1}}, {script: {image: b:1@sha256:b:1}}]}\n",
		},
		"steps elsewhere":      {"apiVersion: v1\nsteps: [{image: a:1}]\n", "apiVersion: v1\nsteps: [{image: a:1}]\n"},
		"carriage returns":     {"containers:\r\n- image: a:1\r\n- image: b:1\r\n", "containers:\r\n- image: a:1@sha256:a:1\r\n- image: b:1@sha256:b:1\r\n"},
		"old carriage returns": {"containers:\r- image: a:1\r- image: b:1\r", "containers:\r- image: a:1@sha256:a:1\r- image: b:1@sha256:b:1\r"},
		"other line ends":      {"# a\u2028# b\u0085containers:\n- image: a:1\n", "# a\u2028# b\u0085containers:\n- image: a:1@sha256:a:1\n"},
		"byte order mark":      {"\ufeffcontainers: [{image: a:1}]\n", "\ufeffcontainers: [{image: a:1@sha256:a:1}]\n"},
		"list of kubectl":      {"apiVersion: v1\nkind: List\nitems:\n- spec: {containers: [{image: a:1}]}\n  status: {containerStatuses: [{image: a:1}]}\n", "apiVersion: v1\nkind: List\nitems:\n- spec: {containers: [{image: a:1@sha256:a:1}]}\n  status: {containerStatuses: [{image: a:1}]}\n"},
	} {
		got, err := Rewrite([]byte(tc.in), func(name string) (string, error) { return name + "@sha256:" + name, nil })
		if err != nil || string(got) != tc.out {
			t.Errorf("%s: %v\n%q\n%q", name, err, got, tc.out)
		}
	}
	if _, err := Rewrite([]byte("images: [{newTag: v1, name: app}]"), func(string) (string, error) { return "app:v2", nil }); err == nil {
		t.Error("a kustomization got a tag for a digest")
	}
}

func TestRewriteKeepsEveryByte(t *testing.T) {
	for name, text := range map[string]string{
		"all of it":        manifest,
		"no newline":       "spec: {containers: [{image: a:1}]}",
		"carriage returns": "spec:\r\n  containers:\r\n  - image: a:1\r\n",
		"nothing":          "",
		"comments only":    "# nothing\n\n---\n# here\n",
	} {
		got, err := Rewrite([]byte(text), func(name string) (string, error) { return name, nil })
		if err != nil || string(got) != text {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		twice, err := Rewrite([]byte(text), func(name string) (string, error) { return strings.ToUpper(name), nil })
		if err != nil || !strings.EqualFold(string(twice), text) {
			t.Errorf("%s: %q, %v", name, twice, err)
		}
	}
}

func TestRewriteErrors(t *testing.T) {
	for name, tc := range map[string]struct{ text, err string }{
		"not YAML":       {"a: [", "line 1"},
		"a template":     {"{{ if .Values.x }}\nimage: a\n{{ end }}\n", ""},
		"escaped":        {"spec: {containers: [{image: \"a\\x3a1\"}]}", "line 1: image a:1 is written with escapes"},
		"folded":         {"containers:\n- image: >\n    a:1\n", "line 2: the image's name is a block"},
		"not UTF-8":      {"containers:\n- image: \xff\n", "UTF-8"},
		"rename fails":   {"containers:\n- image: a:1\n- image: b:1\n", "line 2: no a:1\nline 3: no b:1"},
		"nested too far": {strings.Repeat("{a: ", maxDepth+2) + "1" + strings.Repeat("}", maxDepth+2), "nests"},
	} {
		_, err := Rewrite([]byte(tc.text), func(name string) (string, error) {
			if name == "a:1" && tc.err != "" && !strings.Contains(tc.err, "no a:1") {
				return "new", nil
			}
			return "", fmt.Errorf("no %s", name)
		})
		if err == nil || !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: %v, want %q", name, err, tc.err)
		}
	}
	if _, err := Images(make([]byte, MaxSize+1)); err == nil {
		t.Error("a manifest above the limit was read")
	}
	many := func(n int) []byte { return []byte("containers:\n" + strings.Repeat("- image: a\n", n)) }
	if _, err := Images(many(MaxImages)); err != nil {
		t.Error(err)
	}
	if _, err := Images(many(MaxImages + 1)); err == nil {
		t.Error("more images than the limit were read")
	}
}

func FuzzRewrite(f *testing.F) {
	f.Add([]byte(manifest))
	f.Add([]byte("containers: [{image: 'it''s'}]"))
	f.Add([]byte("images:\n- name: a\n  newTag: b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		same, err := Rewrite(data, func(name string) (string, error) { return name, nil })
		if err == nil && string(same) != string(data) {
			t.Errorf("%q became %q", data, same)
		}
		// Whatever is rewritten can be read again, and names what it was told to name.
		rewritten, err := Rewrite(data, func(string) (string, error) { return "r.example/a@sha256:b", nil })
		if err != nil {
			return
		}
		images, err := Images(rewritten)
		if err != nil {
			t.Fatalf("%q became %q: %v", data, rewritten, err)
		}
		for _, i := range images {
			if i.Name != "r.example/a@sha256:b" {
				t.Errorf("%q became %q, which names %q", data, rewritten, i.Name)
			}
		}
	})
}
