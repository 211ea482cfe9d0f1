package main

import (
	"bytes"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ocireg "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestResolve(t *testing.T) {
	server := httptest.NewServer(ocireg.New())
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	image, err := random.Image(16, 1)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"v1", "latest"} {
		ref, err := name.ParseReference(host+"/app:"+tag, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, image); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := file("registries.yaml", "hosts:\n- host: "+host+"\n  plainHTTP: true\n")
	empty := file("config.json", "{}")
	pod := func(image string) string { return "containers:\n- image: " + image + " # why\n" }
	good := file("good.yaml", pod(host+"/app:v1"))
	bad := file("bad.yaml", pod(host+"/none:v1"))
	for name, tc := range map[string]struct {
		in        string
		args      []string
		code      int
		out, errs string
	}{
		"tag":               {in: pod(host + "/app:v1"), out: pod(host + "/app@" + digest.String())},
		"no tag":            {in: pod(host + "/app"), out: pod(host + "/app@" + digest.String())},
		"digest stays":      {in: pod(host + "/none@" + digest.String()), out: pod(host + "/none@" + digest.String())},
		"keep the tag":      {in: pod(host + "/app:v1"), args: []string{"--keep-tag"}, out: pod(host + "/app:v1@" + digest.String())},
		"unknown image":     {in: pod(host + "/none:v1"), code: exitUnknown, errs: "standard input: line 2: image " + host + "/none:v1: "},
		"file":              {args: []string{good}, out: pod(host + "/app@" + digest.String())},
		"one file is bad":   {args: []string{good, bad}, code: exitUnknown, errs: bad + ": line 2: image "},
		"write without one": {args: []string{"--write"}, code: exitUnknown, errs: "--write needs files"},
		"no such file":      {args: []string{filepath.Join(dir, "none")}, code: exitUnknown, errs: "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			args := append([]string{"resolve", "--registry-config", config, "--docker-config", empty}, tc.args...)
			code := run(args, strings.NewReader(tc.in), &out, &errOut)
			if code != tc.code || out.String() != tc.out || !strings.Contains(errOut.String(), tc.errs) {
				t.Errorf("exit code %d, output %q, errors %q", code, out.String(), errOut.String())
			}
		})
	}
	var out, errOut bytes.Buffer
	if code := run([]string{"resolve", "--registry-config", config, "--docker-config", empty, "-w", good}, nil, &out, &errOut); code != 0 || out.Len() > 0 {
		t.Errorf("exit code %d, output %q, errors %q", code, out.String(), errOut.String())
	}
	data, err := os.ReadFile(good)
	info, errStat := os.Stat(good)
	if err != nil || errStat != nil || string(data) != pod(host+"/app@"+digest.String()) || info.Mode().Perm() != 0o640 {
		t.Errorf("the file: %q, %v, %v", data, err, errStat)
	}
}
