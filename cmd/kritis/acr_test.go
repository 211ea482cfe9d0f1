package main

import (
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
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/policyagent/webhook"
	"github.com/kritis-node/kritis-node/test/alicloudtest"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
	"github.com/kritis-node/kritis-node/verifier"
)

// privateACR is an account whose private instance signs what is pushed to its namespace team.
type privateACR struct {
	*alicloudtest.Emulator
	host, config, dir string
	// pem is the key of the witness.
	pem string
}

func newPrivateACR(t *testing.T, allow ...string) *privateACR {
	t.Helper()
	backend := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(backend.Close)
	e, config := cloudWith(t, alicloudtest.Options{Registry: backend.URL}, allow...)
	a := &privateACR{Emulator: e, host: e.RegistryHost(), config: config, dir: t.TempDir()}
	instance, err := e.AddInstance(alicloudtest.Instance{Name: "acme", Hosts: []string{a.host}, Logins: map[string]string{"ci": "hunter2"}})
	check(t, err)
	key, err := e.CreateKey(alicloudtest.NewKey{})
	check(t, err)
	a.pem = key.Versions[0].PEM
	e.PutWitness(alicloudtest.Witness{Name: "builder", KeyID: key.ID})
	check(t, e.AddSignatureRule(alicloudtest.SignatureRule{Instance: instance.ID, Namespace: "team", Witness: "builder"}))
	a.write(t, "registries.yaml", "hosts:\n- host: "+a.host+"\n  plainHTTP: true\n")
	login, err := json.Marshal(map[string]any{"auths": map[string]any{a.host: map[string]string{"username": "ci", "password": "hunter2"}}})
	check(t, err)
	a.write(t, "login.json", string(login))
	a.write(t, "nobody.json", "{}")
	return a
}

