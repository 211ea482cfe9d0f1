package alicloudtest_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/test/alicloudtest"
)

// post sends an unsigned form, as pods do.
func post(t *testing.T, e *alicloudtest.Emulator, form url.Values) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+e.Host()+"/?Action=AssumeRoleWithOIDC&Version=2015-04-01&Format=JSON",
		strings.NewReader(form.Encode()))
	check(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := trusting(t, e).RoundTrip(r)
	check(t, err)
	defer response.Body.Close()
	var body map[string]any
	check(t, json.NewDecoder(response.Body).Decode(&body))
	return response.StatusCode, body
}

// jwt makes a JSON Web Token whose signature means nothing.
func jwt(issuer, subject string, audience any, expires time.Time) string {
	encode := func(value any) string {
		text, _ := json.Marshal(value)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	return encode(map[string]any{"alg": "RS256"}) + "." + encode(map[string]any{"iss": issuer, "sub": subject, "aud": audience, "exp": expires.Unix()}) + ".c2ln"
}

func TestAssumeRoleWithOIDC(t *testing.T) {
	clock := newClock()
	now := clock.Now()
	e, _ := start(t, alicloudtest.Options{Now: clock.Now})
	e.AddRole(alicloudtest.Role{Name: "agent", Allow: everything(), OIDCProvider: "ack", Tokens: map[string]time.Time{"opaque": {}, "short": now.Add(time.Minute)},
		JWT: &alicloudtest.JWTTrust{Issuer: "https://issuer", Audience: "sts.aliyuncs.com", Subject: "system:serviceaccount:kube-system:kritis"}})
	e.AddRole(alicloudtest.Role{Name: "closed"})
	e.AddRole(alicloudtest.Role{Name: "plain", OIDCProvider: "ack"})
	const subject = "system:serviceaccount:kube-system:kritis"
	good := jwt("https://issuer", subject, []string{"sts.aliyuncs.com"}, now.Add(time.Hour))
	form := func(changes ...string) url.Values {
		f := url.Values{"RoleArn": {e.RoleARN("agent")}, "OIDCProviderArn": {e.OIDCProviderARN("ack")}, "OIDCToken": {good}, "RoleSessionName": {"kritis"}}
		for i := 0; i < len(changes); i += 2 {
			f.Set(changes[i], changes[i+1])
		}
		return f
	}
	for name, test := range map[string]struct {
		changes []string
		code    string // empty: credentials
		status  int
	}{
		"JWT":               {nil, "", 200},
		"one audience":      {[]string{"OIDCToken", jwt("https://issuer", subject, "sts.aliyuncs.com", now.Add(time.Hour))}, "", 200},
		"opaque":            {[]string{"OIDCToken", "opaque", "DurationSeconds", "900"}, "", 200},
		"not ended":         {[]string{"OIDCToken", "short"}, "", 200},
		"no token":          {[]string{"OIDCToken", ""}, "AuthenticationFail.OIDCToken.Invalid", 401},
		"unknown opaque":    {[]string{"OIDCToken", "other"}, "AuthenticationFail.OIDCToken.Invalid", 401},
		"no base64":         {[]string{"OIDCToken", "a.*.c"}, "AuthenticationFail.OIDCToken.Invalid", 401},
		"no claims":         {[]string{"OIDCToken", "a.YQ.c"}, "AuthenticationFail.OIDCToken.Invalid", 401},
		"expired":           {[]string{"OIDCToken", jwt("https://issuer", subject, "sts.aliyuncs.com", now)}, "AuthenticationFail.OIDCToken.Expired", 401},
		"other audience":    {[]string{"OIDCToken", jwt("https://issuer", subject, "kubernetes", now.Add(time.Hour))}, "AuthenticationFail.OIDCToken.AudienceNotMatch", 401},
		"other issuer":      {[]string{"OIDCToken", jwt("https://other", subject, "sts.aliyuncs.com", now.Add(time.Hour))}, "AuthenticationFail.NoPermission", 401},
		"other subject":     {[]string{"OIDCToken", jwt("https://issuer", "x", "sts.aliyuncs.com", now.Add(time.Hour))}, "AuthenticationFail.NoPermission", 401},
		"no trust in JWTs":  {[]string{"RoleArn", e.RoleARN("plain")}, "AuthenticationFail.OIDCToken.InvalidSignature", 401},
		"other provider":    {[]string{"OIDCProviderArn", e.OIDCProviderARN("other")}, "AuthenticationFail.NoPermission", 401},
		"role without one":  {[]string{"RoleArn", e.RoleARN("closed")}, "AuthenticationFail.NoPermission", 401},
		"no such role":      {[]string{"RoleArn", e.RoleARN("nobody")}, "EntityNotExist.Role", 404},
		"no ARN":            {[]string{"RoleArn", "agent"}, "EntityNotExist.Role", 404},
		"no session name":   {[]string{"RoleSessionName", ""}, "MissingRoleSessionName", 400},
		"session name":      {[]string{"RoleSessionName", "a b"}, "InvalidParameter.RoleSessionName", 400},
		"short session":     {[]string{"RoleSessionName", "a"}, "InvalidParameter.RoleSessionName", 400},
		"too short":         {[]string{"DurationSeconds", "899"}, "InvalidParameter.DurationSeconds", 400},
		"unknown parameter": {[]string{"Token", "x"}, "UnsupportedParameter", 400},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := post(t, e, form(test.changes...))
			code, _ := body["Code"].(string)
			if status != test.status || code != test.code {
				t.Fatalf("got %d %v", status, body)
			}
			if test.code != "" {
				return
			}
			given := body["Credentials"].(map[string]any)
			c := client(t, e, given["AccessKeyId"].(string), given["AccessKeySecret"].(string), given["SecurityToken"].(string))
			_, err := do(t, c, request(e, sasVersion, "DescribeAttestors"))
			check(t, err)
		})
	}
	clock.move(time.Minute)
	if status, body := post(t, e, form("OIDCToken", "short")); status != 401 || body["Code"] != "AuthenticationFail.OIDCToken.Expired" {
		t.Errorf("a token that ended: %d %v", status, body)
	}
	check(t, e.TrustToken("agent", "short", time.Time{}))
	if status, body := post(t, e, form("OIDCToken", "short")); status != 200 {
		t.Errorf("a token that is trusted again: %d %v", status, body)
	}
}

