package acr_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/kritis-node/kritis-node/policyagent/alicloud"
	"github.com/kritis-node/kritis-node/policyagent/attestations/acr"
	"github.com/kritis-node/kritis-node/policyagent/attestations/registry"
	"github.com/kritis-node/kritis-node/policyagent/offnode"
	"github.com/kritis-node/kritis-node/policyagent/signing"
	"github.com/kritis-node/kritis-node/test/alicloudtest"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
	"github.com/kritis-node/kritis-node/verifier"
)

// account is an emulated account with a client, and instances that want a login for everything.
type account struct {
	*alicloudtest.Emulator
	client *alicloud.Client
	// anyHost leads every name to the registry of the instances.
	anyHost *http.Transport
	dir     string
}

func ci() authn.Authenticator { return &authn.Basic{Username: "ci", Password: "hunter2"} }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newAccount(t *testing.T, o alicloudtest.Options) *account {
	t.Helper()
	backend := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(backend.Close)
	o.Registry, o.RegistryTLS = backend.URL, true
	e, err := alicloudtest.Start(o)
	check(t, err)
	t.Cleanup(func() { _ = e.Close() })
	a := &account{Emulator: e, dir: t.TempDir()}
	user := e.AddUser(alicloudtest.User{Name: "controller", Allow: []string{"cr:ListInstance", "cr:ListMetadataOccurrences", "cr:GetAuthorizationToken"}})
	a.write(t, "accessKeyId", user.AccessKeyID)
	a.write(t, "accessKeySecret", user.AccessKeySecret)
	a.client, err = alicloud.New(alicloud.Config{
		Region: e.Region(), CAFile: e.CAFile(), Endpoints: alicloud.Endpoints{CR: e.Host()},
		Credentials:    alicloud.Credentials{Source: alicloud.SourceAccessKey, Dir: a.dir},
		CallsPerSecond: alicloud.CallsPerSecond{CR: 100},
	})
	check(t, err)
	t.Cleanup(a.client.Close)
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM(e.CA())
	a.anyHost = &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: authorities},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, e.RegistryHost())
		},
	}
	t.Cleanup(a.anyHost.CloseIdleConnections)
	return a
}

