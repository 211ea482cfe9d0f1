package alicloudtest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	sdkerrors "github.com/aliyun/alibaba-cloud-sdk-go/sdk/errors"

	"github.com/kritis-node/kritis-node/test/alicloudtest"
)

// meddler changes requests after they were signed.
type meddler struct {
	next   http.RoundTripper
	change func(url.Values)
	sent   *http.Request
}

func (m *meddler) RoundTrip(r *http.Request) (*http.Response, error) {
	query := r.URL.Query()
	m.change(query)
	r.URL.RawQuery = query.Encode()
	m.sent = r.Clone(context.WithoutCancel(r.Context()))
	m.sent.Body = http.NoBody
	return m.next.RoundTrip(r)
}

func TestRejectedRequests(t *testing.T) {
	e, alice := start(t, alicloudtest.Options{})
	set := func(name, value string) func(url.Values) { return func(q url.Values) { q.Set(name, value) } }
	remove := func(name string) func(url.Values) { return func(q url.Values) { q.Del(name) } }
	for name, test := range map[string]struct {
		change func(url.Values)
		status int
		code   string
	}{
		"altered parameter":      {set("KeyId", "key-other"), 400, "SignatureDoesNotMatch"},
		"added parameter":        {set("KeyVersionId", "x"), 400, "SignatureDoesNotMatch"},
		"removed parameter":      {remove("RegionId"), 400, "SignatureDoesNotMatch"},
		"other action":           {set("Action", "DisableKey"), 400, "SignatureDoesNotMatch"},
		"empty signature":        {set("Signature", ""), 400, "MissingSignature"},
		"no nonce":               {remove("SignatureNonce"), 400, "MissingSignatureNonce"},
		"no timestamp":           {remove("Timestamp"), 400, "MissingTimestamp"},
		"timestamp of a kind":    {set("Timestamp", "2016-02-23 12:46:24"), 400, "InvalidTimeStamp.Format"},
		"old timestamp":          {set("Timestamp", "2016-02-23T12:46:24Z"), 400, "InvalidTimeStamp.Expired"},
		"unknown key":            {set("AccessKeyId", "LTAInobody"), 404, "InvalidAccessKeyId.NotFound"},
		"no key":                 {remove("AccessKeyId"), 400, "MissingAccessKeyId"},
		"other signature method": {set("SignatureMethod", "HMAC-SHA256"), 400, "InvalidSignatureMethod"},
		"other signature type":   {set("SignatureType", "BEARERTOKEN"), 400, "InvalidSignatureType"},
		"XML":                    {set("Format", "XML"), 400, "InvalidParameter.Format"},
		"no version":             {remove("Version"), 400, "MissingVersion"},
		"other version":          {set("Version", "2020-01-01"), 400, "NoSuchVersion"},
		"no action":              {remove("Action"), 400, "MissingAction"},
		"parameter given twice":  {func(q url.Values) { q.Add("KeyId", "key-other") }, 400, "InvalidParameter"},
	} {
		t.Run(name, func(t *testing.T) {
			c := as(t, e, alice)
			c.SetTransport(&meddler{next: trusting(t, e), change: test.change})
			_, err := do(t, c, request(e, kmsVersion, "DescribeKey", "KeyId", "key-x"))
			expect(t, err, test.status, test.code)
		})
	}
	// Without meddling the same request comes to the key, which is not there.
	c := as(t, e, alice)
	c.SetTransport(&meddler{next: trusting(t, e), change: func(url.Values) {}})
	_, err := do(t, c, request(e, kmsVersion, "DescribeKey", "KeyId", "key-x"))
	expect(t, err, 404, "Forbidden.KeyNotFound")
}

func TestWrongSecret(t *testing.T) {
	e, alice := start(t, alicloudtest.Options{})
	alice.AccessKeySecret += "x"
	_, err := do(t, as(t, e, alice), request(e, sasVersion, "DescribeAttestors"))
	expect(t, err, 400, "SignatureDoesNotMatch")
	// The SDK compares what both sides signed; if they agree it blames the secret.
	contains(t, err.Error(), "InvalidAccessKeySecret")
}

func TestSkewAndReplay(t *testing.T) {
	clock := newClock()
	e, alice := start(t, alicloudtest.Options{Now: clock.Now})
	c := as(t, e, alice)
	ask := func() error {
		_, err := do(t, c, request(e, sasVersion, "DescribeAttestors"))
		return err
	}
	for _, test := range []struct {
		off  time.Duration
		fits bool
	}{{0, true}, {14 * time.Minute, true}, {16 * time.Minute, false}, {-14 * time.Minute, true}, {-16 * time.Minute, false}} {
		clock.move(test.off)
		if err := ask(); test.fits {
			check(t, err)
		} else {
			expect(t, err, 400, "InvalidTimeStamp.Expired")
		}
		clock.move(-test.off)
	}

	m := &meddler{next: trusting(t, e), change: func(url.Values) {}}
	c.SetTransport(m)
	check(t, ask())
	again, err := m.next.RoundTrip(m.sent)
	check(t, err)
	body, err := io.ReadAll(again.Body)
	check(t, errors.Join(err, again.Body.Close()))
	if again.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "SignatureNonceUsed") {
		t.Errorf("replayed: %d %s", again.StatusCode, body)
	}
}

