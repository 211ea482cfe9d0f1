package registry

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Canaries: none of them may show up in an error, or at a host that they are not for.
const (
	password = "canary-password"
	identity = "canary-identity"
	token    = "canary-token"
)

// carries says whether a request carries credentials.
func carries(r *http.Request) bool {
	return r.Header.Get("Authorization") != "" || r.Method == http.MethodPost
}

func noCanaries(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, secret := range []string{password, identity, token, "dXNlcj", "X-Signature"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%q is in the error: %v", secret, err)
		}
	}
}

func TestBasicCredentials(t *testing.T) {
	h := newHostile(t)
	h.classicOn(t, []byte("payload"), "s")
	for path, answer := range h.answers {
		h.on(path, func(w http.ResponseWriter, r *http.Request) {
			if user, pass, _ := r.BasicAuth(); user != "user" || pass != password {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				http.Error(w, pass, http.StatusUnauthorized)
				return
			}
			answer(w, r)
		})
	}
	host := hostOf(h.Server)
	for name, c := range map[string]struct {
		config string
		want   int
	}{
		"right":           {fmt.Sprintf(`{"auths":{%q:{"username":"user","password":%q}}}`, host, password), 1},
		"another path":    {fmt.Sprintf(`{"auths":{"%s/other":{"username":"user","password":%q}}}`, host, password), 0},
		"longest path":    {fmt.Sprintf(`{"auths":{%q:{"username":"x","password":"x"},"%s/team":{"username":"user","password":%q}}}`, host, host, password), 1},
		"none":            {`{}`, 0},
		"wrong":           {fmt.Sprintf(`{"auths":{%q:{"username":"user","password":"%s-wrong"}}}`, host, password), 0},
		"another's":       {fmt.Sprintf(`{"auths":{"registry.example":{"username":"user","password":%q}}}`, password), 0},
		"with a helper":   {fmt.Sprintf(`{"auths":{%q:{}},"credsStore":"store"}`, host), 0},
		"a host's helper": {fmt.Sprintf(`{"credHelpers":{%q:"store"}}`, host), 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSource(t, Config{DockerConfig: write(t, "config.json", c.config)}, h.Server)
			found, err := s.Attestations(t.Context(), host+"/team/app", imageDigest)
			if len(found) != c.want || (err == nil) != (c.want > 0) {
				t.Errorf("%d attestations, %v", len(found), err)
			}
			if strings.Contains(name, "helper") && !strings.Contains(fmt.Sprint(err), "which is a program") {
				t.Errorf("%v", err)
			}
			noCanaries(t, err)
		})
	}
}

