package alicloud

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What a status and a code mean, and what is tried again.
func TestMeaningOfErrors(t *testing.T) {
	for _, test := range []struct {
		service service
		status  int
		code    string
		kind    Kind
		again   bool
		text    string
	}{
		{kms, 404, "Forbidden.KeyNotFound", NotFound, false, "check its name"},
		{kms, 409, "Rejected.Disabled", Disabled, false, "enable it in KMS"},
		{kms, 409, "Rejected.PendingDeletion", Disabled, false, "enable it in KMS"},
		{kms, 403, "Forbidden.NoPermission", Denied, false, "allow kms:Act to the user or role in RAM"},
		{kms, 429, "Rejected.Throttling", Unavailable, true, "throttled"},
		{kms, 409, "Rejected.LimitExceeded", Unfit, false, "refused"},
		{kms, 400, "UnsupportedOperation", Unfit, false, "refused"},
		{kms, 500, "InternalFailure", Unavailable, true, "fault of the service"},
		{kms, 503, "ServiceUnavailableTemporary", Unavailable, true, "throttled"},
		{sas, 400, "Throttling.User", Unavailable, true, "throttled"},
		{sas, 403, "NoPermission", Denied, false, "allow yundun-sas:Act"},
		{sas, 400, "SignatureNonceUsed", Unavailable, true, "came twice"},
		{sas, 400, "InvalidTimeStamp.Expired", Unauthenticated, false, "clock"},
		{sas, 400, "SignatureDoesNotMatch", Unauthenticated, false, "secret"},
		{sas, 404, "InvalidAccessKeyId.NotFound", Unauthenticated, false, "credentials are not accepted"},
		{sas, 400, "InvalidSecurityToken.Expired", Unauthenticated, false, "credentials are not accepted"},
		{sas, 404, "InvalidApi.NotFound", NotFound, false, ""},
		{cr, 200, "INSTANCE_NOT_EXIST", NotFound, false, ""},
		{cr, 200, "SOMETHING_ELSE", Unfit, false, ""},
		{cr, 302, "", Unavailable, true, "status 302"},
		{sts, 401, "AuthenticationFail.OIDCToken.Expired", Unauthenticated, false, "the role is not given"},
		{sts, 404, "EntityNotExist.Role", Unauthenticated, false, "the role is not given"},
	} {
		t.Run(fmt.Sprint(test.service.name, test.status, test.code), func(t *testing.T) {
			f := test.service.classify("Act", test.status, object{"Code": json.RawMessage(strconv.Quote(test.code)), "Message": json.RawMessage(`"sorry\nsir"`), "RequestId": json.RawMessage(`"R-1"`)}, strings.Clone)
			if test.code == "" {
				f = test.service.classify("Act", test.status, nil, strings.Clone)
			}
			wantKind(t, f.err, test.kind, "Act", test.text)
			if f.again != test.again || f.err.Code != test.code || f.err.Service != test.service.name {
				t.Errorf("%+v", f)
			}
		})
	}
	long := kms.classify("Act", 400, object{"Code": json.RawMessage(`"X"`), "Message": json.RawMessage(strconv.Quote(strings.Repeat("ä", 5000)))}, strings.Clone)
	if len(long.err.Error()) > 2*maxText {
		t.Errorf("%d bytes of text", len(long.err.Error()))
	}
}

