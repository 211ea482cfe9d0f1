package hostile

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// snoop is a host that image names can name: it notes all that it is told.
type snoop struct {
	host  string
	mutex sync.Mutex
	heard []string
	// answer is what it says instead of asking for a login.
	answer http.HandlerFunc
}

func startSnoop(t *testing.T) *snoop {
	t.Helper()
	s := &snoop{}
	s.host = serve(t, func(w http.ResponseWriter, r *http.Request) {
		s.mutex.Lock()
		s.heard = append(s.heard, fmt.Sprint(r.Method, " ", r.URL, " ", r.Header))
		answer := s.answer
		s.mutex.Unlock()
		answer(w, r)
	})
	return s
}

func (s *snoop) says(answer http.HandlerFunc) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.answer, s.heard = answer, nil
}

// TestCredentials: what the node knows of one registry is told to no other host, whatever an image is called and whatever that
// host says; and the registry that it is for gets it.
func TestCredentials(t *testing.T) {
	t.Parallel()
	var private *cluster.Registry
	evil := startSnoop(t)
	s := startSite(t, stack.Options{}, func(s *site) []string {
		var err error
		private, err = cluster.StartDistribution(t.Context(), t.TempDir(), cluster.RegistryOptions{RequireLogin: true})
		check(t, err)
		t.Cleanup(func() { check(t, private.Stop(context.WithoutCancel(t.Context()))) })
		check(t, s.Trust(private))
		check(t, s.TrustAt(evil.host, evil.host))
		config := filepath.Join(s.Dir, "docker.json")
		login := private.Login()
		write(t, config, fmt.Appendf(nil, `{"auths":{%q:{"username":%q,"password":%q}}}`, private.Host(), login.Username, login.Password))
		return []string{"--docker-config", config}
	})
	login := private.Login()
	secrets := []string{login.Password, base64.StdEncoding.EncodeToString([]byte(login.Username + ":" + login.Password)), "Authorization"}
	for _, row := range []struct {
		name   string
		answer http.HandlerFunc
	}{
		{"asks for a login", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
		}},
		{"has the registry's realm", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/v2/",service=%q,scope="repository:evil/app:pull"`, private.Host(), private.Host()))
			w.WriteHeader(http.StatusUnauthorized)
		}},
		{"has its own realm for the registry's service", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service=%q`, evil.host, private.Host()))
			w.WriteHeader(http.StatusUnauthorized)
		}},
		{"sends to the registry", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+private.Host()+r.URL.Path, http.StatusTemporaryRedirect)
		}},
	} {
		t.Run("host that "+row.name, func(t *testing.T) {
			evil.says(row.answer)
			image := s.image(t)
			id := s.pull(t, s.pushImage(t, "evil/app", image))
			digest, err := image.Digest()
			check(t, err)
			for _, name := range []string{evil.host + "/evil/app@" + digest.String(), evil.host + "/" + private.Host() + "/app@" + digest.String()} {
				expectRefused(t, s.runAs(t, prod, id, name))
				// The same from somebody's workstation.
				_, _, _, err := s.Kritis(t.Context(), "verify", "--policy-dir", s.PolicyDir(), "--registry-config", s.RegistryConfig(),
					"--docker-config", filepath.Join(s.Dir, "docker.json"), "-n", prod, name)
				check(t, err)
			}
			evil.mutex.Lock()
			defer evil.mutex.Unlock()
			if len(evil.heard) == 0 {
				t.Error("nobody asked: this shows nothing")
			}
			for _, heard := range evil.heard {
				for _, secret := range secrets {
					if strings.Contains(heard, secret) {
						t.Errorf("it was told %q", heard)
					}
				}
			}
		})
	}
	t.Run("registry that they are for", func(t *testing.T) {
		image := s.image(t)
		digest, err := private.Push(t.Context(), "team/app:v1", image)
		check(t, err)
		reference := private.Host() + "/team/app@" + digest
		id, err := s.Node.CRI().PullImageWithLogin(t.Context(), reference, login)
		check(t, err)
		expectDenied(t, s.runAs(t, prod, id, reference))
		code, _, stderr, err := s.Kritis(t.Context(), "sign", "--key", s.team.Private, "--registry-config", s.RegistryConfig(),
			"--docker-config", filepath.Join(s.Dir, "docker.json"), reference)
		if err != nil || code != 0 {
			t.Fatalf("kritis sign: exit code %d, %v: %s", code, err, stderr)
		}
		s.awaitStarts(t, prod, reference)
	})
}
