package alicloud

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// encodings are the forms in which a secret might come back.
func encodings(secret string) []string {
	once := url.QueryEscape(secret)
	percent := strings.NewReplacer("+", "%20", "*", "%2A", "%7E", "~").Replace(once)
	text, _ := json.Marshal(secret)
	return []string{secret, once, url.PathEscape(secret), url.QueryEscape(once), percent, url.QueryEscape(percent), strings.Trim(string(text), `"`)}
}

// search fails the test if a text holds a secret in any encoding.
func search(t *testing.T, what, text string, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		for _, form := range encodings(secret) {
			if strings.Contains(text, form) {
				t.Errorf("%s holds %q: %s", what, form, text)
			}
		}
	}
}

// verbs are all ways of printing.
func verbs(v any) string {
	return fmt.Sprintf("%v %+v %#v %s %q %x", v, v, v, v, v, v)
}

// No text holds a secret, though the service repeats all that it was sent in every member of its errors.
func TestNoSecretInErrors(t *testing.T) {
	codes := []string{"SignatureDoesNotMatch", "IncompleteSignature", "Forbidden.NoPermission", "Forbidden.KeyNotFound", "InvalidAccessKeyId.NotFound",
		"InvalidSecurityToken.Expired", "InvalidParameter", "Rejected.Disabled", "Throttling.User", "InternalError", "echo"}
	server := newCloud(t, nil)
	config := server.config(t)
	c := newClient(t, config)
	for _, status := range []int{200, 302, 400, 403, 404, 409, 429, 500} {
		for _, code := range codes {
			server.respond(func(w http.ResponseWriter, r *http.Request, q url.Values) {
				if q.Get("SecurityToken") != testToken || q.Get("AccessKeyId") != testID {
					t.Error("the credential did not arrive")
				}
				sent := "https://host" + r.URL.String() + " server string to sign is:POST&%2F&" + url.QueryEscape(r.URL.RawQuery) + " " + q.Encode() + " " + fmt.Sprint(q)
				says := code
				if code == "echo" {
					says = sent
				}
				answer := map[string]any{"Code": says, "Message": sent, "RequestId": sent, "HostId": sent, "Recommend": sent, "AccessDeniedDetail": map[string]string{"a": sent}}
				body, _ := json.Marshal(answer)
				w.Header().Set("Location", r.URL.String())
				w.WriteHeader(status)
				_, _ = w.Write(body)
			})
			for name, call := range map[string]func() error{
				"witnesses": func() error { _, err := c.Witnesses(within(t, 100*time.Millisecond)); return err },
				"login": func() error {
					_, err := c.RegistryLogin(within(t, 100*time.Millisecond), Instance{ID: "i", Region: "cn-hangzhou"})
					return err
				},
			} {
				err := call()
				if err == nil {
					t.Fatalf("%s: status %d with code %s is no error", name, status, code)
				}
				search(t, fmt.Sprint(name, status), verbs(err), append(server.signatures(), testID, testSecret, testToken)...)
			}
		}
	}
	if got := fmt.Sprintf("%v %+v", c, *c); got != "alicloud.Client alicloud.Client" {
		t.Error(got)
	}
	for what, v := range map[string]any{"client": c, "client's value": *c, "config": config, "credential": credential{id: testID, secret: testSecret, token: testToken},
		"source": c.credentials, "fixed source": &accessKey{fixed: credential{id: testID, secret: testSecret, token: testToken}},
		"keeper": &keeper{held: credential{id: testID, secret: testSecret, token: testToken}}} {
		search(t, what, verbs(v), testID, testSecret, testToken)
	}
}

// Nor when no answer came, whose errors name the request.
func TestNoSecretWithoutAnswer(t *testing.T) {
	server := newCloud(t, nil)
	server.respond(func(http.ResponseWriter, *http.Request, url.Values) { panic(http.ErrAbortHandler) })
	config := server.config(t)
	for name, change := range map[string]func(*Config){
		"cut":         func(*Config) {},
		"refused":     func(c *Config) { c.Endpoints.SAS = "127.0.0.1:1" },
		"no host":     func(c *Config) { c.Endpoints.SAS = "nowhere.invalid" },
		"not trusted": func(c *Config) { c.CAFile = "" },
	} {
		t.Run(name, func(t *testing.T) {
			config := config
			change(&config)
			_, err := newClient(t, config).Witnesses(within(t, 2*time.Second))
			wantKind(t, err, Unavailable, "DescribeAttestors", "")
			search(t, name, verbs(err), append(server.signatures(), testID, testSecret, testToken)...)
			if name == "not trusted" && !strings.Contains(err.Error(), "caFile") {
				t.Error(err)
			}
		})
	}
}

// Nor when an OIDC token is exchanged.
func TestNoSecretOfRRSA(t *testing.T) {
	const token = "eyJhbGciOi+J/SUzI.1N~iIs*ImtpZCI"
	server := newCloud(t, nil)
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, token)
	t.Setenv("ALIBABA_CLOUD_ROLE_ARN", "acs:ram::1:role/r")
	t.Setenv("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", "acs:ram::1:oidc-provider/p")
	t.Setenv("ALIBABA_CLOUD_OIDC_TOKEN_FILE", file)
	t.Setenv("ALIBABA_CLOUD_ROLE_SESSION_NAME", "my-session")
	config := server.config(t)
	config.Credentials = Credentials{Source: SourceRRSA}
	for _, body := range []string{`{"Code":"AuthenticationFail.OIDCToken.Expired","Message":%q}`, `{"Code":"InvalidParameter","Message":%q}`, `{"Credentials":{"AccessKeyId":%q}}`, `%s`} {
		for _, status := range []int{200, 400, 401, 403} {
			server.respond(func(w http.ResponseWriter, r *http.Request, q url.Values) {
				if q.Get("OIDCToken") != token || r.URL.Query().Has("OIDCToken") {
					t.Error("the token did not arrive, or is in the URL")
				}
				if q.Get("RoleSessionName") != "my-session" || q.Get("RoleArn") != "acs:ram::1:role/r" || q.Get("OIDCProviderArn") != "acs:ram::1:oidc-provider/p" || q.Has("Signature") {
					t.Errorf("sent was %v", q)
				}
				w.WriteHeader(status)
				fmt.Fprintf(w, body, q.Encode()+" "+token)
			})
			c := newClient(t, config)
			_, err := c.Witnesses(within(t, time.Second))
			if e, ok := errors.AsType[*Error](err); !ok || e.Service != "sts" || e.Action != assumeRole {
				t.Error(err)
			}
			search(t, body, verbs(err)+verbs(c)+verbs(c.credentials), token)
			c.Close()
		}
	}
}
