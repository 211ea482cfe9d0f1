package alicloud

import (
	"encoding/base64"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const describedKey = `{"KeyMetadata":{"KeyId":"key-abc","Arn":"acs:kms:cn-hangzhou:1234567890123456:key/key-abc","KeySpec":"RSA_2048","KeyUsage":"SIGN/VERIFY","KeyState":"Enabled"}}`

// Every method returns what the documented answer says.
func TestMethods(t *testing.T) {
	key := publicPEM(t, 2048)
	signature := strings.Repeat("s", signatureSize)
	server := newCloud(t, map[string]string{
		"DescribeKey": describedKey,
		"ListKeyVersions": `{"TotalCount":2,"PageNumber":1,"KeyVersions":{"KeyVersion":[{"KeyVersionId":"v1","CreationDate":"2024-03-25T10:42:40Z"},
			{"KeyVersionId":"v2","CreationDate":"2024-03-26T10:42:40Z"}]}}`,
		"GetPublicKey":     `{"KeyId":"key-abc","KeyVersionId":"v2","PublicKey":` + strconv.Quote(key) + `}`,
		"AsymmetricSign":   `{"KeyVersionId":"v2","Value":"` + base64.StdEncoding.EncodeToString([]byte(signature)) + `"}`,
		"AsymmetricVerify": `{"Value":true}`,
		"DescribeAttestors": `{"PageInfo":{"CurrentPage":1,"PageSize":50,"TotalCount":1,"Count":1},"Attestors":[{"Name":"qa","KeyId":"key-abc",
			"KeyRegionId":"cn-shanghai","KeyVersionId":"v1","Remark":"r"}]}`,
		"DescribeBinarySecurityPolicies": `{"PageInfo":{"TotalCount":1},"BinarySecurityPolicies":[{"Name":"p","Status":"enabled","Remark":"r",
			"Policy":{"PolicyMode":"requireAttestor","RequiredAttestors":["qa"]},"Clusters":[{"ClusterId":"c1","Namespaces":["default","a"]}]}]}`,
		"ListInstance": `{"Code":"success","IsSuccess":true,"TotalCount":1,"Instances":[{"InstanceId":"cri-1","InstanceName":"team","RegionId":"cn-hangzhou"}]}`,
		"ListMetadataOccurrences": `{"Code":"success","IsSuccess":true,"TotalCount":1,"Occurrences":[{"NoteName":"namespaces/qa","Kind":"ATTESTATION",
			"Resource":{"Uri":"https://h/n/r@sha256:0"},"Attestation":{"SerializedPayload":"e30=","Signatures":[{"PublicKeyId":"key-abc","Signature":"c2ln"}]}}]}`,
		"GetAuthorizationToken": `{"Code":"success","IsSuccess":true,"TempUsername":"cr_temp_user","AuthorizationToken":"pass","ExpireTime":1700000000000}`,
	})
	c, ctx := newClient(t, server.config(t)), t.Context()
	instance := Instance{ID: "cri-1", Name: "team", Region: "cn-hangzhou"}
	hash := make([]byte, 32)
	for name, test := range map[string]struct {
		call func() (any, error)
		want any
	}{
		"public key": {func() (any, error) { return c.PublicKey(ctx, KeyReference{ID: "alias/qa"}) },
			PublicKey{ID: "key-abc", Version: "v2", ARN: "acs:kms:cn-hangzhou:1234567890123456:key/key-abc", PEM: key, State: "Enabled"}},
		"sign": {func() (any, error) { return c.Sign(ctx, KeyReference{ID: "key-abc"}, RSAPSSSHA256, hash) }, []byte(signature)},
		"verify": {func() (any, error) {
			return c.Verify(ctx, KeyReference{ID: "key-abc", Version: "v1"}, RSAPKCS1SHA256, hash, []byte(signature))
		}, true},
		"witnesses": {func() (any, error) { return c.Witnesses(ctx) }, []Witness{{"qa", "key-abc", "cn-shanghai", "v1", "r"}}},
		"policies": {func() (any, error) { return c.SecurityPolicies(ctx) },
			[]SecurityPolicy{{"p", true, []string{"qa"}, []ClusterScope{{"c1", []string{"default", "a"}}}, "r"}}},
		"instances": {func() (any, error) { return c.Instances(ctx, "cn-hangzhou") }, []Instance{instance}},
		"occurrences": {func() (any, error) { return c.Occurrences(ctx, instance, "", "https://h/n/r@sha256:0") },
			[]Occurrence{{"namespaces/qa", "https://h/n/r@sha256:0", []byte("{}"), []OccurrenceSignature{{"key-abc", []byte("sig")}}}}},
		"login": {func() (any, error) { return c.RegistryLogin(ctx, instance) }, Login{"cr_temp_user", "pass", time.UnixMilli(1700000000000)}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := test.call()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	raw, err := c.RawOccurrences(ctx, instance, "", "https://h/n/r@sha256:0")
	if err != nil || !strings.Contains(string(raw), `"SerializedPayload": "e30="`) {
		t.Errorf("%s, %v", raw, err)
	}
}