// An answer that is no answer is an error, of a kind, and not a panic.
func TestOddAnswers(t *testing.T) {
	big := `{"PageInfo":{"TotalCount":0},"Attestors":[],"x":"` + strings.Repeat("x", maxAnswer) + `"}`
	for name, test := range map[string]struct {
		status int
		body   string
		kind   Kind
	}{
		"empty":               {200, ``, Unavailable},
		"null":                {200, `null`, Unavailable},
		"list":                {200, `[]`, Unavailable},
		"truncated":           {200, `{"PageInfo":{"TotalCount":0},"Attest`, Unavailable},
		"HTML":                {200, `<html>`, Unavailable},
		"no members":          {200, `{}`, Unfit},
		"no TotalCount":       {200, `{"PageInfo":{},"Attestors":[]}`, Unfit},
		"TotalCount null":     {200, `{"PageInfo":{"TotalCount":null},"Attestors":[]}`, Unfit},
		"negative count":      {200, `{"PageInfo":{"TotalCount":-1},"Attestors":[]}`, Unfit},
		"no list":             {200, `{"PageInfo":{"TotalCount":1}}`, Unfit},
		"list is a text":      {200, `{"PageInfo":{"TotalCount":1},"Attestors":"x"}`, Unfit},
		"null in list":        {200, `{"PageInfo":{"TotalCount":1},"Attestors":[null]}`, Unfit},
		"no name":             {200, `{"PageInfo":{"TotalCount":1},"Attestors":[{}]}`, Unfit},
		"two spellings":       {200, `{"PageInfo":{"TotalCount":0},"pageInfo":{"TotalCount":1},"Attestors":[]}`, Unfit},
		"number as code":      {400, `{"Code":400,"Message":7,"RequestId":{}}`, Unfit},
		"HTML and 404":        {404, `<html>`, NotFound},
		"HTML and 403":        {403, `<html>`, Denied},
		"HTML and 502":        {502, `<html>`, Unavailable},
		"too large":           {200, big, Unfit},
		"a good one with 500": {500, `{"PageInfo":{"TotalCount":0},"Attestors":[]}`, Unavailable},
		"a good one with 302": {302, `{"PageInfo":{"TotalCount":0},"Attestors":[]}`, Unavailable},
		"204":                 {204, ``, Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			server := newCloud(t, nil)
			server.respond(func(w http.ResponseWriter, _ *http.Request, _ url.Values) {
				w.WriteHeader(test.status)
				fmt.Fprint(w, test.body)
			})
			ctx := t.Context()
			if test.kind == Unavailable {
				ctx = within(t, 500*time.Millisecond) // it is tried again
			}
			got, err := newClient(t, server.config(t)).Witnesses(ctx)
			wantKind(t, err, test.kind, "DescribeAttestors", "")
			if got != nil {
				t.Errorf("%v with an error", got)
			}
		})
	}
}

// A listing is complete, or an error.
func TestPages(t *testing.T) {
	entry := func(names ...string) string {
		var all []string
		for _, n := range names {
			all = append(all, fmt.Sprintf(`{"Name":%q,"KeyId":"k"}`, n))
		}
		return "[" + strings.Join(all, ",") + "]"
	}
	page := func(total int, list string) string {
		return fmt.Sprintf(`{"PageInfo":{"TotalCount":%d},"Attestors":%s}`, total, list)
	}
	for name, test := range map[string]struct {
		pages []string // the last is repeated
		want  []string
		kind  Kind
		text  string
		calls int
	}{
		"none":                         {[]string{page(0, "[]")}, nil, 0, "", 1},
		"none, list absent":            {[]string{`{"PageInfo":{"TotalCount":"0"}}`}, nil, 0, "", 1},
		"one page":                     {[]string{page(2, entry("a", "b"))}, []string{"a", "b"}, 0, "", 1},
		"pages smaller than asked for": {[]string{page(3, entry("a")), page(3, entry("b")), page(3, entry("c"))}, []string{"a", "b", "c"}, 0, "", 3},
		"small letters and texts":      {[]string{`{"pageInfo":{"totalCount":"1"},"attestors":"[{\"name\":\"a\",\"keyId\":\"k\"}]"}`}, []string{"a"}, 0, "", 1},
		"last page lost":               {[]string{page(2, entry("a")), page(2, "[]")}, nil, Unavailable, "it has 1 entries of 2", 2},
		"more than it says":            {[]string{page(1, entry("a", "b"))}, nil, Unavailable, "it has 2 entries of 1", 1},
		"it grew":                      {[]string{page(2, entry("a")), page(3, entry("b"))}, nil, Unavailable, "it had 2 entries and then 3", 2},
		"it shrank":                    {[]string{page(3, entry("a")), page(2, entry("b"))}, nil, Unavailable, "it had 3 entries and then 2", 2},
		"one page again":               {[]string{page(4, entry("a", "b"))}, nil, Unavailable, `"a\" is in it twice`, 2},
		"a name twice in a page":       {[]string{page(2, entry("a", "a"))}, nil, Unavailable, "twice", 1},
		"more than may be":             {[]string{page(maxItems+1, entry("a"))}, nil, Unfit, "more than 50000", 1},
	} {
		t.Run(name, func(t *testing.T) {
			server := newCloud(t, nil)
			server.respond(func(w http.ResponseWriter, _ *http.Request, q url.Values) {
				n, err := strconv.Atoi(q.Get("CurrentPage"))
				if err != nil || n < 1 || q.Get("PageSize") != "50" {
					t.Errorf("page %q of %q", q.Get("CurrentPage"), q.Get("PageSize"))
					n = 1
				}
				fmt.Fprint(w, test.pages[min(n, len(test.pages))-1])
			})
			got, err := newClient(t, server.config(t)).Witnesses(t.Context())
			if test.text != "" {
				wantKind(t, err, test.kind, "DescribeAttestors", strings.ReplaceAll(test.text, `\"`, `"`))
			} else if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, w := range got {
				names = append(names, w.Name)
			}
			if diff := cmp.Diff(test.want, names); diff != "" {
				t.Error(diff)
			}
			if n := server.count("DescribeAttestors"); n != test.calls {
				t.Errorf("%d calls, want %d", n, test.calls)
			}
		})
	}
}

