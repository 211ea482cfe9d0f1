package alicloudtest_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aliyun/alibaba-cloud-sdk-go/services/cr_ee"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/kritis-node/kritis-node/test/alicloudtest"
)

// pushLogin is a login that lasts.
func pushLogin() authn.Authenticator { return &authn.Basic{Username: "ci", Password: "hunter2"} }

// startRegistry starts an emulator with a registry and an instance that is found at the registry's address, too.
func startRegistry(t *testing.T, options alicloudtest.Options, add alicloudtest.Instance) (*alicloudtest.Emulator, alicloudtest.User, alicloudtest.Instance) {
	t.Helper()
	backend := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(backend.Close)
	options.Registry = backend.URL
	e, alice := start(t, options)
	add.Name, add.Hosts = "demo", []string{e.RegistryHost()}
	add.Logins = map[string]string{"ci": "hunter2"}
	added, err := e.AddInstance(add)
	check(t, err)
	return e, alice, added
}

// push pushes a random image and returns its digest.
func push(t *testing.T, e *alicloudtest.Emulator, reference string, options ...remote.Option) (name.Reference, v1.Hash) {
	t.Helper()
	image, err := random.Image(256, 2)
	check(t, err)
	digest, err := image.Digest()
	check(t, err)
	ref, err := name.ParseReference(reference, name.Insecure)
	check(t, err)
	check(t, remote.Write(ref, image, append(options, remote.WithTransport(trusting(t, e)))...))
	return ref, digest
}

// unauthorized tells whether a registry asked for a login.
func unauthorized(err error) bool {
	var refused *transport.Error
	return errors.As(err, &refused) && refused.StatusCode == http.StatusUnauthorized
}

func TestRuleSignsWhatIsPushed(t *testing.T) {
	for _, pss := range []bool{false, true} {
		t.Run(fmt.Sprintf("PSS %v", pss), func(t *testing.T) {
			e, _, demo := startRegistry(t, alicloudtest.Options{}, alicloudtest.Instance{})
			key, err := e.CreateKey(alicloudtest.NewKey{})
			check(t, err)
			e.PutWitness(alicloudtest.Witness{Name: "builder", KeyID: key.ID, KeyVersion: key.Versions[0].ID})
			_, err = e.AddKeyVersion("", key.ID) // the witness names the first
			check(t, err)
			check(t, e.AddSignatureRule(alicloudtest.SignatureRule{Instance: demo.ID, Namespace: "team", Witness: "builder", PSS: pss}))
			_, digest := push(t, e, e.RegistryHost()+"/team/sub/app:v1", remote.WithAuth(pushLogin()))
			push(t, e, e.RegistryHost()+"/other/app:v1", remote.WithAuth(pushLogin()))

			found := e.Occurrences(demo.ID)
			hosts := []string{"demo-registry.cn-hangzhou.cr.aliyuncs.com", "demo-registry-vpc.cn-hangzhou.cr.aliyuncs.com", "demo.cn-hangzhou.cr.aliyuncs.com", e.RegistryHost()}
			if len(found) != len(hosts) {
				t.Fatalf("%d occurrences, want one for each of %v", len(found), hosts)
			}
			public := publicKey(t, key.Versions[0].PEM)
			for i, o := range found {
				repository := hosts[i] + "/team/sub/app"
				if o.NoteName != "namespaces/builder" || o.ResourceURI != "https://"+repository+"@"+digest.String() {
					t.Errorf("occurrence %d is %+v", i, o)
				}
				var said map[string]any
				check(t, json.Unmarshal(o.Payload, &said))
				want := map[string]any{"critical": map[string]any{"type": "atomic container signature", "identity": map[string]any{"docker-reference": repository},
					"image": map[string]any{"docker-manifest-digest": digest.String()}}}
				if fmt.Sprint(said) != fmt.Sprint(want) {
					t.Errorf("payload %s", o.Payload)
				}
				if len(o.Signatures) != 1 || o.Signatures[0].KeyID != key.ID {
					t.Fatalf("signatures %+v", o.Signatures)
				}
				hash := sha256.Sum256(o.Payload)
				if pss {
					check(t, rsa.VerifyPSS(public, crypto.SHA256, hash[:], o.Signatures[0].Value, nil))
				} else {
					check(t, rsa.VerifyPKCS1v15(public, crypto.SHA256, hash[:], o.Signatures[0].Value))
				}
			}
			if n := e.Calls(alicloudtest.Call{Service: "kms"}); n != 0 {
				t.Errorf("the rule's own signing was counted: %d", n)
			}
		})
	}
}

func TestRuleThatCannotSign(t *testing.T) {
	e, _, demo := startRegistry(t, alicloudtest.Options{}, alicloudtest.Instance{AnonymousPush: true})
	key, err := e.CreateKey(alicloudtest.NewKey{})
	check(t, err)
	check(t, e.SetKeyState("", key.ID, alicloudtest.Disabled))
	e.PutWitness(alicloudtest.Witness{Name: "builder", KeyID: key.ID})
	check(t, e.AddSignatureRule(alicloudtest.SignatureRule{Instance: demo.ID, Namespace: "team", Witness: "builder"}))
	push(t, e, e.RegistryHost()+"/team/app:v1")
	if found := e.Occurrences(demo.ID); len(found) != 0 {
		t.Errorf("a disabled key signed: %+v", found)
	}
	failures := e.SigningFailures()
	if len(failures) != 1 {
		t.Fatalf("failures %v", failures)
	}
	contains(t, failures[0], "Rejected.Disabled")
}

