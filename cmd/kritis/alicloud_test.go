package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/alicloudtest"
)

// cloud starts an emulator that knows one user, whose keys are in the environment, and returns the file that says how it is reached.
func cloud(t *testing.T, allow ...string) (*alicloudtest.Emulator, string) {
	t.Helper()
	return cloudWith(t, alicloudtest.Options{}, allow...)
}

func cloudWith(t *testing.T, o alicloudtest.Options, allow ...string) (*alicloudtest.Emulator, string) {
	t.Helper()
	e, err := alicloudtest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	user := e.AddUser(alicloudtest.User{Name: "person", Allow: allow})
	t.Setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", user.AccessKeyID)
	t.Setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", user.AccessKeySecret)
	file := filepath.Join(t.TempDir(), "alicloud.yaml")
	config := "region: cn-hangzhou\ncredentials: {source: AccessKey}\ncaFile: " + e.CAFile() + "\nendpoints: {kms: " + e.Host() + ", cr: " + e.Host() + "}\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return e, file
}

func TestProbeACR(t *testing.T) {
	e, file := cloud(t, "cr:ListInstance", "cr:ListMetadataOccurrences")
	instance, err := e.AddInstance(alicloudtest.Instance{Name: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	digest := "sha256:" + strings.Repeat("a", 64)
	image := "acme-registry.cn-hangzhou.cr.aliyuncs.com/team/app@" + digest
	err = e.AddOccurrence(instance.ID, alicloudtest.Occurrence{
		NoteName: "namespaces/release", ResourceURI: "https://" + image, Payload: []byte("statement"),
		Signatures: []alicloudtest.OccurrenceSignature{{KeyID: "key-1", Value: []byte("signature")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		code int
		says []string
	}{
		"an image":                   {[]string{image}, 0, []string{"INSTANCE  acme", "RESOURCE  https://" + image, "namespaces/release", "experimental"}},
		"as JSON":                    {[]string{image, "-o", "json"}, 0, []string{`"instance": "acme"`, `"NoteName": "namespaces/release"`}},
		"of a note":                  {[]string{image, "--note", "namespaces/other"}, 0, []string{`"TotalCount": 0`}},
		"a custom domain":            {[]string{"images.example/team/app@" + digest, "--instance", "acme", "--region", "cn-hangzhou"}, 0, []string{"INSTANCE  acme", "https://images.example/team/app@"}},
		"a host that is not ACR's":   {[]string{"images.example/team/app@" + digest}, 2, []string{"not in an ACR Enterprise instance"}},
		"a tag":                      {[]string{"acme-registry.cn-hangzhou.cr.aliyuncs.com/team/app:v1"}, 2, []string{"attestations are of digests"}},
		"an instance nobody has":     {[]string{"other-registry.cn-hangzhou.cr.aliyuncs.com/team/app@" + digest}, 2, []string{"other"}},
		"nothing":                    {nil, 2, []string{"accepts 1 arg"}},
		"without a way to the cloud": {[]string{image, "--alicloud-config", ""}, 2, []string{"--alicloud-config"}},
	} {
		code, out, errs := execute(t, program{name: "kritis"}, append([]string{"probe", "acr", "--alicloud-config", file}, tc.args...)...)
		if code != tc.code {
			t.Errorf("%s: exit code %d: %s%s", name, code, out, errs)
		}
		for _, w := range tc.says {
			if !strings.Contains(out+errs, w) {
				t.Errorf("%s: no %q in:\n%s%s", name, w, out, errs)
			}
		}
		if strings.Contains(out+errs, os.Getenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET")) || strings.Contains(out+errs, e.Account()) {
			t.Errorf("%s: a secret or the account is printed", name)
		}
	}
}

// What cannot sign says why before any registry is asked.
func TestSignWithUnusableKeys(t *testing.T) {
	e, file := cloud(t, "kms:DescribeKey", "kms:GetPublicKey", "kms:ListKeyVersions")
	good, err := e.CreateKey(alicloudtest.NewKey{})
	if err != nil {
		t.Fatal(err)
	}
	other, err := e.CreateKey(alicloudtest.NewKey{Spec: "EC_P256"})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		says string
	}{
		"another kind of key":         {[]string{"--key", "alikms://" + other.ID, "--alicloud-config", file}, "RSA_2048"},
		"a key that is not there":     {[]string{"--key", "alikms://alias/none", "--alicloud-config", file}, "kms DescribeKey"},
		"not a key":                   {[]string{"--key", "alikms://what ever", "--alicloud-config", file}, "key"},
		"no configuration":            {[]string{"--key", "alikms://" + good.ID}, "--alicloud-config"},
		"another algorithm":           {[]string{"--key", "alikms://" + good.ID, "--alicloud-config", file, "--algorithm", "MD5"}, "MD5"},
		"an algorithm for a key file": {[]string{"--key", "team.pem", "--algorithm", "RSA_PSS_SHA_256"}, "--algorithm is for keys in KMS"},
	} {
		code, out, errs := execute(t, program{name: "kritis"}, append([]string{"sign", "registry.invalid/app:v1"}, tc.args...)...)
		if code != 2 || !strings.Contains(errs, tc.says) || out != "" {
			t.Errorf("%s: exit code %d: %s%s", name, code, out, errs)
		}
	}
	if n := e.Calls(alicloudtest.Call{Action: "AsymmetricSign"}); n != 0 {
		t.Errorf("KMS signed %d times", n)
	}
}