// A redirect is not followed: the request holds a signature.
func TestNoRedirect(t *testing.T) {
	var followed atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Store(true) }))
	t.Cleanup(other.Close)
	server := newCloud(t, nil)
	server.respond(func(w http.ResponseWriter, r *http.Request, _ url.Values) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	_, err := newClient(t, server.config(t)).Witnesses(t.Context())
	wantKind(t, err, Unavailable, "DescribeAttestors", "307")
	if followed.Load() {
		t.Error("it was followed")
	}
}

// What a named key turns out to be.
func TestUnfitAnswersOfKMS(t *testing.T) {
	good := map[string]string{
		"DescribeKey": describedKey, "ListKeyVersions": `{"TotalCount":1,"KeyVersions":{"KeyVersion":[{"KeyVersionId":"v1","CreationDate":"2024-03-25T10:42:40Z"}]}}`,
		"GetPublicKey": `{"KeyVersionId":"v1","PublicKey":` + strconv.Quote(publicPEM(t, 2048)) + `}`,
	}
	versions := func(list string, n int) string {
		return fmt.Sprintf(`{"TotalCount":%d,"KeyVersions":{"KeyVersion":[%s]}}`, n, list)
	}
	for name, test := range map[string]struct {
		action, answer string
		kind           Kind
		text           string
	}{
		"good":                   {"X", "", 0, ""},
		"no metadata":            {"DescribeKey", `{}`, Unfit, "KeyMetadata"},
		"usage of encryption":    {"DescribeKey", strings.Replace(describedKey, "SIGN/VERIFY", "ENCRYPT/DECRYPT", 1), Unfit, "SIGN/VERIFY"},
		"unknown state":          {"DescribeKey", strings.Replace(describedKey, "Enabled", "Confused", 1), Unfit, "Confused"},
		"no state":               {"DescribeKey", strings.Replace(describedKey, `"KeyState":"Enabled"`, `"x":1`, 1), Unfit, "in state"},
		"odd ID":                 {"DescribeKey", strings.Replace(describedKey, `"KeyId":"key-abc"`, `"KeyId":"../x"`, 1), Unfit, "KeyId"},
		"two newest versions":    {"ListKeyVersions", versions(`{"KeyVersionId":"v1","CreationDate":"2024-03-25T10:42:40Z"},{"KeyVersionId":"v2","CreationDate":"2024-03-25T10:42:40Z"}`, 2), Unfit, "name one"},
		"no version":             {"ListKeyVersions", versions("", 0), Unfit, "no version"},
		"version without a date": {"ListKeyVersions", versions(`{"KeyVersionId":"v1"}`, 1), Unfit, "CreationDate"},
		"version with an odd ID": {"ListKeyVersions", versions(`{"KeyVersionId":"a b","CreationDate":"2024-03-25T10:42:40Z"}`, 1), Unfit, "KeyVersionId"},
		"a version is missing":   {"ListKeyVersions", strings.Replace(good["ListKeyVersions"], `"TotalCount":1`, `"TotalCount":2`, 1), Unavailable, "twice"},
		"key of another version": {"GetPublicKey", strings.Replace(good["GetPublicKey"], "v1", "v2", 1), Unfit, "about KeyVersionId"},
		"key of 1024 bits":       {"GetPublicKey", `{"PublicKey":` + strconv.Quote(publicPEM(t, 1024)) + `}`, Unfit, "2048"},
		"no key":                 {"GetPublicKey", `{}`, Unfit, "PEM"},
	} {
		t.Run(name, func(t *testing.T) {
			answers := map[string]string{}
			for action, answer := range good {
				answers[action] = answer
			}
			answers[test.action] = test.answer
			got, err := newClient(t, newCloud(t, answers).config(t)).PublicKey(t.Context(), KeyReference{ID: "key-abc"})
			if test.text == "" && err != nil {
				t.Fatal(err)
			}
			if test.text != "" {
				wantKind(t, err, test.kind, "", test.text)
				if got != (PublicKey{}) {
					t.Errorf("%+v with an error", got)
				}
			}
		})
	}
}

