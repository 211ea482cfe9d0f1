package registry

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/verifier"
)

func FuzzParseDockerConfig(f *testing.F) {
	f.Add([]byte(`{"auths":{"a.example":{"auth":"dTpw"},"https://index.docker.io/v1/":{"identitytoken":"x"}},"credsStore":"s","credHelpers":{"b.example":"h"}}`))
	f.Add([]byte(`{"auths":null}`))
	f.Add([]byte(`{"auths":{"a.example/team/":{"username":"u"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		config, err := parseDockerConfig(data)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q", err)
			}
			return
		}
		for key := range config.Auths {
			host, path := splitKey(key)
			config.lookup(host, path)
		}
	})
}

func FuzzParseHosts(f *testing.F) {
	f.Add([]byte("hosts:\n- host: registry.example:5000\n  plainHTTP: true\n  mirrors: [mirror.example/x]\n"))
	f.Add([]byte("hosts: [{host: a, clientCert: c, clientKey: k, caFile: x, tokenHosts: [b]}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		hosts, err := parseHosts(data)
		if err != nil {
			return
		}
		for _, h := range hosts {
			if checkHost(h.Host) != nil {
				t.Errorf("accepted %q", h.Host)
			}
		}
	})
}

func FuzzManifests(f *testing.F) {
	f.Add(classicManifest(f, []byte("payload"), "a", "b"))
	f.Add(bundleManifest(f, []byte("bundle"), signPredicate))
	f.Add(index(f, descriptor(ociManifest, []byte("x"), nil)))
	f.Add([]byte(`{"layers":[null],"manifests":[null]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if layers, err := signatureLayers(data); err == nil && len(layers) > verifier.MaxAttestations {
			t.Errorf("%d layers", len(layers))
		}
		if l, err := bundleLayer(data, imageDigest); err == nil && l != nil && l.MediaType != bundleType {
			t.Errorf("%+v", l)
		}
		if m, err := parseIndex(data); err == nil {
			if bundles, _ := candidates(m.Manifests); len(bundles) > verifier.MaxAttestations {
				t.Errorf("%d bundles", len(bundles))
			}
		}
	})
}

// answering is a registry in place of a network: by the kind of what is asked for.
type answering func(path string) (status int, header http.Header, body []byte)

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	status, header, body := a(r.URL.Path)
	w := httptest.NewRecorder()
	for k, v := range header {
		w.Header()[k] = v
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// FuzzRegistry is a registry that answers anything: manifest, payload, list of referrers, bundle, link to the next page. What is found is
// within the limits and admits nothing, because nobody signed it; what fails is told in one short line.
func FuzzRegistry(f *testing.F) {
	rules := someRules(f)
	payload, bundle := []byte(`{"critical":{}}`), []byte(`{"mediaType":"bundle"}`)
	manifest := bundleManifest(f, bundle, signPredicate)
	list := index(f, object{"mediaType": ociManifest, "digest": digestOf(manifest), "size": len(manifest), "artifactType": bundleType})
	f.Add(classicManifest(f, payload, "first", "second"), payload, list, manifest, bundle, "", 200)
	f.Add(classicManifest(f, payload, "first"), []byte("other"), index(f), []byte("{}"), []byte{}, `</v2/team/app/referrers/x?n=2>; rel="next"`, 200)
	f.Add([]byte(`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":"unknown tag"}]}`), payload, list, manifest, bundle, "<?n=1>; rel=next", 404)
	f.Add([]byte(`{"errors":[{"code":"TOOMANYREQUESTS","message":"pull rate limit"}]}`), payload, []byte("<html>"), manifest, bundle, "", 429)
	f.Fuzz(func(t *testing.T, classic, payload, referrers, manifest, bundle []byte, link string, status int) {
		if status < 200 || status > 599 {
			status = 200
		}
		requests := 0
		rt := answering(func(path string) (int, http.Header, []byte) {
			requests++
			switch {
			case strings.HasSuffix(path, ".sig"):
				return status, http.Header{}, classic
			case strings.Contains(path, "/referrers/"):
				header := http.Header{}
				if link != "" {
					header.Set("Link", link)
				}
				return 200, header, referrers
			case strings.Contains(path, "/manifests/"):
				return 200, http.Header{}, manifest
			case strings.HasSuffix(path, digestOf(bundle)):
				return 200, http.Header{}, bundle
			default:
				return 200, http.Header{}, payload
			}
		})
		s := &session{endpoint: endpoint{"r.example", "team/app"}, base: url.URL{Scheme: "https", Host: "r.example", Path: "/v2/team/app"}, client: &http.Client{Transport: rt, CheckRedirect: limitRedirects}}
		for _, read := range []func(context.Context, verifier.Digest, *attestations.List) error{s.classic, s.bundles} {
			var found attestations.List
			err := survive(func() error { return read(t.Context(), imageDigest, &found) })
			if err != nil && (strings.Contains(err.Error(), "a bug of this program") || len(err.Error()) > 4<<10) {
				t.Errorf("%v", err)
			}
			if err != nil && strings.ContainsAny(singleLine(err).Error(), "\n") {
				t.Errorf("%q", err)
			}
			if len(found.Items()) > verifier.MaxAttestations {
				t.Errorf("%d attestations", len(found.Items()))
			}
			if v := rules.Decide(verifier.Request{Namespace: "prod", Image: "r.example/team/app@" + string(imageDigest)}, fuzzImage{}, fuzzFound(found.Items())); v.Admits() {
				t.Errorf("%+v", v)
			}
		}
		if requests > 2+2*maxPages+4*verifier.MaxAttestations {
			t.Errorf("%d requests", requests)
		}
	})
}

// someRules demand a signature by a key that nobody else has.
func someRules(f *testing.F) verifier.Rules {
	f.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		f.Fatal(err)
	}
	set, problems := verifier.Compile(verifier.Document{
		Authorities: []verifier.AuthoritySpec{{Namespace: "prod", Name: "team", Keys: []verifier.KeySpec{{
			PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), Algorithms: []string{"ECDSA_SHA_256"}}}}},
		Policies: []verifier.PolicySpec{{Namespace: "prod", Name: "p", AuthorityNames: []string{"team"}}},
	})
	if len(problems) > 0 {
		f.Fatal(problems)
	}
	return verifier.Rules{Cluster: set}
}

