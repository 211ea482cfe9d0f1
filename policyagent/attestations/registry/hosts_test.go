package registry

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

func TestReadHosts(t *testing.T) {
	got, err := ReadHosts(write(t, "hosts.yaml", `
hosts:
- host: registry.example:5000
  plainHTTP: true
  mirrors: ["mirror.example", "mirror.example:80/cache/of"]
- {host: docker.io, caFile: /ca.pem, clientCert: /c, clientKey: /k, tokenHosts: [auth.docker.io]}
- {host: self.example, insecureSkipVerify: true}
`))
	want := []Host{
		{Host: "registry.example:5000", PlainHTTP: true, Mirrors: []string{"mirror.example", "mirror.example:80/cache/of"}},
		{Host: "docker.io", CAFile: "/ca.pem", ClientCert: "/c", ClientKey: "/k", TokenHosts: []string{"auth.docker.io"}},
		{Host: "self.example", InsecureSkipVerify: true},
	}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v\n%s", err, cmp.Diff(want, got))
	}
	s, err := New(Config{Hosts: []Host{got[0], got[2]}, UnsafeCredentialHelpers: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(s.Unsafe(), ", "); got != "plainHTTP for registry.example:5000, insecureSkipVerify for self.example, credential helpers" {
		t.Error(got)
	}
}

func TestHostsThatAreRefused(t *testing.T) {
	for yaml, want := range map[string]string{
		`hosts: [{host: a.example, skipVerify: true}]`: "skipVerify",
		`host: []`: "host",
		`hosts: [{host: a.example, host: b.example}]`:                                               "host",
		`hosts: [{host: "https://a.example"}]`:                                                      "hosts[0].host",
		`hosts: [{host: "a.example/x"}]`:                                                            "without scheme and path",
		`hosts: [{host: A.example}]`:                                                                "lower case",
		`hosts: [{host: "a.example:"}]`:                                                             "hosts[0].host",
		`hosts: [{plainHTTP: true}]`:                                                                "hosts[0].host",
		`hosts: [{host: "user:password@a.example"}]`:                                                "hosts[0].host",
		`hosts: [{host: a.example}, {host: "a.example:443"}]`:                                       "hosts[1].host: \"a.example:443\" is there twice",
		`hosts: [{host: docker.io}, {host: index.docker.io}]`:                                       "is there twice",
		`hosts: [{host: a.example, clientCert: /c}]`:                                                "set both or none",
		`hosts: [{host: a.example, plainHTTP: true, caFile: /c}]`:                                   "mean nothing without TLS",
		`hosts: [{host: a.example, mirrors: ["https://m.example"]}]`:                                "hosts[0].mirrors[0]",
		`hosts: [{host: a.example, mirrors: ["m.example/"]}]`:                                       "final slash",
		`hosts: [{host: a.example, mirrors: ["m.example/../x"]}]`:                                   "mirrors[0]",
		`hosts: [{host: a.example, tokenHosts: ["https://x.example"]}]`:                             "tokenHosts[0]",
		"hosts: [{host: a.example, mirrors: [" + strings.Repeat("m.example,", maxMirrors+1) + "]}]": "there are 9 and may be 8",
	} {
		_, err := parseHosts([]byte(yaml))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %q", yaml, err, want)
		}
	}
	many := func(n int) []byte {
		var b strings.Builder
		b.WriteString("hosts:\n")
		for i := range n {
			fmt.Fprintf(&b, "- host: a%d.example\n", i)
		}
		return []byte(b.String())
	}
	if _, err := parseHosts(many(maxHosts)); err != nil {
		t.Error(err)
	}
	if _, err := parseHosts(many(maxHosts + 1)); err == nil {
		t.Error("one host too many was accepted")
	}
	if _, err := parseHosts([]byte("hosts: [{host: a.example, mirrors: [" + strings.Repeat("m.example,", maxMirrors) + "]}]")); err != nil {
		t.Error(err)
	}
	for n, ok := range map[int]bool{maxSettings: true, maxSettings + 1: false} {
		if _, err := ReadHosts(write(t, "hosts.yaml", strings.Repeat(" ", n))); (err == nil) != ok {
			t.Errorf("a file of %d bytes: %v", n, err)
		}
	}
	if _, err := New(Config{Hosts: []Host{{Host: "a.example", CAFile: write(t, "ca", "no PEM")}}}); err == nil || !strings.Contains(err.Error(), "holds no PEM certificate") {
		t.Errorf("%v", err)
	}
	if _, err := New(Config{Hosts: []Host{{Host: "a.example", ClientCert: "/missing", ClientKey: "/missing"}}}); err == nil || !strings.Contains(err.Error(), "loading clientCert") {
		t.Errorf("%v", err)
	}
}

