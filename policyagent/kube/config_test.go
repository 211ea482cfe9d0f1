package kube

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
)

func TestKubeconfig(t *testing.T) {
	const head = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n"
	for name, c := range map[string]struct {
		text, want string
		unsafe     []string
	}{
		"token":    {head + "clusters: [{name: c, cluster: {server: 'https://api.example'}}]\nusers: [{name: u, user: {token: t}}]\n", "", nil},
		"insecure": {head + "clusters: [{name: c, cluster: {server: 'https://api.example', insecure-skip-tls-verify: true}}]\n", "", []string{"insecure-skip-tls-verify for https://api.example"}},
		"plain":    {head + "clusters: [{name: c, cluster: {server: 'http://api.example'}}]\n", "", []string{"plain HTTP to http://api.example"}},
		"program":  {head + "clusters: [{name: c, cluster: {server: 'https://api.example'}}]\nusers: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/false, interactiveMode: Never}}}]\n", "names a program", nil},
		"empty":    {"apiVersion: v1\nkind: Config\n", "correct it", nil},
		"no YAML":  {"{", "name a readable one", nil},
	} {
		path := filepath.Join(t.TempDir(), "kubeconfig")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Kubeconfig(path, "test")
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err == nil && !slices.Equal(NewPolicies(s).Unsafe(), c.unsafe) {
			t.Errorf("%s: unsafe %q", name, s.Unsafe())
		}
	}
	if _, err := Kubeconfig(filepath.Join(t.TempDir(), "none"), "test"); err == nil {
		t.Error("a kubeconfig that is not there")
	}
}

func TestInCluster(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := InCluster("test"); err == nil || !strings.Contains(err.Error(), "--kubeconfig") {
		t.Error(err)
	}
}

func TestNewServer(t *testing.T) {
	s, err := NewServer(&rest.Config{Host: "https://api.example"}, "kritis-policyagent/v1")
	if err != nil || s.config.UserAgent != "kritis-policyagent/v1" || NewPolicies(s).Name() != "cluster https://api.example" {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := NewServer(&rest.Config{Host: "https://api.example", TLSClientConfig: rest.TLSClientConfig{CAFile: "/none"}}, "test"); err == nil {
		t.Error("a CA that is not there")
	}
}
