package alicloud

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzAnswer reads one answer in the place of every other. Nothing panics, and what is accepted is whole.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		describedKey, `{"Code":400,"Message":{},"RequestId":[]}`, `{"Code":"Forbidden.NoPermission","Message":"m","RequestId":"r"}`,
		`{"PageInfo":{"TotalCount":"1"},"Attestors":[{"Name":"qa","KeyId":"key-abc","KeyRegionId":"cn-shanghai"}]}`,
		`{"Name":"p","Status":"enabled","Policy":"{\"policyMode\":\"requireAttestor\",\"requiredAttestors\":[\"qa\"]}","Clusters":"[{\"ClusterId\":\"c\",\"Namespaces\":\"[\\\"a\\\"]\"}]"}`,
		`{"KeyVersionId":"v1","CreationDate":"2024-03-25T10:42:40Z"}`, `{"InstanceId":"cri-1","InstanceName":"team","RegionId":"cn-hangzhou"}`,
		`{"TempUsername":"u","AuthorizationToken":"p","ExpireTime":1700000000000}`,
		`{"NoteName":"n","Kind":"ATTESTATION","Resource":{"Uri":"u"},"Attestation":{"SerializedPayload":"e30=","Signatures":[{"PublicKeyId":"k","Signature":"c2ln"}]}}`,
		`{"AccessKeyId":"i","AccessKeySecret":"s","SecurityToken":"t","Expiration":"2999-01-01T00:00:00Z"}`, `null`, `[]`, `{"a":null}`, "<html>",
	} {
		f.Add([]byte(seed), 200)
		f.Add([]byte(seed), 400)
	}
	f.Fuzz(func(t *testing.T, data []byte, status int) {
		for _, s := range []service{kms, sas, cr, sts} {
			o, failed := s.read("Act", answer{status, data}, strings.Clone)
			if (failed == nil) == (o == nil) || failed != nil && (strings.ContainsAny(failed.err.Error(), "\n\r") || len(failed.err.Error()) > 3*maxText) {
				t.Errorf("%v, %+v", o, failed)
			}
		}
		o, err := parseObject(data)
		if err != nil {
			return
		}
		if w, err := witness(o); err == nil && w.Name == "" {
			t.Error("a witness without a name")
		}
		if p, err := securityPolicy(o); err == nil && p.Name == "" {
			t.Error("a policy without a name")
		}
		if i, err := instance(o, "cn-hangzhou"); err == nil && (i.ID == "" || i.Name == "" || !isRegion(i.Region)) {
			t.Errorf("%+v", i)
		}
		if l, err := login(o); err == nil && (l.User == "" || l.Password == "" || l.Expires.IsZero()) {
			t.Error("half a login")
		}
		if v, err := readKeyVersion(o); err == nil && !isVersion(v.id) {
			t.Errorf("%+v", v)
		}
		if occ, ours, err := occurrence(o); err == nil && ours && len(occ.Payload) == 0 {
			t.Errorf("%+v", occ)
		}
		if c, err := expiring(sts, "Act", o); err == nil && (c.id == "" || c.secret == "" || c.token == "") {
			t.Error("half a credential")
		}
		for _, name := range []string{"Attestors", "Occurrences", "Instances"} {
			if items, total, err := itemsOf(o, o, name); err == nil && (total < 0 || items == nil && total > 0) {
				t.Errorf("%d of %d", len(items), total)
			}
		}
		if _, total, err := occurrencePage(o); err == nil && total < -1 {
			t.Error(total)
		}
		if raw, err := json.Marshal(o); err == nil && !json.Valid(redactRaw(raw)) {
			t.Errorf("no JSON any more: %s", redactRaw(raw))
		}
	})
}

// FuzzKeyReference: what is accepted can be put into a request, and read again.
func FuzzKeyReference(f *testing.F) {
	for _, seed := range []string{"key-abc", "alias/a/b?version=v", "acs:kms:cn-shanghai:123:key/key-abc?version=v", "acs:kms:::", "?version=", "key-a?version=b?version=c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseKeyReference(s)
		if err != nil {
			if r != (KeyReference{}) || strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("%+v, %v", r, err)
			}
			return
		}
		if err := r.check(); err != nil {
			t.Errorf("%q: %v", s, err)
		}
		if _, ok := (Config{}).host(kms, r.Region); r.Region != "" && !ok {
			t.Errorf("%q: region %q", s, r.Region)
		}
	})
}
