package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// keychain is one whose content is known.
type keychain struct {
	configs [][]byte
	err     error
	asked   []string
}

func (k *keychain) DockerConfigs(_ context.Context, repository string) ([][]byte, error) {
	k.asked = append(k.asked, repository)
	return k.configs, k.err
}

func TestKeychain(t *testing.T) {
	h := newHostile(t)
	h.classicOn(t, []byte("payload"), "s")
	host := hostOf(h.Server)
	var mu sync.Mutex
	var users []string
	public := false
	for path, answer := range h.answers {
		h.on(path, func(w http.ResponseWriter, r *http.Request) {
			user, pass, _ := r.BasicAuth()
			mu.Lock()
			if user != "" && (len(users) == 0 || users[len(users)-1] != user) {
				users = append(users, user)
			}
			open := public && user == ""
			mu.Unlock()
			if !open && (user != "right" || pass != password) {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				http.Error(w, pass, http.StatusUnauthorized)
				return
			}
			answer(w, r)
		})
	}
	entry := func(key, user, secret string) string {
		return fmt.Sprintf(`{"auths":{%q:{"username":%q,"password":%q}}}`, key, user, secret)
	}
	var tooMany [][]byte
	for i := range maxLogins {
		tooMany = append(tooMany, []byte(entry(host, fmt.Sprint("wrong", i), "x")))
	}
	for name, c := range map[string]struct {
		own     string
		configs []string
		err     error
		public  bool
		asked   bool
		want    int
		users   string // those who were tried, in order
		text    string // in the error
	}{
		"its own suffices":           {own: entry(host, "right", password), configs: []string{entry(host, "x", "x")}, want: 1, users: "right"},
		"another's after its own":    {own: entry(host, "node", "x"), configs: []string{entry(host, "right", password)}, asked: true, want: 1, users: "node right"},
		"without its own":            {configs: []string{entry(host, "right", password)}, asked: true, want: 1, users: "right"},
		"the second":                 {configs: []string{entry(host, "wrong", "x"), entry(host, "right", password)}, asked: true, want: 1, users: "wrong right"},
		"for another host":           {configs: []string{entry("registry.example", "right", password)}, asked: true, text: "status 401"},
		"for another path":           {configs: []string{entry(host+"/other", "right", password)}, asked: true, text: "status 401"},
		"programs are not run":       {configs: []string{`{"credsStore":"evil","credHelpers":{"` + host + `":"evil"},"auths":{"` + host + `":{}}}`}, asked: true, text: "status 401"},
		"none is right":              {own: entry(host, "node", "x"), configs: []string{entry(host, "wrong", password+"-wrong")}, asked: true, users: "node wrong", text: "status 401"},
		"wrong for what is public":   {configs: []string{entry(host, "wrong", "x")}, public: true, asked: true, want: 1, users: "wrong"},
		"not all could be had":       {configs: nil, err: errors.New("secret team/pull: forbidden"), asked: true, text: "secret team/pull: forbidden"},
		"not all, and they suffice":  {configs: []string{entry(host, "right", password)}, err: errors.New("forbidden"), asked: true, want: 1, users: "right"},
		"one that is no JSON":        {configs: []string{password, entry(host, "right", password)}, asked: true, want: 1, users: "right"},
		"only one, which is no JSON": {configs: []string{password}, asked: true, text: "an image pull secret: "},
	} {
		t.Run(name, func(t *testing.T) {
			k := &keychain{err: c.err}
			for _, config := range c.configs {
				k.configs = append(k.configs, []byte(config))
			}
			config := Config{Further: k}
			if c.own != "" {
				config.DockerConfig = write(t, "config.json", c.own)
			}
			mu.Lock()
			users, public = nil, c.public
			mu.Unlock()
			s := newSource(t, config, h.Server)
			found, err := s.Attestations(t.Context(), host+"/team/app", imageDigest)
			if len(found) != c.want || (err == nil) != (c.want > 0) || !strings.Contains(fmt.Sprint(err), c.text) {
				t.Errorf("%d attestations, %v", len(found), err)
			}
			noCanaries(t, err)
			mu.Lock()
			defer mu.Unlock()
			if got := strings.Join(users, " "); got != c.users {
				t.Errorf("tried %q, want %q", got, c.users)
			}
			if asked := len(k.asked) > 0; asked != c.asked {
				t.Errorf("the keychain was asked: %t", asked)
			}
		})
	}
	for name, further := range map[string][][]byte{"at the limit": tooMany[1:], "beyond the limit": tooMany} {
		t.Run(name, func(t *testing.T) {
			k := &keychain{configs: append(further[:len(further):len(further)], []byte(entry(host, "right", password)))}
			found, err := newSource(t, Config{Further: k}, h.Server).Attestations(t.Context(), host+"/team/app", imageDigest)
			if want := name == "at the limit"; (len(found) == 1) != want || (err == nil) != want {
				t.Errorf("%d attestations, %v", len(found), err)
			}
		})
	}
}

// TestKeychainAndFailures shows that only a refusal leads to other credentials.
func TestKeychainAndFailures(t *testing.T) {
	for status, asked := range map[int]bool{http.StatusUnauthorized: true, http.StatusForbidden: true, http.StatusInternalServerError: false, http.StatusTooManyRequests: false} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			h := newHostile(t)
			h.classicOn(t, []byte("payload"), "s")
			for path := range h.answers {
				if path != "/v2/" {
					h.on(path, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
				}
			}
			host := hostOf(h.Server)
			k := &keychain{}
			s := newSource(t, Config{Further: k, DockerConfig: write(t, "config.json", fmt.Sprintf(`{"auths":{%q:{"username":"u","password":%q}}}`, host, password))}, h.Server)
			if _, err := s.Attestations(t.Context(), host+"/team/app", imageDigest); err == nil || (len(k.asked) > 0) != asked {
				t.Errorf("asked %v after %v", k.asked, err)
			}
		})
	}
}
