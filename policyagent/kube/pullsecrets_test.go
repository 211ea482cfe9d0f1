package kube

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kritis-node/kritis-node/policyagent"
)

// secretsOf returns the pull secrets of some pods, of an API server that answers a GET of a secret by secrets.
func secretsOf(t *testing.T, secrets func(path string) (int, string), pods ...policyagent.Pod) (*PullSecrets, *[]string) {
	t.Helper()
	a := newAPI(t)
	var asked []string
	a.intercept = func(w http.ResponseWriter, r *http.Request) bool {
		asked = append(asked, r.URL.Path) // one request at a time
		code, body := secrets(r.URL.Path)
		w.WriteHeader(code)
		fmt.Fprint(w, body)
		return true
	}
	p, err := NewPods(a.server(), "node-1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.server.Close)
	var items []any
	for i, pod := range pods {
		items = append(items, &object{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: fmt.Sprint("pod-", i)}, value: pod})
	}
	if err := p.pods.Replace(items, ""); err != nil {
		t.Fatal(err)
	}
	return p.PullSecrets(), &asked
}

func secretJSON(kind, key, content string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","type":%q,"data":{%q:%q}}`, kind, key, base64.StdEncoding.EncodeToString([]byte(content)))
}

func status(code int, reason string) string {
	return fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"message":"canary"}`, reason, code)
}

func TestPullSecrets(t *testing.T) {
	const canary = "canary"
	for name, c := range map[string]struct {
		code   int
		body   string
		config string
		err    string
	}{
		"of today":      {200, secretJSON("kubernetes.io/dockerconfigjson", ".dockerconfigjson", `{"auths":{}}`), `{"auths":{}}`, ""},
		"of old":        {200, secretJSON("kubernetes.io/dockercfg", ".dockercfg", `{"a.example":{}}`), `{"auths":{"a.example":{}}}`, ""},
		"of old, bad":   {200, secretJSON("kubernetes.io/dockercfg", ".dockercfg", canary), "", "is not JSON"},
		"another type":  {200, secretJSON("Opaque", ".dockerconfigjson", canary), "", "of another type"},
		"another kind":  {200, `{"kind":"Pod","type":"kubernetes.io/dockerconfigjson"}`, "", "no Secret"},
		"no JSON":       {200, canary, "", "no Secret"},
		"not there":     {404, status(404, "NotFound"), "", "there is none"},
		"not allowed":   {403, status(403, "Forbidden"), "", "may not read it"},
		"too large":     {200, strings.Repeat(" ", maxSecret) + "{}", "", "larger than fits"},
		"a server down": {500, "", "", "image pull secret team/pull: "},
	} {
		t.Run(name, func(t *testing.T) {
			s, asked := secretsOf(t, func(string) (int, string) { return c.code, c.body },
				policyagent.Pod{Namespace: "team", Images: []string{"a.example/team/app:v1"}, PullSecrets: []string{"pull"}})
			configs, err := s.DockerConfigs(t.Context(), "a.example/team/app")
			if c.err != "" {
				if len(configs) != 0 || err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), canary) {
					t.Errorf("%q, %v", configs, err)
				}
			} else if err != nil || len(configs) != 1 || string(configs[0]) != c.config {
				t.Errorf("%q, %v", configs, err)
			}
			if want := []string{"/api/v1/namespaces/team/secrets/pull"}; !cmp.Equal((*asked)[:1], want) {
				t.Errorf("asked for %v", *asked)
			}
		})
	}
}

// TestPullSecretsOfOthers shows that a pod's secrets serve that pod's repositories alone.
func TestPullSecretsOfOthers(t *testing.T) {
	s, _ := secretsOf(t, func(path string) (int, string) {
		return 200, secretJSON("kubernetes.io/dockerconfigjson", ".dockerconfigjson", path)
	},
		policyagent.Pod{Namespace: "a", Images: []string{"r.example/a@sha256:" + strings.Repeat("1", 64), "r.example/both"}, PullSecrets: []string{"one", "two"}},
		policyagent.Pod{Namespace: "b", Images: []string{"nginx", "r.example/both:v1", "not an image"}, PullSecrets: []string{"one"}},
		policyagent.Pod{Namespace: "c", Images: []string{"r.example/c"}},
		policyagent.Pod{Namespace: "a", Images: []string{"r.example/a"}, PullSecrets: []string{"two"}})
	for repository, want := range map[string][]string{
		"r.example/a":             {"a/secrets/one", "a/secrets/two"},
		"r.example/both":          {"a/secrets/one", "a/secrets/two", "b/secrets/one"},
		"docker.io/library/nginx": {"b/secrets/one"},
		"r.example/c":             nil,
		"r.example/other":         nil,
	} {
		configs, err := s.DockerConfigs(t.Context(), repository)
		var got []string
		for _, config := range configs {
			got = append(got, strings.TrimPrefix(string(config), "/api/v1/namespaces/"))
		}
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: %v, %v", repository, got, err)
		}
	}
}

func TestPullSecretsAreBounded(t *testing.T) {
	for n, want := range map[int]int{maxConfigs: maxConfigs, maxConfigs + 1: maxConfigs} {
		pod := policyagent.Pod{Namespace: "a", Images: []string{"r.example/a"}}
		for i := range n {
			pod.PullSecrets = append(pod.PullSecrets, fmt.Sprint("s", i))
		}
		s, _ := secretsOf(t, func(string) (int, string) {
			return 200, secretJSON("kubernetes.io/dockerconfigjson", ".dockerconfigjson", "{}")
		}, pod)
		if configs, err := s.DockerConfigs(t.Context(), "r.example/a"); err != nil || len(configs) != want {
			t.Errorf("%d secrets give %d configs, %v", n, len(configs), err)
		}
	}
	for n, want := range map[int]int{maxPullSecrets: maxPullSecrets, maxPullSecrets + 1: maxPullSecrets} {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf(`{"name":"s%d"}`, i))
		}
		pod := decodePod(identity{}, []byte(`{"spec":{"imagePullSecrets":[{"name":""},{"name":"s0"},`+strings.Join(names, ",")+`]}}`)).(policyagent.Pod)
		if len(pod.PullSecrets) != want {
			t.Errorf("%d secrets in a pod: %d kept", n, len(pod.PullSecrets))
		}
	}
	s := &PullSecrets{server: &Server{}, known: map[secretName]knownSecret{}}
	for i := range maxSecrets + 10 {
		s.keep(secretName{"a", fmt.Sprint(i)}, knownSecret{}, time.Now())
		if len(s.known) > maxSecrets {
			t.Fatalf("%d secrets are kept", len(s.known))
		}
	}
}

func TestPullSecretsAreKeptForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			err  error
			kept time.Duration
		}{"read": {nil, secretFor}, "not read": {errors.New("none"), missingFor}} {
			s := &PullSecrets{known: map[secretName]knownSecret{}}
			s.keep(secretName{"a", name}, knownSecret{[]byte("x"), c.err, time.Time{}}, time.Now())
			time.Sleep(c.kept - time.Nanosecond)
			if _, ok := s.lookup(secretName{"a", name}, time.Now()); !ok {
				t.Errorf("%s: forgotten before %s", name, c.kept)
			}
			time.Sleep(time.Nanosecond)
			if _, ok := s.lookup(secretName{"a", name}, time.Now()); ok {
				t.Errorf("%s: known after %s", name, c.kept)
			}
		}
	})
}
