package alicloud

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kritis-node/kritis-node/test/alicloudtest"
	"github.com/kritis-node/kritis-node/test/cluster"
)

// The emulator was written from the same documents by somebody else.

func emulate(t *testing.T, o alicloudtest.Options) *alicloudtest.Emulator {
	t.Helper()
	e, err := alicloudtest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// emulated is the configuration for an emulator, without credentials.
func emulated(e *alicloudtest.Emulator) Config {
	return Config{
		Region: e.Region(), CAFile: e.CAFile(), Endpoints: Endpoints{KMS: e.Host(), SAS: e.Host(), CR: e.Host(), STS: e.Host()},
		CallsPerSecond: CallsPerSecond{KMS: 50, SAS: 100, CR: 100, STS: 100},
	}
}

// as returns a client of a user with an AccessKey.
func as(t *testing.T, e *alicloudtest.Emulator, allow ...string) *Client {
	t.Helper()
	user := e.AddUser(alicloudtest.User{Name: "alice", Allow: allow})
	config, dir := emulated(e), t.TempDir()
	write(t, filepath.Join(dir, "accessKeyId"), user.AccessKeyID)
	write(t, filepath.Join(dir, "accessKeySecret"), user.AccessKeySecret)
	config.Credentials = Credentials{Source: SourceAccessKey, Dir: dir}
	return newClient(t, config)
}

func everything() []string { return []string{"kms:*", "yundun-sas:*", "cr:*"} }

func newKey(t *testing.T, e *alicloudtest.Emulator, k alicloudtest.NewKey) alicloudtest.Key {
	t.Helper()
	made, err := e.CreateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func wantKind(t *testing.T, err error, kind Kind, action, text string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("want an Error of kind %d, got %v", kind, err)
	}
	if e.Kind != kind || action != "" && e.Action != action || !strings.Contains(e.Error(), text) {
		t.Errorf("want kind %d, action %q, text %q, got kind %d: %v", kind, action, text, e.Kind, e)
	}
	if strings.ContainsAny(e.Error(), "\n\r") {
		t.Errorf("more than one line: %q", e.Error())
	}
}

func TestEmulatedKMS(t *testing.T) {
	e := emulate(t, alicloudtest.Options{KMSQuota: -1})
	c, ctx := as(t, e, "kms:*"), t.Context()
	for name, region := range map[string]string{"own region": "cn-hangzhou", "another region": "ap-southeast-1"} {
		t.Run(name, func(t *testing.T) {
			key := newKey(t, e, alicloudtest.NewKey{Region: region, Alias: "alias/" + region})
			want := PublicKey{ID: key.ID, Version: key.Versions[0].ID, ARN: key.ARN, PEM: key.Versions[0].PEM, State: "Enabled"}
			for _, by := range []string{key.ID, key.ARN, "alias/" + region, key.ID + "?version=" + key.Versions[0].ID} {
				r, err := ParseKeyReference(by)
				if err != nil {
					t.Fatal(err)
				}
				r.Region = region
				e.ForgetCalls()
				got, err := c.PublicKey(ctx, r)
				if err != nil {
					t.Fatal(by, err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(by, diff)
				}
				calls := 3
				if r.Version != "" {
					calls = 2
				}
				if n := e.Calls(alicloudtest.Call{Service: "kms"}); n != calls {
					t.Errorf("%s: %d calls, want %d", by, n, calls)
				}
			}
			hash := sha256.Sum256([]byte("payload"))
			for _, algorithm := range []string{RSAPSSSHA256, RSAPKCS1SHA256} {
				r := KeyReference{Region: region, ID: key.ID}
				signature, err := c.Sign(ctx, r, algorithm, hash[:])
				if err != nil {
					t.Fatal(err)
				}
				checkLocally(t, want.PEM, algorithm, hash[:], signature)
				if good, err := c.Verify(ctx, r, algorithm, hash[:], signature); err != nil || !good {
					t.Errorf("%s: %v, %v", algorithm, good, err)
				}
				signature[10] ^= 1
				if good, err := c.Verify(ctx, r, algorithm, hash[:], signature); err != nil || good {
					t.Errorf("%s, changed signature: %v, %v", algorithm, good, err)
				}
			}
		})
	}
}

func checkLocally(t *testing.T, text, algorithm string, hash, signature []byte) {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if algorithm == RSAPSSSHA256 {
		err = rsa.VerifyPSS(key.(*rsa.PublicKey), crypto.SHA256, hash, signature, nil)
	} else {
		err = rsa.VerifyPKCS1v15(key.(*rsa.PublicKey), crypto.SHA256, hash, signature)
	}
	if err != nil {
		t.Errorf("%s: %v", algorithm, err)
	}
}

// Of many versions, over several pages, the newest is taken.
func TestEmulatedRotation(t *testing.T) {
	now, mu := time.Now().Add(-10*time.Minute), sync.Mutex{}
	e := emulate(t, alicloudtest.Options{KMSQuota: -1, Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	c, key := as(t, e, "kms:*"), newKey(t, e, alicloudtest.NewKey{})
	var want []string
	want = append(want, key.Versions[0].ID)
	for range 3 {
		mu.Lock()
		now = now.Add(2 * time.Second)
		mu.Unlock()
		v, err := e.AddKeyVersion("", key.ID)
		if err != nil {
			t.Fatal(err)
		}
		want = append([]string{v.ID}, want...)
	}
	got, err := c.KeyVersions(t.Context(), KeyReference{ID: key.ID})
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	newest, err := c.PublicKey(t.Context(), KeyReference{ID: key.ID})
	if err != nil || newest.Version != want[0] {
		t.Errorf("%+v, %v, want version %s", newest, err, want[0])
	}
	first, err := c.PublicKey(t.Context(), KeyReference{ID: key.ID, Version: key.Versions[0].ID})
	if err != nil || first.PEM != key.Versions[0].PEM {
		t.Errorf("%+v, %v", first, err)
	}
}

func TestEmulatedUnfitKeys(t *testing.T) {
	e := emulate(t, alicloudtest.Options{KMSQuota: -1})
	c := as(t, e, "kms:*")
	disabled, doomed := newKey(t, e, alicloudtest.NewKey{}), newKey(t, e, alicloudtest.NewKey{})
	if err := errors.Join(e.SetKeyState("", disabled.ID, alicloudtest.Disabled), e.SetKeyState("", doomed.ID, alicloudtest.PendingDeletion)); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		id   string
		kind Kind
		text string
	}{
		"EC":                    {newKey(t, e, alicloudtest.NewKey{Spec: "EC_P256"}).ID, Unfit, "RSA_2048"},
		"RSA 3072":              {newKey(t, e, alicloudtest.NewKey{Spec: "RSA_3072"}).ID, Unfit, "RSA_3072"},
		"for encryption":        {newKey(t, e, alicloudtest.NewKey{Usage: alicloudtest.EncryptDecrypt}).ID, Unfit, "ENCRYPT/DECRYPT"},
		"symmetric":             {newKey(t, e, alicloudtest.NewKey{Spec: "Aliyun_AES_256", Usage: alicloudtest.EncryptDecrypt}).ID, Unfit, "Aliyun_AES_256"},
		"disabled":              {disabled.ID, Disabled, "enable it"},
		"pending deletion":      {doomed.ID, Disabled, "enable it"},
		"none":                  {"key-none", NotFound, "Forbidden.KeyNotFound"},
		"not the name of a key": {"a b", Unfit, "is no key ID"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.PublicKey(t.Context(), KeyReference{ID: test.id})
			wantKind(t, err, test.kind, "", test.text)
		})
	}
	told := emulate(t, alicloudtest.Options{KMSQuota: -1, DisabledKeysTell: true})
	key := newKey(t, told, alicloudtest.NewKey{})
	if err := told.SetKeyState("", key.ID, alicloudtest.Disabled); err != nil {
		t.Fatal(err)
	}
	if got, err := as(t, told, "kms:*").PublicKey(t.Context(), KeyReference{ID: key.ID}); err != nil || got.State != "Disabled" || got.PEM == "" {
		t.Errorf("%+v, %v", got, err)
	}
}

// What Security Center lists is understood in every documented spelling, over pages.
func TestEmulatedSecurityCenter(t *testing.T) {
	e := emulate(t, alicloudtest.Options{})
	c := as(t, e, "yundun-sas:Describe*")
	var witnesses []Witness
	var policies []SecurityPolicy
	for i := range 123 {
		w := Witness{Name: fmt.Sprintf("witness-%03d", i), KeyID: "key-x", KeyRegion: "cn-shanghai", KeyVersion: "v", Remark: "r"}
		witnesses = append(witnesses, w)
		e.PutWitness(alicloudtest.Witness(w))
		p := SecurityPolicy{Name: fmt.Sprintf("policy-%03d", i), Enabled: i%2 == 0, Witnesses: []string{w.Name},
			Scopes: []ClusterScope{{"c1", []string{"default", "a"}}, {"c2", []string{"b"}}}, Remark: "r"}
		policies = append(policies, p)
		put := alicloudtest.Policy{Name: p.Name, Enabled: p.Enabled, Required: p.Witnesses, Remark: p.Remark}
		for _, s := range p.Scopes {
			put.Scopes = append(put.Scopes, alicloudtest.Scope(s))
		}
		e.PutPolicy(put)
	}
	sortWitnesses := cmp.Transformer("byName", func(in []Witness) map[string]Witness {
		out := map[string]Witness{}
		for _, w := range in {
			out[w.Name] = w
		}
		return out
	})
	if got, err := c.Witnesses(t.Context()); err != nil || len(got) != len(witnesses) || !cmp.Equal(witnesses, got, sortWitnesses) {
		t.Errorf("%v\n%s", err, cmp.Diff(witnesses, got, sortWitnesses))
	}
	for name, spelling := range map[string]alicloudtest.Spelling{
		"as read": {}, "as created": {On: "enable", Off: "disable"}, "numbers": {On: "1", Off: "0"}, "truth values": {On: "true", Off: "false"},
		"small letters": {LowerKeys: true}, "policy as a text": {PolicyAsString: true}, "clusters as a text": {ClustersAsString: true},
		"everything": {On: "enable", LowerKeys: true, PolicyAsString: true, ClustersAsString: true},
	} {
		t.Run(name, func(t *testing.T) {
			e.Spell(spelling)
			got, err := c.SecurityPolicies(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]SecurityPolicy{}
			for _, p := range policies {
				want[p.Name] = p
			}
			for _, p := range got {
				if diff := cmp.Diff(want[p.Name], p); diff != "" {
					t.Fatal(diff)
				}
			}
			if len(got) != len(policies) {
				t.Errorf("%d of %d", len(got), len(policies))
			}
		})
	}
	e.Spell(alicloudtest.Spelling{On: "perhaps"})
	_, err := c.SecurityPolicies(t.Context())
	wantKind(t, err, Unfit, "DescribeBinarySecurityPolicies", "perhaps")
	e.Spell(alicloudtest.Spelling{})
	e.PutPolicy(alicloudtest.Policy{Name: "odd", Mode: "requireNobody"})
	_, err = c.SecurityPolicies(t.Context())
	wantKind(t, err, Unfit, "DescribeBinarySecurityPolicies", "requireNobody")
}

func TestEmulatedRegistry(t *testing.T) {
	e := emulate(t, alicloudtest.Options{})
	c, ctx := as(t, e, "cr:*"), t.Context()
	made, err := e.AddInstance(alicloudtest.Instance{Name: "team", Region: "cn-shanghai"})
	if err != nil {
		t.Fatal(err)
	}
	i := Instance{ID: made.ID, Name: "team", Region: "cn-shanghai"}
	if got, err := c.Instances(ctx, "cn-shanghai"); err != nil || !cmp.Equal(got, []Instance{i}) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := c.Instances(ctx, "cn-hangzhou"); err != nil || len(got) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	const uri = "https://team-registry.cn-shanghai.cr.aliyuncs.com/a/b/c@sha256:0"
	var want []Occurrence
	for n := range 230 {
		o := Occurrence{"namespaces/qa", uri, fmt.Appendf(nil, "payload %d", n), []OccurrenceSignature{{"key-x", []byte("signature\xff\xfe")}}}
		want = append(want, o)
		put := alicloudtest.Occurrence{NoteName: o.NoteName, ResourceURI: uri, Payload: o.Payload, Signatures: []alicloudtest.OccurrenceSignature{{KeyID: "key-x", Value: o.Signatures[0].Value}}}
		if err := e.AddOccurrence(i.ID, put); err != nil {
			t.Fatal(err)
		}
	}
	for _, note := range []string{"", "namespaces/qa"} {
		if got, err := c.Occurrences(ctx, i, note, uri); err != nil || !cmp.Equal(got, want) {
			t.Errorf("note %q: %v\n%s", note, err, cmp.Diff(want, got))
		}
	}
	if got, err := c.Occurrences(ctx, i, "namespaces/other", uri); err != nil || len(got) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if raw, err := c.RawOccurrences(ctx, i, "", uri); err != nil || !strings.Contains(string(raw), "SerializedPayload") {
		t.Errorf("%s, %v", raw, err)
	}
	login, err := c.RegistryLogin(ctx, i)
	if err != nil || login.User == "" || login.Password == "" || time.Until(login.Expires) < time.Minute {
		t.Errorf("%+v, %v", login.Expires, err)
	}
	_, err = c.RegistryLogin(ctx, Instance{ID: "cri-none", Region: "cn-shanghai"})
	wantKind(t, err, NotFound, "GetAuthorizationToken", "INSTANCE_NOT_EXIST")
}

// What is not allowed names the action to allow.
func TestEmulatedDenied(t *testing.T) {
	e := emulate(t, alicloudtest.Options{})
	c, ctx, key := as(t, e), t.Context(), newKey(t, e, alicloudtest.NewKey{})
	_, err := c.PublicKey(ctx, KeyReference{ID: key.ID})
	wantKind(t, err, Denied, "DescribeKey", "allow kms:DescribeKey")
	_, err = c.Witnesses(ctx)
	wantKind(t, err, Denied, "DescribeAttestors", "allow yundun-sas:DescribeAttestors")
	_, err = c.Instances(ctx, "cn-hangzhou")
	wantKind(t, err, Denied, "ListInstance", "allow cr:ListInstance")
	if err := e.Allow("alice", "kms:DescribeKey", "kms:ListKeyVersions"); err != nil {
		t.Fatal(err)
	}
	_, err = c.PublicKey(ctx, KeyReference{ID: key.ID})
	wantKind(t, err, Denied, "GetPublicKey", "allow kms:GetPublicKey")
}

// Every fault is an error, of a kind that tells whether to try again, and never half a list.
func TestEmulatedFaults(t *testing.T) {
	e := emulate(t, alicloudtest.Options{})
	c := as(t, e, everything()...)
	for i := range 60 {
		e.PutWitness(alicloudtest.Witness{Name: fmt.Sprint("w", i), KeyID: "key-x"})
	}
	for kind, want := range map[alicloudtest.FaultKind]Kind{
		alicloudtest.InternalError: Unavailable, alicloudtest.Unavailable: Unavailable, alicloudtest.Hang: Unavailable, alicloudtest.Drip: Unavailable,
		alicloudtest.Throttle: Unavailable, alicloudtest.Garbage: Unavailable, alicloudtest.HTML: Unavailable, alicloudtest.Truncate: Unavailable,
		alicloudtest.LosePage: Unavailable, alicloudtest.NonStringCode: Unfit, alicloudtest.Reset: Unavailable,
	} {
		t.Run(string(kind), func(t *testing.T) {
			repair, err := e.Break(alicloudtest.Fault{Kind: kind})
			if err != nil {
				t.Fatal(err)
			}
			ctx := t.Context()
			if want == Unavailable {
				ctx = within(t, 700*time.Millisecond) // it is tried again
			}
			got, err := c.Witnesses(ctx)
			wantKind(t, err, want, "DescribeAttestors", "")
			if got != nil {
				t.Errorf("%d witnesses with an error", len(got))
			}
			repair()
			if got, err := c.Witnesses(t.Context()); err != nil || len(got) != 60 {
				t.Errorf("after the repair: %d, %v", len(got), err)
			}
		})
	}
	t.Run("once", func(t *testing.T) {
		for _, kind := range []alicloudtest.FaultKind{alicloudtest.InternalError, alicloudtest.Unavailable, alicloudtest.Throttle, alicloudtest.Garbage, alicloudtest.Truncate, alicloudtest.Reset} {
			if _, err := e.Break(alicloudtest.Fault{Kind: kind, Times: 1}); err != nil {
				t.Fatal(err)
			}
			if got, err := c.Witnesses(t.Context()); err != nil || len(got) != 60 {
				t.Errorf("%s: %d, %v", kind, len(got), err)
			}
		}
	})
}

func TestEmulatedAccessKey(t *testing.T) {
	e := emulate(t, alicloudtest.Options{})
	user := e.AddUser(alicloudtest.User{Name: "bob", Allow: everything()})
	config, dir := emulated(e), t.TempDir()
	put := func(id, secret, token string) {
		write(t, filepath.Join(dir, "accessKeyId"), id)
		write(t, filepath.Join(dir, "accessKeySecret"), secret)
		write(t, filepath.Join(dir, "securityToken"), token)
	}
	config.Credentials = Credentials{Source: SourceAccessKey, Dir: dir}
	c := newClient(t, config)
	_, err := c.Witnesses(t.Context())
	wantKind(t, err, Unauthenticated, "AccessKey", "accessKeyId")
	put(user.AccessKeyID, "wrong-secret-000", "")
	_, err = c.Witnesses(t.Context())
	wantKind(t, err, Unauthenticated, "DescribeAttestors", "signature is not accepted")
	put("LTAI-nobody", "wrong-secret-000", "")
	_, err = c.Witnesses(t.Context())
	wantKind(t, err, Unauthenticated, "DescribeAttestors", "credentials are not accepted")
	put(user.AccessKeyID, user.AccessKeySecret, "")
	if _, err = c.Witnesses(t.Context()); err != nil {
		t.Error(err)
	}
	e.AddRole(alicloudtest.Role{Name: "r", Allow: everything()})
	session, err := e.IssueCredentials("r", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	put(session.AccessKeyID, session.AccessKeySecret, session.SecurityToken)
	if _, err = c.Witnesses(t.Context()); err != nil {
		t.Error(err)
	}
	put(session.AccessKeyID, session.AccessKeySecret, "")
	_, err = c.Witnesses(t.Context())
	wantKind(t, err, Unauthenticated, "DescribeAttestors", "credentials are not accepted")

	t.Setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", user.AccessKeyID)
	t.Setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", user.AccessKeySecret)
	config.Credentials.Dir = ""
	if _, err = newClient(t, config).Witnesses(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestEmulatedRRSA(t *testing.T) {
	e := emulate(t, alicloudtest.Options{CredentialLife: 12 * time.Second})
	e.AddRole(alicloudtest.Role{Name: "controller", Allow: everything(), OIDCProvider: "ack"})
	if err := e.TrustToken("controller", "token-one", time.Time{}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, "token-one")
	t.Setenv("ALIBABA_CLOUD_ROLE_ARN", e.RoleARN("controller"))
	t.Setenv("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", e.OIDCProviderARN("ack"))
	t.Setenv("ALIBABA_CLOUD_OIDC_TOKEN_FILE", file)
	t.Setenv("ALIBABA_CLOUD_ROLE_SESSION_NAME", "my-session")
	config := emulated(e)
	config.Credentials = Credentials{Source: SourceRRSA}
	c := newClient(t, config)
	if _, err := c.Witnesses(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The file is read anew, and an exchange that fails says which.
	write(t, file, "token-two")
	ask := func(ctx context.Context) error {
		_, err := c.Witnesses(ctx)
		if err != nil {
			wantKind(t, err, Unauthenticated, "AssumeRoleWithOIDC", "AuthenticationFail.OIDCToken")
			if strings.Contains(err.Error(), "token-two") {
				t.Errorf("the token is in %v", err)
			}
		}
		return err
	}
	fails := func(ctx context.Context) error {
		if ask(ctx) == nil {
			return errors.New("the old credentials serve")
		}
		return nil
	}
	if err := cluster.Await(t.Context(), "the end of the old credentials", fails); err != nil {
		t.Fatal(err)
	}
	if err := e.TrustToken("controller", "token-two", time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Await(t.Context(), "new credentials", ask); err != nil {
		t.Fatal(err)
	}
}

func TestEmulatedECSRole(t *testing.T) {
	e := emulate(t, alicloudtest.Options{MetadataRole: "node"})
	e.AddRole(alicloudtest.Role{Name: "node", Allow: everything()})
	for name, role := range map[string]string{"role named": "node", "role asked for": ""} {
		t.Run(name, func(t *testing.T) {
			config := emulated(e)
			config.Credentials = Credentials{Source: SourceECSRole, RoleName: role, UnsafeMetadataAddress: e.MetadataURL()}
			c := newClient(t, config)
			if _, err := c.Witnesses(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	config := emulated(e)
	config.Credentials = Credentials{Source: SourceECSRole, UnsafeMetadataAddress: e.MetadataURL()}
	e.SetMetadataRole("")
	_, err := newClient(t, config).Witnesses(t.Context())
	wantKind(t, err, Unauthenticated, "metadata", "bind one")
	if n := e.Calls(alicloudtest.Call{Service: "metadata", Status: http.StatusForbidden}); n != 0 {
		t.Errorf("%d requests without a token", n)
	}
}
