package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
)

type keychain struct {
	config string
	err    error
}

func (k keychain) DockerConfigs(context.Context, string) ([][]byte, error) {
	if k.config == "" {
		return nil, k.err
	}
	return [][]byte{[]byte(k.config)}, k.err
}

// One that fails does not hide what the others have.
func TestKeychains(t *testing.T) {
	if joined(nil, nil) != nil {
		t.Error("no keychain is one")
	}
	all := joined(keychain{config: "a"}, nil, keychain{err: errors.New("denied")}, keychain{config: "b"})
	configs, err := all.DockerConfigs(t.Context(), "r")
	if got := string(bytes.Join(configs, []byte(" "))); got != "a b" || err == nil || err.Error() != "denied" {
		t.Errorf("%s, %v", got, err)
	}
}

func TestLoginMisuse(t *testing.T) {
	for want, args := range map[string][]string{
		"is not a custom domain of ACR":      {"--acr-host=a.example"},
		"--acr-host needs --alicloud-config": {"--acr-host=a.example=cn-x/t"},
		"/none":                              {"--alicloud-config", "/none"},
	} {
		for _, command := range [][]string{{"policyagent", "--policy-dir", t.TempDir()}, {"webhook", "--policy-dir", t.TempDir(), "--tls-cert=x", "--tls-key=x"}} {
			var out, errOut bytes.Buffer
			if code := run(append(command, args...), nil, &out, &errOut); code != exitUnknown || !strings.Contains(errOut.String(), want) {
				t.Errorf("%s: %d %s, want %q", command[0], code, &errOut, want)
			}
		}
	}
}