// tokenServer makes h ask for a token of another server.
func tokenServer(t *testing.T, h *hostile, realm string) {
	for path, answer := range h.answers {
		h.on(path, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer "+token {
				w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="s"`, realm))
				http.Error(w, "", http.StatusUnauthorized)
				return
			}
			answer(w, r)
		})
	}
}

// byName is the server's address with a name in it: go-containerregistry refuses realms at private addresses.
func byName(h *hostile) string { return strings.Replace(hostOf(h.Server), "127.0.0.1", "localhost", 1) }

func TestTokens(t *testing.T) {
	for name, c := range map[string]struct {
		config      string // of the registry, of the host %s
		tokenHosts  func(auth string) []string
		answer      http.HandlerFunc // of the token server
		plain       bool             // whether the token server may be asked over plain HTTP
		authed      bool             // whether credentials reach the token server
		want        string
		wantSuccess bool
	}{
		"anonymous":                  {plain: true, wantSuccess: true},
		"user and password":          {config: `{"auths":{%q:{"username":"user","password":"` + password + `"}}}`, plain: true, authed: true, wantSuccess: true},
		"identity token":             {config: `{"auths":{%q:{"identitytoken":"` + identity + `"}}}`, plain: true, authed: true, wantSuccess: true},
		"registry token":             {config: `{"auths":{%q:{"registrytoken":"` + token + `"}}}`, plain: true, wantSuccess: true},
		"listed token host":          {config: `{"auths":{%q:{"username":"user","password":"` + password + `"}}}`, plain: true, tokenHosts: func(a string) []string { return []string{a} }, authed: true, wantSuccess: true},
		"unlisted token host":        {config: `{"auths":{%q:{"username":"user","password":"` + password + `"}}}`, plain: true, tokenHosts: func(string) []string { return []string{"auth.example"} }, want: "which tokenHosts does not list"},
		"unlisted, identity":         {config: `{"auths":{%q:{"identitytoken":"` + identity + `"}}}`, plain: true, tokenHosts: func(string) []string { return []string{} }, want: "which tokenHosts does not list"},
		"plain HTTP not configured":  {config: `{"auths":{%q:{"username":"user","password":"` + password + `"}}}`, want: "plain HTTP"},
		"token server refuses":       {config: `{"auths":{%q:{"username":"user","password":"` + password + `"}}}`, plain: true, authed: true, answer: status(403, password), want: "status 403 Forbidden from localhost"},
		"token server prints secret": {config: `{"auths":{%q:{"username":"user","password":"` + password + `"}}}`, plain: true, authed: true, answer: body("", []byte(`{"refresh_token":"`+identity+`"}`)), want: "no token in bearer response"},
	} {
		t.Run(name, func(t *testing.T) {
			h, auth := newHostile(t), newHostile(t)
			h.classicOn(t, []byte("payload"), "s")
			tokenServer(t, h, "http://"+byName(auth)+"/token?X-Signature=1")
			auth.on("/token", body("application/json", []byte(`{"token":"`+token+`"}`)))
			if c.answer != nil {
				auth.on("/token", c.answer)
			}
			host := Host{Host: hostOf(h.Server), PlainHTTP: true}
			if c.tokenHosts != nil {
				host.TokenHosts = c.tokenHosts(byName(auth))
			}
			config := Config{Hosts: []Host{host}}
			if c.plain {
				config.Hosts = append(config.Hosts, Host{Host: byName(auth), PlainHTTP: true})
			}
			if c.config != "" {
				config.DockerConfig = write(t, "config.json", fmt.Sprintf(c.config, host.Host))
			}
			found, err := newSource(t, config).Attestations(t.Context(), host.Host+"/team/app", imageDigest)
			noCanaries(t, err)
			if (err == nil) != c.wantSuccess || (c.wantSuccess && len(found) != 1) || (err != nil && !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%d attestations, %v", len(found), err)
			}
			reached := false
			for _, r := range auth.requests() {
				reached = reached || carries(r)
			}
			if reached != c.authed {
				t.Errorf("credentials reached the token server: %v", reached)
			}
		})
	}
}

// Redirects never carry credentials to another host: neither the registry's nor the token server's.
func TestRedirectsCarryNoCredentials(t *testing.T) {
	payload := []byte("payload")
	for name, config := range map[string]string{
		"basic":    `{"auths":{%q:{"username":"user","password":"` + password + `"}}}`,
		"identity": `{"auths":{%q:{"identitytoken":"` + identity + `"}}}`,
		"registry": `{"auths":{%q:{"registrytoken":"` + token + `"}}}`,
	} {
		for _, kind := range []string{"blob", "token", "ping", "challenge"} {
			t.Run(name+" "+kind, func(t *testing.T) {
				h, elsewhere := newHostile(t), newHostile(t)
				to := "http://" + byName(elsewhere) + "/elsewhere?X-Signature=1"
				h.classicOn(t, payload, "s")
				switch kind {
				case "blob":
					h.on(blobs+digestOf(payload), http.RedirectHandler(to, http.StatusTemporaryRedirect).ServeHTTP)
				case "challenge":
					h.on(blobs+digestOf(payload), http.RedirectHandler(to, http.StatusFound).ServeHTTP)
				}
				if kind == "challenge" || kind == "ping" {
					// The other host asks for credentials itself.
					elsewhere.on("/elsewhere", func(w http.ResponseWriter, r *http.Request) {
						w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/steal",service="s"`, byName(elsewhere)))
						http.Error(w, "", http.StatusUnauthorized)
					})
				}
				tokenServer(t, h, "http://"+byName(h)+"/token")
				h.on("/token", body("application/json", []byte(`{"token":"`+token+`"}`)))
				if kind == "ping" {
					h.on(ping, http.RedirectHandler(to, http.StatusTemporaryRedirect).ServeHTTP)
				}
				if kind == "token" {
					h.on("/token", http.RedirectHandler(to, http.StatusTemporaryRedirect).ServeHTTP)
				}
				if kind == "blob" || kind == "token" {
					elsewhere.on("/elsewhere", body("", payload))
				}
				// The token server is the registry, under another name.
				source := newSource(t, Config{
					DockerConfig: write(t, "config.json", fmt.Sprintf(config, hostOf(h.Server))),
					Hosts:        []Host{{Host: byName(h), PlainHTTP: true}, {Host: byName(elsewhere), PlainHTTP: true}},
				}, h.Server)
				_, err := source.Attestations(t.Context(), hostOf(h.Server)+"/team/app", imageDigest)
				noCanaries(t, err)
				refused := kind == "ping" || kind == "token" && name != "basic"
				if (len(elsewhere.requests()) == 0) != refused {
					t.Errorf("%d requests came to the other host: %v", len(elsewhere.requests()), err)
				}
				for _, r := range elsewhere.requests() {
					if carries(r) || r.Referer() != "" && strings.Contains(r.Referer(), token) {
						t.Errorf("%s %s with %q", r.Method, r.URL, r.Header)
					}
				}
			})
		}
	}
}
