package alicloud

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadConfig(t *testing.T) {
	const least = "region: cn-hangzhou\ncredentials: {source: RRSA}\n"
	for name, test := range map[string]struct{ yaml, text string }{
		"least": {least, ""},
		"all": {"region: cn-hangzhou\nnetwork: vpc\ncredentials: {source: ECSRole, roleName: r}\nendpoints: {kms: 'kms.{region}.example:8443', sas: 127.0.0.1:1, cr: '[::1]:443', sts: x}\n" +
			"caFile: /ca.pem\ncallsPerSecond: {kms: 10, sas: 1, cr: 2, sts: 3}\n", ""},
		"nothing":                  {"{}", "region: is \"\""},
		"no source":                {"region: cn-hangzhou", "credentials.source: is \"\", must be AccessKey, RRSA or ECSRole"},
		"unknown source":           {"region: cn-hangzhou\ncredentials: {source: Chain}", "credentials.source: is \"Chain\""},
		"unknown field":            {least + "regoin: x\n", "regoin"},
		"unknown field inside":     {"region: cn-hangzhou\ncredentials: {source: RRSA, scource: x}", "scource"},
		"field twice":              {least + "region: cn-shanghai\n", "region"},
		"not YAML":                 {"region: [", "alibaba cloud configuration"},
		"odd region":               {"region: a.b/c\ncredentials: {source: RRSA}", "region: is"},
		"network":                  {least + "network: internal", "network: is \"internal\", must be public or vpc"},
		"endpoint with scheme":     {least + "endpoints: {kms: 'https://x'}", "endpoints.kms: is"},
		"endpoint with a path":     {least + "endpoints: {sts: 'x/y'}", "endpoints.sts: is"},
		"endpoint with a login":    {least + "endpoints: {cr: 'a@x'}", "endpoints.cr: is"},
		"above the quota":          {least + "callsPerSecond: {kms: 51}", "callsPerSecond.kms: is 51, must be 1 to 50"},
		"negative":                 {least + "callsPerSecond: {cr: -1}", "callsPerSecond.cr"},
		"folder of another source": {"region: cn-hangzhou\ncredentials: {source: RRSA, dir: /x}", "credentials.dir"},
		"role of another source":   {"region: cn-hangzhou\ncredentials: {source: RRSA, roleName: x}", "credentials.roleName"},
		"odd role":                 {"region: cn-hangzhou\ncredentials: {source: ECSRole, roleName: ../x}", "credentials.roleName"},
		"metadata elsewhere":       {"region: cn-hangzhou\ncredentials: {source: ECSRole, unsafeMetadataAddress: 'https://x'}", "credentials.unsafeMetadataAddress"},
		"two mistakes":             {"network: x", "region: is \"\", name the region of your keys, such as cn-hangzhou; network: is"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "alicloud.yaml")
			write(t, file, test.yaml)
			_, err := ReadConfig(file)
			if test.text == "" && err != nil || test.text != "" && (err == nil || !strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("got %v, want %q", err, test.text)
			}
		})
	}
	if _, err := ReadConfig(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there was read")
	}
}

// Where a request goes, and that nothing but a region gets into a host's name.
func TestHosts(t *testing.T) {
	public, vpc := Config{Region: "cn-hangzhou"}, Config{Region: "cn-hangzhou", Network: "vpc"}
	custom := Config{Endpoints: Endpoints{KMS: "k.{region}.example:8443", SAS: "{region}.s", CR: "c", STS: "[::1]:1"}}
	for _, test := range []struct {
		config  Config
		service service
		region  string
		want    string
	}{
		{public, kms, "cn-hangzhou", "kms.cn-hangzhou.aliyuncs.com"},
		{vpc, kms, "us-east-1", "kms-vpc.us-east-1.aliyuncs.com"},
		{public, cr, "cn-shanghai", "cr.cn-shanghai.aliyuncs.com"},
		{vpc, cr, "cn-shanghai", "cr-vpc.cn-shanghai.aliyuncs.com"},
		{vpc, sts, "cn-shanghai", "sts-vpc.cn-shanghai.aliyuncs.com"},
		{public, sas, "cn-hangzhou", "tds.cn-shanghai.aliyuncs.com"},
		{public, sas, "cn-hongkong", "tds.cn-shanghai.aliyuncs.com"},
		{vpc, sas, "eu-central-1", "tds.ap-southeast-1.aliyuncs.com"},
		{custom, kms, "cn-hangzhou", "k.cn-hangzhou.example:8443"},
		{custom, sas, "us-west-1", "ap-southeast-1.s"},
		{custom, cr, "us-west-1", "c"},
		{custom, sts, "us-west-1", "[::1]:1"},
		{public, kms, "", ""},
		{public, kms, "evil.example/#", ""},
		{public, kms, "a@evil", ""},
		{public, kms, "x-1.evil", ""},
		{public, kms, "CN-HANGZHOU", ""},
	} {
		if got, ok := test.config.host(test.service, test.region); got != test.want || ok != (test.want != "") {
			t.Errorf("%s in %q: %q, want %q", test.service.name, test.region, got, test.want)
		}
	}
	c := newClient(t, newCloud(t, nil).config(t))
	_, err := c.PublicKey(t.Context(), KeyReference{Region: "evil.example/", ID: "key-abc"})
	wantKind(t, err, Unfit, "DescribeKey", "region")
	_, err = c.Instances(t.Context(), "evil.example/")
	wantKind(t, err, Unfit, "ListInstance", "region")
}