func TestDelayedRuleEndsWithTheEmulator(t *testing.T) {
	e, _, demo := startRegistry(t, alicloudtest.Options{}, alicloudtest.Instance{AnonymousPush: true})
	key, err := e.CreateKey(alicloudtest.NewKey{})
	check(t, err)
	e.PutWitness(alicloudtest.Witness{Name: "builder", KeyID: key.ID})
	check(t, e.AddSignatureRule(alicloudtest.SignatureRule{Instance: demo.ID, Witness: "builder", Delay: time.Hour}))
	push(t, e, e.RegistryHost()+"/team/app:v1")
	if found := e.Occurrences(demo.ID); len(found) != 0 {
		t.Errorf("signed at once: %+v", found)
	}
}

func TestRegistryLogins(t *testing.T) {
	clock := newClock()
	e, alice, demo := startRegistry(t, alicloudtest.Options{Now: clock.Now, LoginLife: time.Minute}, alicloudtest.Instance{})
	ref, digest := push(t, e, e.RegistryHost()+"/team/app:v1", remote.WithAuth(pushLogin()))
	pull := func(login authn.Authenticator) error {
		got, err := remote.Head(ref, remote.WithAuth(login), remote.WithTransport(trusting(t, e)))
		if err == nil && got.Digest != digest {
			t.Errorf("pulled %s", got.Digest)
		}
		return err
	}
	c := &cr_ee.Client{Client: *as(t, e, alice)}
	get := cr_ee.CreateGetAuthorizationTokenRequest()
	aim(e, get.RpcRequest)
	get.InstanceId = demo.ID
	login, err := c.GetAuthorizationToken(get)
	check(t, err)
	if !login.GetAuthorizationTokenIsSuccess || login.Code != "success" || login.ExpireTime != clock.Now().Add(time.Minute).UnixMilli() {
		t.Errorf("login %+v", login)
	}
	temporary := &authn.Basic{Username: login.TempUsername, Password: login.AuthorizationToken}
	check(t, pull(temporary))
	for name, bad := range map[string]authn.Authenticator{
		"anonymous":      authn.Anonymous,
		"wrong password": &authn.Basic{Username: login.TempUsername, Password: "x"},
		"wrong user":     &authn.Basic{Username: "ci", Password: login.AuthorizationToken},
	} {
		if err := pull(bad); !unauthorized(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	clock.move(time.Minute)
	if err := pull(temporary); !unauthorized(err) {
		t.Errorf("expired: %v", err)
	}
	check(t, pull(pushLogin()))
}

func TestAnonymousPullOnly(t *testing.T) {
	e, _, _ := startRegistry(t, alicloudtest.Options{RegistryTLS: true}, alicloudtest.Instance{AnonymousPull: true})
	reference := e.RegistryHost() + "/team/app:v1"
	ref, err := name.ParseReference(reference)
	check(t, err)
	image, err := random.Image(64, 1)
	check(t, err)
	if err := remote.Write(ref, image, remote.WithTransport(trusting(t, e))); !unauthorized(err) {
		t.Errorf("anonymous push: %v", err)
	}
	check(t, remote.Write(ref, image, remote.WithAuth(pushLogin()), remote.WithTransport(trusting(t, e))))
	if _, err := remote.Image(ref, remote.WithTransport(trusting(t, e))); err != nil {
		t.Errorf("anonymous pull: %v", err)
	}
}

// TestRegistryHosts shows how an instance is found.
func TestRegistryHosts(t *testing.T) {
	e, _, _ := startRegistry(t, alicloudtest.Options{}, alicloudtest.Instance{AnonymousPull: true})
	for _, test := range []struct {
		host, query string
		status      int
	}{
		{"demo-registry.cn-hangzhou.cr.aliyuncs.com", "", 200},
		{"demo-registry-vpc.cn-hangzhou.cr.aliyuncs.com:5000", "", 200},
		{"mirror.example", "?ns=demo-registry.cn-hangzhou.cr.aliyuncs.com", 200},
		{"other-registry.cn-hangzhou.cr.aliyuncs.com", "", 404},
		{"demo-registry.cn-beijing.cr.aliyuncs.com", "", 404},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+e.RegistryHost()+"/v2/"+test.query, nil)
		check(t, err)
		r.Host = test.host
		response, err := trusting(t, e).RoundTrip(r)
		check(t, err)
		check(t, response.Body.Close())
		if response.StatusCode != test.status {
			t.Errorf("%s%s: status %d, want %d", test.host, test.query, response.StatusCode, test.status)
		}
	}
}

// TestBehindTheFront shows what the plain registry sees of a request, and the client of a registry that names itself.
func TestBehindTheFront(t *testing.T) {
	var authorization string
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		authorization = r.Header.Get("Authorization")
		w.Header().Set("Location", "http://"+r.Host+"/v2/team/app/blobs/uploads/1?state=x")
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(backend.Close)
	e, _ := start(t, alicloudtest.Options{Registry: backend.URL})
	_, err := e.AddInstance(alicloudtest.Instance{Name: "demo", Hosts: []string{e.RegistryHost()}, Logins: map[string]string{"ci": "hunter2"}})
	check(t, err)
	r := mustRequest(t, "http://"+e.RegistryHost()+"/v2/team/app/blobs/uploads/")
	r.SetBasicAuth("ci", "hunter2")
	response, err := trusting(t, e).RoundTrip(r)
	check(t, err)
	check(t, response.Body.Close())
	if location := response.Header.Get("Location"); location != "/v2/team/app/blobs/uploads/1?state=x" {
		t.Errorf("the client is sent past the front: %s", location)
	}
	if authorization != "" {
		t.Errorf("the registry behind got the login: %s", authorization)
	}
}