func (a *account) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(a.dir, name)
	check(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func (a *account) instance(t *testing.T, name, region string, hosts ...string) alicloudtest.Instance {
	t.Helper()
	i, err := a.AddInstance(alicloudtest.Instance{Name: name, Region: region, Hosts: hosts, Logins: map[string]string{"ci": "hunter2"}})
	check(t, err)
	return i
}

// push pushes an image to a repository and returns its digest.
func (a *account) push(t *testing.T, repository string) verifier.Digest {
	t.Helper()
	image, err := random.Image(64, 1)
	check(t, err)
	digest, err := image.Digest()
	check(t, err)
	ref, err := name.ParseReference(repository + ":v1")
	check(t, err)
	check(t, remote.Write(ref, image, remote.WithAuth(ci()), remote.WithTransport(a.anyHost)))
	return verifier.Digest(digest.String())
}

// rule makes an instance sign its namespace with a witness of its own, and returns the witness's key.
func (a *account) rule(t *testing.T, i alicloudtest.Instance, namespace, witness string, pss bool) string {
	t.Helper()
	key, err := a.CreateKey(alicloudtest.NewKey{})
	check(t, err)
	a.PutWitness(alicloudtest.Witness{Name: witness, KeyID: key.ID})
	check(t, a.AddSignatureRule(alicloudtest.SignatureRule{Instance: i.ID, Namespace: namespace, Witness: witness, PSS: pss}))
	return key.Versions[0].PEM
}

// fixed is a registry that knows one image by its digest.
type fixed struct{}

func (fixed) Resolve(_ context.Context, ref verifier.Reference) (registry.Image, error) {
	return registry.Image{Digest: ref.Digest}, nil
}

// judge decides on an image by one authority with one key for one algorithm.
func judge(t *testing.T, s *acr.Source, repository string, d verifier.Digest, pem, algorithm string) verifier.Verdict {
	t.Helper()
	policy, problems := verifier.Compile(verifier.Document{
		Authorities: []verifier.AuthoritySpec{{Namespace: "prod", Name: "a", Keys: []verifier.KeySpec{{PEM: pem, Algorithms: []string{algorithm}}}}},
		Policies:    []verifier.PolicySpec{{Namespace: "prod", Name: "p", AuthorityNames: []string{"a"}}},
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return offnode.Judge(t.Context(), verifier.Rules{Cluster: policy}, verifier.Request{Namespace: "prod", Image: repository + "@" + string(d), Now: time.Now()}, "linux/amd64", fixed{}, s)
}

// What a signature rule of a private instance signed is found under each of its hosts, and proves itself.
func TestEmulatedRuleAttests(t *testing.T) {
	a := newAccount(t, alicloudtest.Options{})
	home, abroad := a.instance(t, "acme", "cn-hangzhou"), a.instance(t, "acme", "ap-southeast-1")
	pkcs := a.rule(t, home, "team", "builder", false)
	pss := a.rule(t, abroad, "team", "auditor", true)
	find := func(notes ...string) *acr.Source {
		t.Helper()
		s, err := acr.New(acr.Config{Cloud: a.client, Notes: func(context.Context) ([]string, error) { return notes, nil }})
		check(t, err)
		return s
	}
	source := find("namespaces/builder", "namespaces/auditor")
	algorithm := map[bool]string{false: verifier.RSAPKCS1SHA256, true: verifier.RSAPSSSHA256}
	for _, place := range []struct {
		region, witness, pem string
		pss                  bool
	}{{"cn-hangzhou", "builder", pkcs, false}, {"ap-southeast-1", "auditor", pss, true}} {
		domain := "." + place.region + ".cr.aliyuncs.com/"
		for _, path := range []string{"team/app", "team/group/sub-group/app"} {
			d := a.push(t, "acme-registry"+domain+path)
			for _, host := range []string{"acme-registry", "acme-registry-vpc", "acme"} {
				repository := host + domain + path
				found, err := source.Attestations(t.Context(), repository, d)
				if err != nil || len(found) != 1 || found[0].Source != "acr acme, note namespaces/"+place.witness {
					t.Fatalf("%s: %+v, %v", repository, found, err)
				}
				// That of another host of the instance would count, too, if we asked for it.
				if !bytes.Contains(found[0].Payload, []byte(`"docker-reference":"`+repository+`"`)) {
					t.Errorf("%s: %s", repository, found[0].Payload)
				}
				if v := judge(t, source, repository, d, place.pem, algorithm[place.pss]); v.Outcome != verifier.Allowed || v.Reason != verifier.Attested {
					t.Errorf("%s: %+v", repository, v)
				}
				for what, v := range map[string]verifier.Verdict{
					"another algorithm": judge(t, source, repository, d, place.pem, algorithm[!place.pss]),
					"another key":       judge(t, source, repository, d, map[bool]string{true: pkcs, false: pss}[place.pss], algorithm[place.pss]),
					"another's note":    judge(t, find("namespaces/other"), repository, d, place.pem, algorithm[place.pss]),
				} {
					if v.Outcome != verifier.Denied || v.Reason != verifier.NotAttested {
						t.Errorf("%s, %s: %+v", repository, what, v)
					}
				}
			}
		}
		unsigned := a.push(t, "acme-registry"+domain+"other/app")
		if found, err := source.Attestations(t.Context(), "acme-registry"+domain+"other/app", unsigned); err != nil || len(found) != 0 {
			t.Errorf("%+v, %v", found, err)
		}
	}
	if failures := a.SigningFailures(); len(failures) > 0 {
		t.Error(failures)
	}
	// The image of one region is not attested by the other's instance.
	d := a.push(t, "acme-registry.cn-hangzhou.cr.aliyuncs.com/team/one")
	if found, err := source.Attestations(t.Context(), "acme-registry.ap-southeast-1.cr.aliyuncs.com/team/one", d); err != nil || len(found) != 0 {
		t.Errorf("%+v, %v", found, err)
	}
	if _, err := source.Attestations(t.Context(), "stranger-registry.cn-hangzhou.cr.aliyuncs.com/team/app", d); err == nil || !strings.Contains(err.Error(), `no ACR instance "stranger"`) {
		t.Errorf("%v", err)
	}
}

// recorder is a registry of somebody else, who would like to have our logins.
type recorder struct {
	*httptest.Server
	mu    sync.Mutex
	asked int
	sent  []string
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	r := &recorder{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.asked++
		if said := req.Header.Get("Authorization") + string(body); said != "" {
			r.sent = append(r.sent, said)
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="give"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *recorder) host() string { return strings.TrimPrefix(r.URL, "http://") }

func (r *recorder) got() (int, []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked, r.sent
}

// signed pushes an image with a cosign signature beside it, as a pipeline with a login of its own does.
func (a *account) signed(t *testing.T, repository string) (verifier.Digest, []byte) {
	t.Helper()
	d := a.push(t, repository)
	pair, err := stack.WriteKey(filepath.Join(a.dir, "team"))
	check(t, err)
	key, err := signing.ReadKeyFile(pair.Private)
	check(t, err)
	payload, err := signing.Payload(repository, d)
	check(t, err)
	signature, err := key.Sign(t.Context(), payload)
	check(t, err)
	host, _, _ := strings.Cut(repository, "/")
	login, err := json.Marshal(map[string]any{"auths": map[string]any{host: map[string]string{"username": "ci", "password": "hunter2"}}})
	check(t, err)
	writer := a.reader(t, registry.Config{DockerConfig: a.write(t, "login.json", string(login))})
	_, err = writer.AddSignature(t.Context(), repository, d, payload, signature, func(s []byte) bool { return key.Made(payload, s) })
	check(t, err)
	return d, payload
}

// reader returns a source that trusts the emulator, and nobody in particular besides.
func (a *account) reader(t *testing.T, c registry.Config) *registry.Source {
	t.Helper()
	c.Hosts = append(c.Hosts, registry.Host{Host: a.RegistryHost(), CAFile: a.CAFile()})
	s, err := registry.New(c)
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

// A temporary login reads what is in a private repository of the instance, and goes nowhere else.
func TestEmulatedLoginsReadPrivateRepositories(t *testing.T) {
	a := newAccount(t, alicloudtest.Options{})
	host := a.RegistryHost()
	a.instance(t, "acme", "cn-hangzhou", host)
	repository := host + "/private/group/app"
	d, payload := a.signed(t, repository)
	logins, err := acr.NewKeychain(a.client, []acr.Host{{Host: host, Instance: "acme", Region: "cn-hangzhou"}})
	check(t, err)
	// Without a login there is nothing to be had.
	if found, err := a.reader(t, registry.Config{}).Attestations(t.Context(), repository, d); err == nil || len(found) != 0 {
		t.Fatalf("the repository is not private: %v, %v", found, err)
	}
	s := a.reader(t, registry.Config{Further: logins})
	for range 3 {
		found, err := s.Attestations(t.Context(), repository, d)
		if err != nil || len(found) != 1 || !bytes.Equal(found[0].Payload, payload) {
			t.Fatalf("%+v, %v", found, err)
		}
	}
	if n := a.Calls(alicloudtest.Call{Service: "cr", Action: "GetAuthorizationToken"}); n != 1 {
		t.Errorf("%d logins for one instance", n)
	}

	// Somebody else's registry, and a mirror of ours, want a login: they get none, of nobody.
	other, mirror := newRecorder(t), newRecorder(t)
	plain := []registry.Host{{Host: other.host(), PlainHTTP: true}, {Host: mirror.host(), PlainHTTP: true}}
	if _, err := a.reader(t, registry.Config{Further: logins, Hosts: plain}).Attestations(t.Context(), other.host()+"/private/group/app", d); err == nil {
		t.Error("a refusal is no attestation")
	}
	mirrored, err := registry.New(registry.Config{Further: logins, Hosts: append(plain, registry.Host{Host: host, CAFile: a.CAFile(), Mirrors: []string{mirror.host()}})})
	check(t, err)
	defer mirrored.Close()
	if found, err := mirrored.Attestations(t.Context(), repository, d); err != nil || len(found) != 1 {
		t.Errorf("%+v, %v", found, err)
	}
	for name, r := range map[string]*recorder{"another registry": other, "a mirror": mirror} {
		if asked, sent := r.got(); asked == 0 || len(sent) > 0 {
			t.Errorf("%s was asked %d times and got logins: %q", name, asked, sent)
		}
	}
	if n := a.Calls(alicloudtest.Call{Service: "cr", Action: "GetAuthorizationToken"}); n != 1 {
		t.Errorf("%d logins, also for hosts that are not of an instance", n)
	}
}

// A login that has ended, or is about to, is replaced.
func TestEmulatedLoginsEnd(t *testing.T) {
	a := newAccount(t, alicloudtest.Options{LoginLife: time.Second})
	host := a.RegistryHost()
	a.instance(t, "acme", "cn-hangzhou", host)
	repository := host + "/private/app"
	d, _ := a.signed(t, repository)
	logins, err := acr.NewKeychain(a.client, []acr.Host{{Host: host, Instance: "acme", Region: "cn-hangzhou"}})
	check(t, err)
	configs, err := logins.DockerConfigs(t.Context(), repository)
	check(t, err)
	var config struct {
		Auths map[string]struct{ Username, Password string }
	}
	if err := json.Unmarshal(configs[0], &config); err != nil || len(config.Auths) != 1 || config.Auths[host].Password == "" {
		t.Fatalf("%d logins, for %s: %v", len(config.Auths), host, err)
	}
	ref, err := name.NewDigest(repository + "@" + string(d))
	check(t, err)
	first := &authn.Basic{Username: config.Auths[host].Username, Password: config.Auths[host].Password}
	check(t, cluster.Await(t.Context(), "the first login to end", func(ctx context.Context) error {
		_, err := remote.Head(ref, remote.WithAuth(first), remote.WithTransport(a.anyHost), remote.WithContext(ctx))
		if refused, ok := errors.AsType[*transport.Error](err); ok && refused.StatusCode == http.StatusUnauthorized {
			return nil
		}
		return errors.New("it is still good")
	}))
	if found, err := a.reader(t, registry.Config{Further: logins}).Attestations(t.Context(), repository, d); err != nil || len(found) != 1 {
		t.Errorf("%+v, %v", found, err)
	}
}
