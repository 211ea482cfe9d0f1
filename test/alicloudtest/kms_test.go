package alicloudtest_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"testing"
	"time"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/kms"

	"github.com/kritis-node/kritis-node/test/alicloudtest"
)

func kmsClient(t *testing.T, e *alicloudtest.Emulator, user alicloudtest.User) *kms.Client {
	t.Helper()
	return &kms.Client{Client: *as(t, e, user)}
}

// aim sends a typed request to the emulator.
func aim(e *alicloudtest.Emulator, r *requests.RpcRequest) {
	r.Scheme, r.Domain = "https", e.Host()
}

func publicKey(t *testing.T, text string) *rsa.PublicKey {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatalf("no PEM: %q", text)
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	check(t, err)
	return parsed.(*rsa.PublicKey)
}

func TestSignWithTypedRequests(t *testing.T) {
	e, alice := start(t, alicloudtest.Options{})
	made, err := e.CreateKey(alicloudtest.NewKey{Alias: "alias/witness"})
	check(t, err)
	c := kmsClient(t, e, alice)
	hash := sha256.Sum256([]byte("payload+/ =~*"))

	describe := kms.CreateDescribeKeyRequest()
	aim(e, describe.RpcRequest)
	describe.KeyId = "alias/witness"
	described, err := c.DescribeKey(describe)
	check(t, err)
	if m := described.KeyMetadata; m.KeyId != made.ID || m.Arn != made.ARN || m.KeySpec != "RSA_2048" || m.KeyUsage != "SIGN/VERIFY" || m.KeyState != "Enabled" {
		t.Errorf("described as %+v", m)
	}

	get := kms.CreateGetPublicKeyRequest()
	aim(e, get.RpcRequest)
	get.KeyId, get.KeyVersionId = made.ARN, made.Versions[0].ID
	got, err := c.GetPublicKey(get)
	check(t, err)
	public := publicKey(t, got.PublicKey)

	for _, algorithm := range []string{"RSA_PSS_SHA_256", "RSA_PKCS1_SHA_256"} {
		t.Run(algorithm, func(t *testing.T) {
			sign := kms.CreateAsymmetricSignRequest()
			aim(e, sign.RpcRequest)
			sign.KeyId, sign.KeyVersionId, sign.Algorithm = made.ID, made.Versions[0].ID, algorithm
			sign.Digest = base64.StdEncoding.EncodeToString(hash[:])
			signed, err := c.AsymmetricSign(sign)
			check(t, err)
			value, err := base64.StdEncoding.DecodeString(signed.Value)
			check(t, err)
			if algorithm == "RSA_PSS_SHA_256" {
				check(t, rsa.VerifyPSS(public, crypto.SHA256, hash[:], value, &rsa.PSSOptions{SaltLength: 32}))
			} else {
				check(t, rsa.VerifyPKCS1v15(public, crypto.SHA256, hash[:], value))
			}
			for _, spoilt := range []bool{false, true} {
				verify := kms.CreateAsymmetricVerifyRequest()
				aim(e, verify.RpcRequest)
				verify.KeyId, verify.KeyVersionId, verify.Algorithm, verify.Digest = made.ID, made.Versions[0].ID, algorithm, sign.Digest
				if spoilt {
					value[0] ^= 1
				}
				verify.Value = base64.StdEncoding.EncodeToString(value)
				verified, err := c.AsymmetricVerify(verify)
				check(t, err)
				if verified.Value == spoilt {
					t.Errorf("spoilt %v: Value is %v", spoilt, verified.Value)
				}
			}
		})
	}
	if n := e.Calls(alicloudtest.Call{Service: "kms", KeyID: made.ID}); n != 8 {
		t.Errorf("%d calls counted for the key, by whatever name, want 8: %+v", n, e.CallList(alicloudtest.Call{}))
	}
}

