package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What is wrong with the command line is told in one line, with what to do, and exit code 2.
func TestMisuse(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	dir := t.TempDir()
	kubeconfig := func(user string) string {
		path := filepath.Join(dir, "kubeconfig")
		text := "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n" +
			"contexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: " + user + "}]\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := kubeconfig("{token: x}")
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no cluster":                   {nil, "this is not a pod of a cluster: name a kubeconfig with --kubeconfig"},
		"no kubeconfig":                {[]string{"--kubeconfig", dir + "/none"}, "name a readable one"},
		"no namespace":                 {[]string{"--kubeconfig", plain}, "name it with --namespace"},
		"no service":                   {[]string{"--kubeconfig", plain, "--namespace", "x", "--webhook-service="}, "must all be named"},
		"level":                        {[]string{"--log-level=loud"}, "must be debug, info, warn or error"},
		"format":                       {[]string{"--log-format=xml"}, "must be text or json"},
		"argument":                     {[]string{"x"}, "unknown command"},
		"flag":                         {[]string{"--x"}, "unknown flag"},
		"cleaning without a cluster":   {[]string{"clean"}, "this is not a pod of a cluster: name a kubeconfig with --kubeconfig"},
		"cleaning without a namespace": {[]string{"clean", "--kubeconfig", plain}, "name it with --namespace"},
		"cleaning in no time":          {[]string{"clean", "--kubeconfig", plain, "--namespace", "x", "--timeout=0"}, "give the first more than nothing"},
		"cleaning an argument":         {[]string{"clean", "x"}, "unknown command"},
		"ACR without a cloud":          {[]string{"--kubeconfig", plain, "--namespace", "x", "--acr-host=a.example=cn-x/t"}, "--acr-host needs --alicloud-config"},
		"ACR host":                     {[]string{"--kubeconfig", plain, "--namespace", "x", "--acr-host=a.example"}, "is not a custom domain of ACR"},
		"no API server":                {[]string{"--kubeconfig", plain, "--namespace", "x", "--listen="}, "is it there, and do the credentials hold?"},
	} {
		var out, errOut bytes.Buffer
		if code := run(c.args, &out, &errOut); code != 2 {
			t.Errorf("%s: exit code %d", name, code)
		}
		last := strings.TrimSuffix(errOut.String(), "\n")
		last = last[strings.LastIndex(last, "\n")+1:]
		if !strings.HasPrefix(last, "kritis-controller: ") || !strings.Contains(last, c.want) || out.Len() > 0 {
			t.Errorf("%s: %q", name, errOut.String())
		}
	}
	credentials := kubeconfig("{exec: {apiVersion: client.authentication.k8s.io/v1, command: 'true', interactiveMode: Never}}")
	var out, errOut bytes.Buffer
	if code := run([]string{"--kubeconfig", credentials, "--namespace", "x"}, &out, &errOut); code != 2 || !strings.Contains(errOut.String(), "names a program") {
		t.Errorf("%d %s", code, &errOut)
	}
	if code := run([]string{"--help"}, &out, &errOut); code != 0 || !strings.Contains(out.String(), "KritisEnforcing") {
		t.Errorf("%d %s", code, &out)
	}
}