// go-containerregistry would try plain HTTP for localhost and private addresses by itself.
func TestPlainHTTPMustBeConfigured(t *testing.T) {
	for _, name := range []func(*hostile) string{func(h *hostile) string { return hostOf(h.Server) }, byName} {
		h := newHostile(t)
		h.classicOn(t, []byte("payload"), "s")
		_, err := newSource(t, Config{}).Attestations(t.Context(), name(h)+"/team/app", imageDigest)
		if err == nil || len(h.requests()) != 0 {
			t.Errorf("%s: %d requests, %v", name(h), len(h.requests()), err)
		}
	}
}

func TestTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != ping {
			http.NotFound(w, r)
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	host := hostOf(server)
	ca := write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	for name, c := range map[string]struct {
		hosts []Host
		want  string
	}{
		"unknown authority":  {nil, "certificate signed by unknown authority"},
		"known authority":    {[]Host{{Host: host, CAFile: ca}}, ""},
		"skipVerify":         {[]Host{{Host: host, InsecureSkipVerify: true}}, ""},
		"another's settings": {[]Host{{Host: "a.example", InsecureSkipVerify: true}}, "certificate signed by unknown authority"},
		"plain HTTP":         {[]Host{{Host: host, PlainHTTP: true}}, "status 400"},
	} {
		_, err := newSource(t, Config{Hosts: c.hosts}).Attestations(t.Context(), host+"/team/app", imageDigest)
		if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	config, err := tlsConfig(Host{})
	if err != nil || config.MinVersion != tls.VersionTLS12 || config.InsecureSkipVerify {
		t.Errorf("%+v", config)
	}
}

func TestMetadataServicesAreNotRegistries(t *testing.T) {
	s := newSource(t, Config{Hosts: []Host{{Host: "169.254.169.254", PlainHTTP: true}, {Host: "100.100.100.200", PlainHTTP: true}}})
	for _, host := range []string{"169.254.169.254", "100.100.100.200"} {
		if _, err := s.Attestations(t.Context(), host+"/latest/meta-data", imageDigest); err == nil || !strings.Contains(err.Error(), "metadata service") {
			t.Errorf("%s: %v", host, err)
		}
	}
	for address, ok := range map[string]bool{
		"[fe80::1%eth0]:443": false, "[fd00:ec2::254]:80": false, "[::ffff:169.254.169.254]:80": false, "169.254.0.1:443": false,
		"100.100.100.200:443": false, "10.0.0.1:443": true, "127.0.0.1:80": true, "100.100.100.201:443": true, "[2001:db8::1]:443": true,
	} {
		if err := refuseMetadata("tcp", address, nil); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// A public registry must not lead us to services of the node or the network.
func TestRedirectsToPrivateAddresses(t *testing.T) {
	g := guard{transports: newSource(t, Config{Hosts: []Host{{Host: "10.0.0.2"}}}).transports, host: "a.example"}
	from := &http.Response{Request: &http.Request{URL: &url.URL{Scheme: "https", Host: "a.example", Path: "/v2/x"}}}
	for host, ok := range map[string]bool{"10.0.0.1": false, "127.0.0.1:8080": false, "[::1]": false, "192.168.1.1": false, "10.0.0.2": true, "b.example": true, "a.example": true} {
		req := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "https", Host: host}, Response: from}
		if err := g.check(req); (err == nil) != ok {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestRedact(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"query":       {&url.Error{Op: "Get", URL: "https://a.example/?token=" + token, Err: errors.New(`refusing redirect to "https://b.example/x?sig=` + token + `" now`)}, `refusing redirect to "https://b.example/x?…" now`},
		"userinfo":    {fmt.Errorf("dialing https://user:%s@a.example/x", password), "dialing https://…@a.example/x"},
		"secret":      {fmt.Errorf("bad header %s", password), "bad header …"},
		"body":        {fmt.Errorf("no token:\n{%q}", identity), "no token:"},
		"control":     {errors.New("a\x1b[31mb\tc"), "a [31mb c"},
		"long":        {errors.New(strings.Repeat("x", 2*maxErrorText)), strings.Repeat("x", maxErrorText) + "…"},
		"limit":       {errors.New(strings.Repeat("x", maxErrorText)), strings.Repeat("x", maxErrorText)},
		"deadline":    {fmt.Errorf("x: %w", context.DeadlineExceeded), "no answer in time; try again later, and see that the host is reached from this node"},
		"status":      {&transport.Error{StatusCode: 418}, "status 418 I'm a teapot; see that the host is a registry"},
		"status code": {&transport.Error{StatusCode: 401, Errors: []transport.Diagnostic{{Code: "DENIED", Message: token}, {Code: transport.ErrorCode("x" + token)}}}, "status 401 Unauthorized DENIED; give the policy agent credentials that may pull from there"},
	} {
		if got := redact(c.err, []string{"", password}); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
