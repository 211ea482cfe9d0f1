package kube

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWorkstation(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("HOME", t.TempDir())
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("apiVersion: v1\nkind: Config\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const users = "users: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/false, interactiveMode: Never}}}]\n"
	two := file("two", "current-context: b\ncontexts: [{name: a, context: {cluster: a, user: u}}, {name: b, context: {cluster: b, user: u, namespace: team}}]\n"+
		"clusters: [{name: a, cluster: {server: 'https://a.example'}}, {name: b, cluster: {server: 'https://b.example'}}]\n"+users)
	contexts := file("contexts", "current-context: c\ncontexts: [{name: c, context: {cluster: c, user: u, namespace: merged}}]\n")
	clusters := file("clusters", "clusters: [{name: c, cluster: {server: 'https://c.example'}}]\n"+users)
	for name, c := range map[string]struct {
		env             string
		w               Workstation
		host, namespace string
		err             string
	}{
		"the current context":       {w: Workstation{Kubeconfig: two}, host: "https://b.example", namespace: "team"},
		"a context without one":     {w: Workstation{Kubeconfig: two, Context: "a"}, host: "https://a.example", namespace: "default"},
		"a namespace":               {w: Workstation{Kubeconfig: two, Namespace: "other"}, host: "https://b.example", namespace: "other"},
		"of the environment":        {env: two, host: "https://b.example", namespace: "team"},
		"several files":             {env: contexts + ":" + clusters, host: "https://c.example", namespace: "merged"},
		"a flag wins":               {env: clusters, w: Workstation{Kubeconfig: two}, host: "https://b.example", namespace: "team"},
		"no such context":           {w: Workstation{Kubeconfig: two, Context: "z"}, err: `"z"`},
		"no such file":              {w: Workstation{Kubeconfig: dir + "/none"}, err: "reading the kubeconfig: "},
		"no such file of several":   {env: dir + "/none", err: "no kubeconfig names a cluster: name a file"},
		"nothing":                   {err: "no kubeconfig names a cluster: name a file"},
		"no cluster in the context": {w: Workstation{Kubeconfig: contexts}, err: "contexts names no cluster: correct it"},
		"no YAML":                   {w: Workstation{Kubeconfig: file("bad", "a: [\n")}, err: "reading the kubeconfig: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", c.env)
			s, namespace, err := c.w.Server("test")
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%v, want %q", err, c.err)
				}
				return
			}
			if err != nil || s.Host() != c.host || namespace != c.namespace {
				t.Errorf("%+v, %s, %v", s, namespace, err)
			}
			// What people may use, agents on nodes must not run.
			if c.w.Kubeconfig != "" && c.w.Context == "" {
				if _, err := Kubeconfig(c.w.Kubeconfig, "test"); err == nil || !strings.Contains(err.Error(), "names a program") {
					t.Errorf("as an agent: %v", err)
				}
			}
		})
	}
	t.Setenv("KUBECONFIG", two)
	if !HasKubeconfig() {
		t.Error("a kubeconfig that is there is not seen")
	}
	t.Setenv("KUBECONFIG", dir+"/none")
	if HasKubeconfig() {
		t.Error("a kubeconfig is seen that is not there")
	}
}