type fuzzImage struct{}

func (fuzzImage) Digests(verifier.Reference) ([]verifier.Digest, error) {
	return []verifier.Digest{imageDigest}, nil
}
func (fuzzImage) Named(verifier.Reference) (bool, error) { return false, nil }

type fuzzFound []verifier.Attestation

func (f fuzzFound) Attestations(string, verifier.Digest) ([]verifier.Attestation, error) {
	return f, nil
}

// FuzzErrorBody: whatever a registry or token server writes into an error, neither its free text nor our password gets into ours.
func FuzzErrorBody(f *testing.F) {
	f.Add(401, []byte(`{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":[{"Type":"repository","Action":"pull"}]}]}`))
	f.Add(429, []byte(`{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}`))
	f.Add(500, []byte("hunter2-the-password\n\x1b[31m"))
	f.Add(404, []byte(`{"errors":[{"code":"hunter2-the-password"}]}`))
	f.Fuzz(func(t *testing.T, status int, data []byte) {
		if status < 300 || status > 599 {
			status = 500
		}
		u := &url.URL{Scheme: "https", Host: "r.example", Path: "/v2/", RawQuery: "token=hunter2-the-password"}
		resp := &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(string(data))), Request: &http.Request{Method: http.MethodGet, URL: u}}
		err := transport.CheckError(resp, http.StatusOK)
		for _, e := range []error{err, &url.Error{Op: "Get", URL: u.String(), Err: err}, fmt.Errorf("%s?%s", "https://u:hunter2-the-password@r.example/", data)} {
			text := redact(e, []string{"hunter2-the-password"})
			if strings.Contains(text, "hunter2-the-password") || strings.ContainsAny(text, "\n\r\x1b") || len(text) > 2*maxErrorText || text == "" {
				t.Errorf("%q", text)
			}
		}
	})
}