func TestKeyErrors(t *testing.T) {
	e, alice := start(t, alicloudtest.Options{})
	c := as(t, e, alice)
	key := func(want alicloudtest.NewKey, state string) alicloudtest.Key {
		made, err := e.CreateKey(want)
		check(t, err)
		check(t, e.SetKeyState(made.Region, made.ID, state))
		return made
	}
	good := key(alicloudtest.NewKey{}, alicloudtest.Enabled)
	disabled := key(alicloudtest.NewKey{}, alicloudtest.Disabled)
	going := key(alicloudtest.NewKey{}, alicloudtest.PendingDeletion)
	symmetric := key(alicloudtest.NewKey{Spec: "Aliyun_AES_256", Usage: alicloudtest.EncryptDecrypt}, alicloudtest.Enabled)
	decrypting := key(alicloudtest.NewKey{Usage: alicloudtest.EncryptDecrypt}, alicloudtest.Enabled)
	elliptic := key(alicloudtest.NewKey{Spec: "EC_P256"}, alicloudtest.Enabled)
	abroad := key(alicloudtest.NewKey{Region: "ap-southeast-1"}, alicloudtest.Enabled)
	digest := base64.StdEncoding.EncodeToString(make([]byte, 32))

	for name, test := range map[string]struct {
		action string
		pairs  []string
		status int
		code   string
	}{
		"no such key":                          {"DescribeKey", []string{"KeyId", "key-nothing"}, 404, "Forbidden.KeyNotFound"},
		"no such alias":                        {"DescribeKey", []string{"KeyId", "alias/nothing"}, 404, "Forbidden.AliasNotFound"},
		"no key named":                         {"DescribeKey", nil, 400, "MissingKeyId"},
		"key of another region":                {"DescribeKey", []string{"KeyId", abroad.ID}, 404, "Forbidden.KeyNotFound"},
		"ARN of another region":                {"DescribeKey", []string{"KeyId", abroad.ARN}, 404, "Forbidden.KeyNotFound"},
		"ARN of a key that is here, elsewhere": {"DescribeKey", []string{"KeyId", "acs:kms:ap-southeast-1:" + e.Account() + ":key/" + good.ID}, 404, "Forbidden.KeyNotFound"},
		"ARN of another account":               {"DescribeKey", []string{"KeyId", "acs:kms:cn-hangzhou:1:key/" + good.ID}, 404, "Forbidden.KeyNotFound"},
		"no such version":                      {"GetPublicKey", []string{"KeyId", good.ID, "KeyVersionId", "x"}, 404, "Forbidden.KeyVersionNotFound"},
		"no version named":                     {"GetPublicKey", []string{"KeyId", good.ID}, 400, "MissingKeyVersionId"},
		"disabled":                             {"GetPublicKey", []string{"KeyId", disabled.ID, "KeyVersionId", disabled.Versions[0].ID}, 409, "Rejected.Disabled"},
		"pending deletion":                     {"GetPublicKey", []string{"KeyId", going.ID, "KeyVersionId", going.Versions[0].ID}, 409, "Rejected.PendingDeletion"},
		"symmetric":                            {"GetPublicKey", []string{"KeyId", symmetric.ID, "KeyVersionId", symmetric.Versions[0].ID}, 400, "UnsupportedOperation"},
		"not for signing": {"AsymmetricSign", []string{"KeyId", decrypting.ID, "KeyVersionId", decrypting.Versions[0].ID, "Digest", digest,
			"Algorithm", "RSA_PKCS1_SHA_256"}, 400, "UnsupportedOperation"},
		"algorithm of another spec": {"AsymmetricSign", []string{"KeyId", elliptic.ID, "KeyVersionId", elliptic.Versions[0].ID, "Digest", digest,
			"Algorithm", "RSA_PKCS1_SHA_256"}, 400, "UnsupportedOperation"},
		"short digest": {"AsymmetricSign", []string{"KeyId", good.ID, "KeyVersionId", good.Versions[0].ID, "Digest", "AAAA",
			"Algorithm", "RSA_PKCS1_SHA_256"}, 400, "InvalidParameter"},
		"page too large":    {"ListKeyVersions", []string{"KeyId", good.ID, "PageSize", "101"}, 400, "InvalidParameter"},
		"unknown parameter": {"DescribeKey", []string{"KeyId", good.ID, "KeyID", good.ID}, 400, "UnsupportedParameter"},
		"unknown action":    {"EatKey", nil, 404, "InvalidApi.NotFound"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := do(t, c, request(e, kmsVersion, test.action, test.pairs...))
			expect(t, err, test.status, test.code)
			contains(t, err.Error(), "RequestId")
		})
	}
	if _, err := do(t, c, request(e, kmsVersion, "DescribeKey", "KeyId", abroad.ID, "RegionId", "ap-southeast-1")); err != nil {
		t.Errorf("the key's own region does not have it: %v", err)
	}
}