func (a *privateACR) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(a.dir, name)
	check(t, os.MkdirAll(filepath.Dir(path), 0o700))
	check(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// policies writes a folder whose namespace prod requires an authority with the witness's key and a note.
func (a *privateACR) policies(t *testing.T, folder, pem, note string) string {
	t.Helper()
	text := "apiVersion: kritis.grafeas.io/v1beta1\nkind: AttestationAuthority\nmetadata: {namespace: prod, name: builder}\nspec:\n  noteReference: " + note +
		"\n  publicKeys:\n  - keyType: PKIX\n    pkixPublicKey:\n      publicKeyPem: |\n"
	for line := range strings.Lines(pem) {
		text += "        " + line
	}
	return filepath.Dir(a.write(t, folder+"/policy.yaml", text+"---\n"+stack.Policy("prod", "builder-signs", "", "builder")))
}

// push pushes an image and returns its name by digest.
func (a *privateACR) push(t *testing.T, repository string) string {
	t.Helper()
	image, err := random.Image(64, 1)
	check(t, err)
	digest, err := image.Digest()
	check(t, err)
	ref, err := name.ParseReference(a.host+"/"+repository+":v1", name.Insecure)
	check(t, err)
	check(t, remote.Write(ref, image, remote.WithAuth(&authn.Basic{Username: "ci", Password: "hunter2"})))
	return a.host + "/" + repository + "@" + digest.String()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A pipeline without a cluster verifies what ACR attests.
func TestVerifyACRWithoutCluster(t *testing.T) {
	a := newPrivateACR(t, "cr:*")
	policies := a.policies(t, "policies", a.pem, "namespaces/builder")
	otherNote := a.policies(t, "other-note", a.pem, "namespaces/other")
	signed, unsigned := a.push(t, "team/group/app"), a.push(t, "else/app")
	cosigned := a.push(t, "else/cosigned")
	team, err := stack.WriteKey(filepath.Join(a.dir, "team"))
	check(t, err)
	public, err := os.ReadFile(team.Public)
	check(t, err)
	byTeam := a.policies(t, "by-team", string(public), "namespaces/team")
	registries := filepath.Join(a.dir, "registries.yaml")
	anonymous := []string{"--registry-config", registries, "--docker-config", filepath.Join(a.dir, "nobody.json")}
	loggedIn := []string{"--registry-config", registries, "--docker-config", filepath.Join(a.dir, "login.json")}
	if code, out, errs := execute(t, program{name: "kritis"}, append([]string{"sign", cosigned, "--key", team.Private}, loggedIn...)...); code != 0 {
		t.Fatalf("%d %s%s", code, out, errs)
	}
	nobody := a.AddUser(alicloudtest.User{Name: "nobody"})
	account := []string{"--alicloud-config", a.config, "--acr-host", a.host + "=cn-hangzhou/acme"}
	for name, tc := range map[string]struct {
		image, policies string
		args            [][]string
		asNobody        bool
		code            int
		says            []string
	}{
		"attested by ACR":                  {image: signed, args: [][]string{anonymous, account}, says: []string{"allowed (Attested)", "acr acme, note namespaces/builder", "BASIS the registry"}},
		"attested by ACR, with a login":    {image: signed, args: [][]string{loggedIn, account}, says: []string{"allowed (Attested)"}},
		"without asking ACR":               {image: signed, args: [][]string{loggedIn}, code: 1, says: []string{"denied (NotAttested)"}},
		"not attested":                     {image: unsigned, args: [][]string{loggedIn, account}, code: 1, says: []string{"denied (NotAttested)"}},
		"another authority's note":         {image: signed, policies: otherNote, args: [][]string{loggedIn, account}, code: 1, says: []string{"denied (NotAttested)"}},
		"no right to ask":                  {image: signed, args: [][]string{loggedIn, account}, asNobody: true, code: 2, says: []string{"could not tell (SourceFailed)", "cr:ListInstance"}},
		"an instance nobody has":           {image: signed, args: [][]string{loggedIn, account[:2], {"--acr-host", a.host + "=cn-hangzhou/none"}}, code: 2, says: []string{"no ACR instance \"none\""}},
		"a cosign signature, by ACR login": {image: cosigned, policies: byTeam, args: [][]string{anonymous, account}, says: []string{"allowed (Attested)", "registry"}},
		"a cosign signature, by nobody":    {image: cosigned, policies: byTeam, args: [][]string{anonymous}, code: 2, says: []string{"could not tell"}},
		"a custom domain by itself":        {image: signed, args: [][]string{loggedIn, account[2:]}, code: 2, says: []string{"--acr-host needs --alicloud-config"}},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.asNobody {
				t.Setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", nobody.AccessKeyID)
				t.Setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", nobody.AccessKeySecret)
			}
			args := []string{"verify", "-n", "prod", "--policy-dir", policies, tc.image}
			if tc.policies != "" {
				args[4] = tc.policies
			}
			for _, more := range tc.args {
				args = append(args, more...)
			}
			code, out, errs := execute(t, program{name: "kritis"}, args...)
			text := strings.Join(strings.Fields(out+errs), " ")
			if code != tc.code {
				t.Errorf("exit code %d, want %d: %s", code, tc.code, text)
			}
			for _, w := range tc.says {
				if !strings.Contains(text, w) {
					t.Errorf("no %q in: %s", w, text)
				}
			}
			if strings.Contains(text, "hunter2") || strings.Contains(text, os.Getenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET")) {
				t.Error("a secret is printed")
			}
		})
	}
}