func TestTemporaryCredentials(t *testing.T) {
	clock := newClock()
	e, alice := start(t, alicloudtest.Options{Now: clock.Now})
	e.AddRole(alicloudtest.Role{Name: "agent", Allow: everything()})
	given, err := e.IssueCredentials("agent", 10*time.Minute)
	check(t, err)
	ask := func(id, secret, token string) error {
		_, err := do(t, client(t, e, id, secret, token), request(e, sasVersion, "DescribeAttestors"))
		return err
	}
	check(t, ask(given.AccessKeyID, given.AccessKeySecret, given.SecurityToken))
	expect(t, ask(given.AccessKeyID, given.AccessKeySecret, ""), 400, "MissingSecurityToken")
	expect(t, ask(given.AccessKeyID, given.AccessKeySecret, given.SecurityToken+"x"), 400, "InvalidSecurityToken.MismatchWithAccessKey")
	expect(t, ask(alice.AccessKeyID, alice.AccessKeySecret, given.SecurityToken), 400, "InvalidSecurityToken.MismatchWithAccessKey")
	expect(t, ask(given.AccessKeyID, alice.AccessKeySecret, given.SecurityToken), 400, "SignatureDoesNotMatch")
	clock.move(10 * time.Minute)
	expect(t, ask(given.AccessKeyID, given.AccessKeySecret, given.SecurityToken), 400, "InvalidSecurityToken.Expired")

	e.DisableAccessKey(alice.AccessKeyID)
	expect(t, ask(alice.AccessKeyID, alice.AccessKeySecret, ""), 400, "InvalidAccessKeyId.Inactive")
}

func TestPermissions(t *testing.T) {
	e, _ := start(t, alicloudtest.Options{})
	demo, err := e.AddInstance(alicloudtest.Instance{Name: "demo"})
	check(t, err)
	key, err := e.CreateKey(alicloudtest.NewKey{})
	check(t, err)
	bob := e.AddUser(alicloudtest.User{Name: "bob"})
	for _, test := range []struct {
		version, action, ram, code string
		pairs                      []string
	}{
		{kmsVersion, "DescribeKey", "kms:DescribeKey", "Forbidden.NoPermission", []string{"KeyId", key.ID}},
		{sasVersion, "DescribeBinarySecurityPolicies", "yundun-sas:DescribeBinarySecurityPolicies", "NoPermission", nil},
		{crVersion, "ListMetadataOccurrences", "cr:ListMetadataOccurrences", "NoPermission", []string{"InstanceId", demo.ID}},
	} {
		for _, allow := range []struct {
			list []string
			fits bool
		}{
			{nil, false},
			{[]string{test.ram}, true},
			{[]string{"x:y", test.ram[:len(test.ram)-3] + "*"}, true},
			{[]string{"*"}, true},
			{[]string{test.ram[:len(test.ram)-3]}, false},
			{[]string{"oss:*"}, false},
		} {
			check(t, e.Allow("bob", allow.list...))
			_, err := do(t, as(t, e, bob), request(e, test.version, test.action, test.pairs...))
			if allow.fits {
				check(t, err)
				continue
			}
			expect(t, err, 403, test.code)
			var refused *sdkerrors.ServerError
			if errors.As(err, &refused) && refused.AccessDeniedDetail()["AuthAction"] != test.ram {
				t.Errorf("detail %v", refused.AccessDeniedDetail())
			}
			contains(t, err.Error(), "not authorized to perform "+test.ram)
		}
	}
}

// TestTransport shows that only TLS is spoken, with certificates for all names that matter.
func TestTransport(t *testing.T) {
	e, alice := start(t, alicloudtest.Options{Hosts: []string{"cloud.example"}})
	response, err := trusting(t, e).RoundTrip(mustRequest(t, "http://"+e.Host()+"/?Action=DescribeKey"))
	check(t, err)
	check(t, response.Body.Close())
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("plain HTTP: status %d", response.StatusCode)
	}
	names := []string{"cloud.example", "localhost", "kms.cn-hangzhou.aliyuncs.com", "tds.ap-southeast-1.aliyuncs.com", "sts.aliyuncs.com",
		"a-registry.cn-hangzhou.cr.aliyuncs.com"}
	for _, name := range append(names, "cloud.elsewhere") {
		transport := trusting(t, e)
		transport.TLSClientConfig.ServerName = name
		response, err := transport.RoundTrip(mustRequest(t, "https://"+e.Host()+"/"))
		if err == nil {
			check(t, response.Body.Close())
		}
		if fits := slices.Contains(names, name); fits != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The region of a request is its host's, if that names one.
	_, err = e.CreateKey(alicloudtest.NewKey{Region: "eu-central-1", ID: "key-eu"})
	check(t, err)
	c := as(t, e, alice)
	c.SetTransport(hostname{trusting(t, e), "kms-vpc.eu-central-1.aliyuncs.com"})
	_, err = do(t, c, request(e, kmsVersion, "DescribeKey", "KeyId", "key-eu"))
	check(t, err)
}

// hostname sends requests under another name.
type hostname struct {
	next *http.Transport
	name string
}

func (h hostname) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Host = h.name
	return h.next.RoundTrip(r)
}

func mustRequest(t *testing.T, address string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	check(t, err)
	return r
}