// What is wrong with a request for a signature is found before KMS is asked.
func TestSignatureChecks(t *testing.T) {
	server := newCloud(t, map[string]string{"AsymmetricSign": `{"Value":"c2hvcnQ="}`, "AsymmetricVerify": `{"Value":"perhaps"}`})
	c, ctx, r := newClient(t, server.config(t)), t.Context(), KeyReference{ID: "key-abc", Version: "v1"}
	hash, signature := make([]byte, 32), make([]byte, signatureSize)
	_, err := c.Sign(ctx, r, "RSA_PKCS1_SHA_1", hash)
	wantKind(t, err, Unfit, "AsymmetricSign", "RSA_PSS_SHA_256")
	_, err = c.Sign(ctx, r, RSAPSSSHA256, hash[:31])
	wantKind(t, err, Unfit, "AsymmetricSign", "31 bytes")
	_, err = c.Sign(ctx, KeyReference{ID: "key-abc", Version: "v/1"}, RSAPSSSHA256, hash)
	wantKind(t, err, Unfit, "AsymmetricSign", "version")
	for _, short := range [][]byte{nil, signature[1:], append(signature, 0)} {
		if good, err := c.Verify(ctx, r, RSAPSSSHA256, hash, short); good || err != nil {
			t.Errorf("%v, %v", good, err)
		}
	}
	if server.count("AsymmetricSign")+server.count("AsymmetricVerify") != 0 {
		t.Error("KMS was asked")
	}
	_, err = c.Sign(ctx, r, RSAPSSSHA256, hash)
	wantKind(t, err, Unfit, "AsymmetricSign", "256 bytes")
	_, err = c.Verify(ctx, r, RSAPSSSHA256, hash, signature)
	wantKind(t, err, Unfit, "AsymmetricVerify", "true or false")
}

