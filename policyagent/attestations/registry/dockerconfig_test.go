package registry

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
)

func TestDockerConfig(t *testing.T) {
	auth := func(user, password string) dockerAuth { return dockerAuth{Username: user, Password: password} }
	for name, c := range map[string]struct {
		config, host, path string
		want               dockerAuth
		helper             string
	}{
		"auth field":              {`{"auths":{"a.example":{"auth":"dTpwOnc="}}}`, "a.example", "x", auth("u", "p:w"), ""},
		"auth without padding":    {`{"auths":{"a.example":{"auth":"dTpwOnc"}}}`, "a.example", "x", auth("u", "p:w"), ""},
		"a URL":                   {`{"auths":{"https://a.example/v2/":{"auth":"dTpw"}}}`, "a.example", "x", auth("u", "p"), ""},
		"Docker Hub":              {`{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"}}}`, "docker.io", "library/nginx", auth("u", "p"), ""},
		"port":                    {`{"auths":{"a.example":{"auth":"dTpw"}}}`, "a.example:5000", "x", dockerAuth{}, ""},
		"the default port":        {`{"auths":{"a.example":{"auth":"dTpw"}}}`, "a.example:443", "x", auth("u", "p"), ""},
		"path":                    {`{"auths":{"a.example/team":{"auth":"dTpw"},"a.example":{"auth":"YTpi"}}}`, "a.example", "team/app", auth("u", "p"), ""},
		"path of the same letter": {`{"auths":{"a.example/team":{"auth":"dTpw"},"a.example":{"auth":"YTpi"}}}`, "a.example", "teams/app", auth("a", "b"), ""},
		"domain is no suffix":     {`{"auths":{"example":{"auth":"dTpw"}}}`, "a.example", "x", dockerAuth{}, ""},
		"store":                   {`{"auths":{"a.example":{}},"credsStore":"s"}`, "a.example", "x", dockerAuth{}, "s"},
		"store, not logged in":    {`{"auths":{},"credsStore":"s"}`, "a.example", "x", dockerAuth{}, ""},
		"helper before auths":     {`{"auths":{"a.example":{"auth":"dTpw"}},"credHelpers":{"a.example":"h"}}`, "a.example", "x", dockerAuth{}, "h"},
		"members of others":       {`{"HttpHeaders":{"x":"y"},"auths":{"a.example":{"auth":"dTpw","email":"x"}}}`, "a.example", "x", auth("u", "p"), ""},
	} {
		config, err := parseDockerConfig([]byte(c.config))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, helper := config.lookup(c.host, c.path); got != c.want || helper != c.helper {
			t.Errorf("%s: %+v, %q", name, got, helper)
		}
	}
	for _, bad := range []string{"", "[]", `{"auths":{"a.example":{"auth":"` + password + `"}}}`, `{"auths":"` + password + `"}`, `{"` + password} {
		_, err := parseDockerConfig([]byte(bad))
		if err == nil {
			t.Errorf("%q was accepted", bad)
		}
		noCanaries(t, err)
		if _, err := New(Config{DockerConfig: write(t, "config.json", bad)}); err == nil {
			t.Errorf("New accepted %q", bad)
		}
	}
	for n, ok := range map[int]bool{maxSettings: true, maxSettings + 1: false} {
		s, err := New(Config{DockerConfig: write(t, "config.json", "{}"+strings.Repeat(" ", n-2))})
		if (err == nil) != ok {
			t.Errorf("a file of %d bytes: %v", n, err)
		}
		if err == nil {
			s.Close()
		}
	}
}

func TestCredentialHelper(t *testing.T) {
	dir := t.TempDir()
	helper := filepath.Join(dir, "docker-credential-test")
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	c := credentials{write(t, "config.json", `{"credHelpers":{"a.example":"test","b.example":"../evil"}}`), true}
	for name, test := range map[string]struct {
		script string
		want   authn.AuthConfig
		fails  bool
	}{
		"password":  {`read h; echo "{\"Username\":\"u\",\"Secret\":\"$h\"}"`, authn.AuthConfig{Username: "u", Password: "a.example"}, false},
		"token":     {`echo '{"Username":"<token>","Secret":"t"}'`, authn.AuthConfig{IdentityToken: "t"}, false},
		"failure":   {`echo ` + password + ` >&2; echo ` + password + `; exit 1`, authn.AuthConfig{}, true},
		"no JSON":   {`echo ` + password, authn.AuthConfig{}, true},
		"endless":   {`while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa || exit 1; done`, authn.AuthConfig{}, true},
		"no helper": {"", authn.AuthConfig{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			os.Remove(helper)
			if test.script != "" {
				if err := os.WriteFile(helper, []byte("#!/bin/sh\n"+test.script+"\n"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			as, err := c.resolve(t.Context(), "a.example", "x")
			noCanaries(t, err)
			if (err != nil) != test.fails {
				t.Fatalf("%v", err)
			}
			if err == nil {
				if got, err := as.authenticator().Authorization(); err != nil || *got != test.want {
					t.Errorf("%+v (%v)", got, err)
				}
			}
		})
	}
	if _, err := c.resolve(t.Context(), "b.example", "x"); err == nil || !strings.Contains(err.Error(), "not the name of a helper") {
		t.Errorf("%v", err)
	}
}