// metadata asks the metadata service.
func metadata(t *testing.T, e *alicloudtest.Emulator, method, path string, headers ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, e.MetadataURL()+path, nil)
	check(t, err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := trusting(t, e).RoundTrip(r)
	check(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	check(t, err)
	return response.StatusCode, string(body)
}

const (
	lifeHeader  = "X-aliyun-ecs-metadata-token-ttl-seconds"
	tokenHeader = "X-aliyun-ecs-metadata-token"
	rolesPath   = "/latest/meta-data/ram/security-credentials/"
)

func TestMetadata(t *testing.T) {
	clock := newClock()
	e, _ := start(t, alicloudtest.Options{Now: clock.Now, MetadataRole: "node", CredentialLife: 10 * time.Minute})
	e.AddRole(alicloudtest.Role{Name: "node", Allow: everything()})
	expectStatus := func(want int, method, path string, headers ...string) string {
		t.Helper()
		status, body := metadata(t, e, method, path, headers...)
		if status != want {
			t.Errorf("%s %s %v: %d %s, want %d", method, path, headers, status, body, want)
		}
		return body
	}
	expectStatus(403, "GET", rolesPath)
	expectStatus(403, "GET", rolesPath+"node")
	expectStatus(403, "GET", rolesPath, tokenHeader, "x")
	expectStatus(400, "PUT", "/latest/api/token")
	expectStatus(400, "PUT", "/latest/api/token", lifeHeader, "21601")
	expectStatus(405, "GET", "/latest/api/token", lifeHeader, "60")
	token := expectStatus(200, "PUT", "/latest/api/token", lifeHeader, "60")
	if role := expectStatus(200, "GET", rolesPath, tokenHeader, token); role != "node" {
		t.Errorf("role %q", role)
	}
	expectStatus(404, "GET", rolesPath+"other", tokenHeader, token)
	expectStatus(404, "GET", "/latest/meta-data/", tokenHeader, token)
	read := func() (c struct{ Code, AccessKeyId, AccessKeySecret, SecurityToken, Expiration string }) {
		t.Helper()
		token := expectStatus(200, "PUT", "/latest/api/token", lifeHeader, "60")
		check(t, json.Unmarshal([]byte(expectStatus(200, "GET", rolesPath+"node", tokenHeader, token)), &c))
		return c
	}
	first := read()
	if first.Code != "Success" || first.Expiration != clock.Now().Add(10*time.Minute).UTC().Format("2006-01-02T15:04:05Z") {
		t.Errorf("credentials %+v", first)
	}
	_, err := do(t, client(t, e, first.AccessKeyId, first.AccessKeySecret, first.SecurityToken), request(e, sasVersion, "DescribeAttestors"))
	check(t, err)
	if again := read(); again != first {
		t.Error("credentials changed before half of their life")
	}
	clock.move(61 * time.Second)
	expectStatus(403, "GET", rolesPath, tokenHeader, token)
	clock.move(5 * time.Minute)
	if again := read(); again == first {
		t.Error("credentials were not renewed")
	}
	if n := e.Calls(alicloudtest.Call{Service: "metadata", Action: "credentials", Status: 200}); n != 3 {
		t.Errorf("%d calls counted", n)
	}
	e.SetMetadataRole("")
	token = expectStatus(200, "PUT", "/latest/api/token", lifeHeader, "60")
	expectStatus(404, "GET", rolesPath, tokenHeader, token)
}

func TestUnhardenedMetadata(t *testing.T) {
	e, _ := start(t, alicloudtest.Options{MetadataRole: "node", UnhardenedMetadata: true})
	e.AddRole(alicloudtest.Role{Name: "node"})
	if status, body := metadata(t, e, "GET", rolesPath); status != 200 || body != "node" {
		t.Errorf("%d %s", status, body)
	}
}