// The undocumented action is read tolerantly, and what is not understood is not an empty list.
func TestOccurrenceShapes(t *testing.T) {
	i := Instance{ID: "cri-1", Region: "cn-hangzhou"}
	attestation := `"Attestation":{"SerializedPayload":"e30","Signatures":[{"PublicKeyId":"k","Signature":"-_8="}]}`
	want := []Occurrence{{"n", "u", []byte("{}"), []OccurrenceSignature{{"k", []byte{0xfb, 0xff}}}}}
	for name, test := range map[string]struct {
		answer string
		want   []Occurrence
		text   string
	}{
		"as assumed":     {`{"TotalCount":1,"Occurrences":[{"NoteName":"n","Kind":"ATTESTATION","Resource":{"Uri":"u"},` + attestation + `}]}`, want, ""},
		"no TotalCount":  {`{"Occurrences":[{"NoteName":"n","Resource":{"Uri":"u"},` + attestation + `}]}`, want, ""},
		"small letters":  {`{"occurrences":[{"noteName":"n","kind":"attestation","resourceUri":"u","attestation":{"serializedPayload":"e30=","signatures":[{"publicKeyId":"k","signature":"+/8"}]}}]}`, want, ""},
		"as Grafeas":     {`{"occurrences":[{"noteName":"n","kind":"ATTESTATION","resource":{"uri":"u"},"attestation":{"attestation":{"genericSignedAttestation":{"serializedPayload":"e30=","signatures":[{"publicKeyId":"k","signature":"+/8="}]}}}}]}`, want, ""},
		"flat":           {`{"Occurrences":[{"NoteName":"n","ResourceUri":"u","SerializedPayload":"e30=","Signatures":[{"PublicKeyId":"k","Signature":"+/8="}]}]}`, want, ""},
		"another kind":   {`{"Occurrences":[{"Kind":"VULNERABILITY"}]}`, nil, ""},
		"none":           {`{"Occurrences":[]}`, nil, ""},
		"none, no list":  {`{"TotalCount":0}`, nil, ""},
		"something else": {`{"Data":[]}`, nil, "no Occurrences"},
		"no payload":     {`{"Occurrences":[{"Attestation":{"Signatures":[]}}]}`, nil, "SerializedPayload"},
		"no signatures":  {`{"Occurrences":[{"Attestation":{"SerializedPayload":"e30="}}]}`, nil, "Signatures"},
		"not base64":     {`{"Occurrences":[{"Attestation":{"SerializedPayload":"e30=","Signatures":[{"Signature":"%%"}]}}]}`, nil, "base64"},
		"list of texts":  {`{"Occurrences":["x"]}`, nil, "JSON object"},
		"not a success":  {`{"Code":"FAILED","IsSuccess":false,"Occurrences":[]}`, nil, "FAILED"},
	} {
		t.Run(name, func(t *testing.T) {
			server := newCloud(t, map[string]string{listOccurrences: test.answer})
			got, err := newClient(t, server.config(t)).Occurrences(t.Context(), i, "", "u")
			if test.text != "" {
				wantKind(t, err, Unfit, listOccurrences, test.text)
			} else if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if server.calls[0].Has("NoteName") {
				t.Error("an empty note was sent")
			}
		})
	}
}

// Container Registry says in the answer itself whether it is one.
func TestNoSuccess(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		kind   Kind
	}{
		"no code":            {`{"IsSuccess":false,"TotalCount":0,"Instances":[]}`, Unavailable},
		"as a text":          {`{"IsSuccess":"false","TotalCount":0,"Instances":[]}`, Unavailable},
		"neither":            {`{"IsSuccess":"perhaps","TotalCount":0,"Instances":[]}`, Unavailable},
		"code":               {`{"Code":"INSTANCE_NOT_EXIST","TotalCount":0,"Instances":[]}`, NotFound},
		"code as a number":   {`{"Code":7,"TotalCount":0,"Instances":[]}`, Unavailable},
		"code and no answer": {`{"Code":"NoPermission","IsSuccess":true}`, Denied},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			if test.kind == Unavailable {
				ctx = within(t, 500*time.Millisecond) // it is tried again
			}
			got, err := newClient(t, newCloud(t, map[string]string{"ListInstance": test.answer}).config(t)).Instances(ctx, "cn-hangzhou")
			wantKind(t, err, test.kind, "ListInstance", "")
			if got != nil {
				t.Error(got)
			}
		})
	}
}

// The raw answer can be shown to others.
func TestRawOccurrences(t *testing.T) {
	answer := fmt.Sprintf(`{"Code":"success","Account":"1234567890123456","Arn":"acs:kms:cn-hangzhou:1234567890123456:key/key-abc","SecurityToken":"abc","tempPassword":"a\"b","AccessKeyID":12345,"echo":%q,"Strange":[{"Kept":true}]}`, testSecret)
	server := newCloud(t, map[string]string{listOccurrences: answer})
	raw, err := newClient(t, server.config(t)).RawOccurrences(t.Context(), Instance{ID: "cri-1", Region: "cn-hangzhou"}, "", "u")
	if err != nil {
		t.Fatal(err)
	}
	want := `{"Account":"REDACTED","Arn":"acs:kms:cn-hangzhou:REDACTED:key/key-abc","Code":"success","SecurityToken":"REDACTED","tempPassword":"REDACTED","AccessKeyID":"REDACTED","echo":"REDACTED","Strange":[{"Kept":true}]}`
	var got, wanted any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	_ = json.Unmarshal([]byte(want), &wanted)
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Error(diff)
	}
}
