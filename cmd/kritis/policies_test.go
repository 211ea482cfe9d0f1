package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestPolicyComesFromOnePlace(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"none":               {nil, "only one of them"},
		"two":                {[]string{"--policy-dir", "x", "--in-cluster"}, "only one of them"},
		"all":                {[]string{"--policy-dir", "x", "--in-cluster", "--kubeconfig", "y"}, "only one of them"},
		"not in a cluster":   {[]string{"--in-cluster"}, "not a pod of a cluster"},
		"no such file":       {[]string{"--kubeconfig", "/does/not/exist"}, "name a readable one"},
		"no policies at all": {[]string{"--policy-dir", ""}, "only one of them"},
	} {
		var out, errs bytes.Buffer
		code := run(append([]string{"policyagent"}, c.args...), strings.NewReader(""), &out, &errs)
		if code != exitUnknown || !strings.Contains(errs.String(), c.want) || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%s: exit code %d, %q", name, code, errs.String())
		}
	}
}

func TestNodeNameComesFromTheEnvironment(t *testing.T) {
	t.Setenv("NODE_NAME", "node-7")
	cmd := newPolicyAgentCommand()
	if got := cmd.Flags().Lookup("node-name").Value.String(); got != "node-7" {
		t.Errorf("%q", got)
	}
}