func TestParseKeyReference(t *testing.T) {
	const uuid = "1234abcd-12ab-34cd-56ef-12345678ABCD"
	for in, want := range map[string]KeyReference{
		"key-abc":                             {"", "key-abc", ""},
		"key-abc?version=v-1":                 {"", "key-abc", "v-1"},
		uuid:                                  {"", uuid, ""},
		uuid + "?version=" + uuid:             {"", uuid, uuid},
		"alias/team/qa":                       {"", "alias/team/qa", ""},
		"acs:kms:cn-shanghai:123:key/key-abc": {"cn-shanghai", "key-abc", ""},
		"acs:kms:cn-shanghai:123:key/" + uuid + "?version=v": {"cn-shanghai", uuid, "v"},
		"acs:kms:cn-shanghai:123:alias/qa":                   {"cn-shanghai", "alias/qa", ""},
	} {
		if got, err := ParseKeyReference(in); err != nil || got != want {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "abc", "key-", "key-a b", "alias/", "alias/a?b", "key-abc?version=", "key-abc?version=a/b", "key-abc?other=x", "acs:kms:cn-shanghai", "acs:kms:EVIL.example:1:key/key-abc",
		"acs:kms:cn-shanghai:1:secret/x", "acs:ram::1:role/x", "key/key-abc", "key-abc\n", "1234abcd", uuid + "0", "1234abcd-12ab-34cd-56ef-12345678ABCG", "1234abcd012ab034cd056ef012345678ABCD", strings.Repeat("key-a", 100)} {
		if got, err := ParseKeyReference(in); err == nil || got != (KeyReference{}) || len(err.Error()) > 1000 {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
}

// What loosens security has a name to be logged by, and what prints credentials is refused.
func TestUnsafe(t *testing.T) {
	config := Config{Region: "cn-hangzhou", Credentials: Credentials{Source: SourceECSRole}}
	if config.Unsafe() != nil {
		t.Error(config.Unsafe())
	}
	config.Credentials.UnsafeMetadataAddress = "http://127.0.0.1:1"
	if diff := cmp.Diff([]string{"credentials.unsafeMetadataAddress"}, config.Unsafe()); diff != "" {
		t.Error(diff)
	}
	t.Setenv("DEBUG", "tea,sdk")
	if _, err := New(config); err == nil || !strings.Contains(err.Error(), "DEBUG=sdk") {
		t.Error(err)
	}
}

// Only TLS of today, and only certificates that are trusted.
func TestTLS(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, s *httptest.Server, c *Config){
		"old TLS": func(_ *testing.T, s *httptest.Server, _ *Config) {
			s.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
		},
		"plain": nil,
	} {
		t.Run(name, func(t *testing.T) {
			reached := false
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
			config := newCloud(t, nil).config(t)
			if change == nil {
				s.Start()
			} else {
				change(t, s, &config)
				s.StartTLS()
			}
			t.Cleanup(s.Close)
			config.Endpoints.SAS = s.Listener.Addr().String()
			_, err := newClient(t, config).Witnesses(t.Context())
			wantKind(t, err, Unavailable, "DescribeAttestors", "tls")
			if reached {
				t.Error("it was asked")
			}
		})
	}
	config := newCloud(t, nil).config(t)
	write(t, config.CAFile, "no certificate")
	if _, err := New(config); err == nil || !strings.Contains(err.Error(), "caFile") {
		t.Error(err)
	}
	config.CAFile += "x"
	if _, err := New(config); err == nil || !strings.Contains(err.Error(), "caFile") {
		t.Error(err)
	}
}

func TestErrorsAreErrors(t *testing.T) {
	c := newClient(t, newCloud(t, map[string]string{"DescribeKey": describedKey}).config(t))
	_, err := c.PublicKey(t.Context(), KeyReference{ID: "key-abc", Version: "v"})
	var e *Error
	if !errors.As(err, &e) || e.Kind != NotFound || e.Code != "InvalidAction.NotFound" || e.RequestID != "r" {
		t.Errorf("%+v", err)
	}
}