func TestKeyActions(t *testing.T) {
	e, alice := start(t, alicloudtest.Options{DisabledKeysTell: true})
	c := kmsClient(t, e, alice)
	create := kms.CreateCreateKeyRequest()
	aim(e, create.RpcRequest)
	create.KeySpec, create.KeyUsage, create.Description = "RSA_2048", "SIGN/VERIFY", "for images"
	created, err := c.CreateKey(create)
	check(t, err)
	id := created.KeyMetadata.KeyId
	common := func(action string, pairs ...string) {
		t.Helper()
		_, err := do(t, &c.Client, request(e, kmsVersion, action, append([]string{"KeyId", id}, pairs...)...))
		check(t, err)
	}
	common("CreateAlias", "AliasName", "alias/images")
	_, err = do(t, &c.Client, request(e, kmsVersion, "CreateAlias", "KeyId", id, "AliasName", "alias/images"))
	expect(t, err, 409, "Rejected.AlreadyExists")
	for range 2 {
		common("CreateKeyVersion")
	}
	known, err := e.Key("", "alias/images")
	check(t, err)
	if len(known.Versions) != 3 {
		t.Fatalf("%d versions", len(known.Versions))
	}

	// Three versions in pages of two, in order, each a second or more after the one before.
	seen := []string{}
	last := time.Time{}
	for number := 1; number <= 3; number++ {
		list := kms.CreateListKeyVersionsRequest()
		aim(e, list.RpcRequest)
		list.KeyId, list.PageNumber, list.PageSize = id, requests.NewInteger(number), requests.NewInteger(2)
		page, err := c.ListKeyVersions(list)
		check(t, err)
		if page.TotalCount != 3 || page.PageNumber != number || page.PageSize != 2 {
			t.Errorf("page %d says %+v", number, page)
		}
		for _, version := range page.KeyVersions.KeyVersion {
			seen = append(seen, version.KeyVersionId)
			at, err := time.Parse("2006-01-02T15:04:05Z", version.CreationDate)
			check(t, err)
			if !at.After(last) {
				t.Errorf("version %s is not newer than the one before", version.KeyVersionId)
			}
			last = at
		}
	}
	if len(seen) != 3 || seen[2] != known.Versions[2].ID {
		t.Errorf("pages held %v", seen)
	}

	for _, step := range []struct {
		action, state string
		pairs         []string
	}{
		{"DisableKey", "Disabled", nil},
		{"EnableKey", "Enabled", nil},
		{"ScheduleKeyDeletion", "PendingDeletion", []string{"PendingWindowInDays", "7"}},
		{"CancelKeyDeletion", "Disabled", nil},
	} {
		common(step.action, step.pairs...)
		now, err := e.Key("", id)
		check(t, err)
		if now.State != step.state {
			t.Errorf("after %s the key is %s", step.action, now.State)
		}
	}
	common("GetPublicKey", "KeyVersionId", seen[0]) // DisabledKeysTell
}

func TestQuota(t *testing.T) {
	clock := newClock()
	e, alice := start(t, alicloudtest.Options{Now: clock.Now})
	c := as(t, e, alice)
	made, err := e.CreateKey(alicloudtest.NewKey{})
	check(t, err)
	ask := func(i int, region string) error {
		version := made.Versions[0].ID
		r := [][]string{{"DescribeKey", "KeyId", made.ID}, {"ListKeyVersions", "KeyId", made.ID}, {"GetPublicKey", "KeyId", made.ID, "KeyVersionId", version}}[i%3]
		_, err := do(t, c, request(e, kmsVersion, r[0], append(r[1:], "RegionId", region)...))
		return err
	}
	for i := range 50 {
		check(t, ask(i, "cn-hangzhou"))
	}
	expect(t, ask(0, "cn-hangzhou"), 429, "Rejected.Throttling")
	expect(t, ask(0, "cn-beijing"), 404, "Forbidden.KeyNotFound") // a region of its own
	clock.move(time.Second)
	check(t, ask(1, "cn-hangzhou"))
}