// start runs a process of kritis until the test ends.
func start(t *testing.T, args ...string) {
	t.Helper()
	root := newRoot(program{name: "kritis"})
	root.SetArgs(args)
	root.SetOut(io.Discard)
	root.SetErr(io.Discard)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- root.ExecuteContext(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A node without Kubernetes asks ACR itself: nobody else does.
func TestPolicyAgentAsksACR(t *testing.T) {
	a := newPrivateACR(t, "cr:*")
	policies := a.policies(t, "policies", a.pem, "namespaces/builder")
	signed := a.push(t, "team/app")
	repository, digest, _ := strings.Cut(signed, "@")
	for name, tc := range map[string]struct {
		args []string
		want int
	}{
		"as the account": {[]string{"--alicloud-config", a.config, "--acr-host", a.host + "=cn-hangzhou/acme"}, 1},
		"as nobody":      {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			state, socket := filepath.Join(dir, "state"), filepath.Join(dir, "s")
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			start(t, append([]string{"policyagent", "--policy-dir", policies, "--state-dir", state, "--socket", socket, "--plugin-socket", "", "--docker-config", filepath.Join(a.dir, "login.json"),
				"--registry-config", filepath.Join(a.dir, "registries.yaml")}, tc.args...)...)
			client := nodestate.NewClient(socket)
			defer client.Close()
			check(t, cluster.Await(ctx, "the agent", func(ctx context.Context) error {
				_, err := client.Fetch(ctx, nodestate.FetchRequest{Repository: repository, Digests: []verifier.Digest{verifier.Digest(digest)}, Again: true})
				return err
			}))
			reader, err := nodestate.Open(state)
			check(t, err)
			record, err := reader.Attestations(repository, verifier.Digest(digest))
			if err != nil || len(record.Attestations) != tc.want {
				t.Fatalf("%d attestations, %v", len(record.Attestations), err)
			}
			if tc.want > 0 && record.Attestations[0].Source != "acr acme, note namespaces/builder" {
				t.Errorf("source %q", record.Attestations[0].Source)
			}
		})
	}
}

// A webhook with a folder of policies says what nodes with it say.
func TestWebhookAsksACR(t *testing.T) {
	a := newPrivateACR(t, "cr:*")
	policies := a.policies(t, "policies", a.pem, "namespaces/builder")
	signed := a.push(t, "team/app")
	certificate, err := cluster.NewCertificate()
	check(t, err)
	cert, key := a.write(t, "tls.crt", string(certificate.CertPEM)), a.write(t, "tls.key", string(certificate.KeyPEM))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate.CAPEM)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()
	for name, tc := range map[string]struct {
		args []string
		want bool
	}{
		"as the account": {[]string{"--alicloud-config", a.config, "--acr-host", a.host + "=cn-hangzhou/acme"}, true},
		"as nobody":      {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			address := freeAddress(t)
			start(t, append([]string{"webhook", "--policy-dir", policies, "--tls-cert", cert, "--tls-key", key, "--listen", address, "--status-listen", freeAddress(t), "--drain-delay", "0s",
				"--docker-config", filepath.Join(a.dir, "login.json"), "--registry-config", filepath.Join(a.dir, "registries.yaml")}, tc.args...)...)
			review := `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},
"operation":"CREATE","namespace":"prod","object":{"metadata":{"name":"p","namespace":"prod"},"spec":{"containers":[{"name":"c","image":"` + signed + `"}]}}}}`
			var answer struct {
				Response struct {
					UID     string
					Allowed bool
				}
			}
			check(t, cluster.Await(t.Context(), "the webhook", func(ctx context.Context) error {
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+webhook.PodsPath, strings.NewReader(review))
				if err != nil {
					return err
				}
				req.Header.Set("Content-Type", "application/json")
				res, err := client.Do(req)
				if err != nil {
					return err
				}
				defer res.Body.Close()
				if res.StatusCode != http.StatusOK {
					return errors.New(res.Status)
				}
				return json.NewDecoder(res.Body).Decode(&answer)
			}))
			if answer.Response.UID != "u" || answer.Response.Allowed != tc.want {
				t.Errorf("%+v", answer.Response)
			}
		})
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	check(t, l.Close())
	return l.Addr().String()
}

type silent struct{}

func (silent) Name() string { return "silent" }
func (silent) Attestations(ctx context.Context, _ string, _ verifier.Digest) ([]verifier.Attestation, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// A cloud that does not answer leaves time for what else a person wants to know.
func TestPeopleWaitForACRAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, err := patient{silent{}}.Attestations(t.Context(), "r", "d")
		if waited := time.Since(began); err == nil || waited != acrPatience {
			t.Errorf("%v after %s", err, waited)
		}
	})
}
