package kube

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"k8s.io/client-go/rest"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// api is an API server that a test can make misbehave. It serves lists with pages, watches, discovery and readiness.
type api struct {
	*httptest.Server
	t *testing.T

	mu      sync.Mutex
	version int
	kinds   map[string]*kindOf // by path
	// intercept answers instead if it returns true.
	intercept func(w http.ResponseWriter, r *http.Request) bool
	lists     int
}

type kindOf struct {
	apiVersion, kind string
	absent           bool
	objects          map[string]string // by namespace/name
	events           []event
	oldest           int // versions before it are expired
	changed          chan struct{}
}

type event struct {
	version int
	line    string
}

const (
	authoritiesPath = "/apis/kritis.grafeas.io/v1beta1/attestationauthorities"
	policiesPath    = "/apis/kritis.grafeas.io/v1beta1/genericattestationpolicies"
	allowlistsPath  = "/apis/kritis.grafeas.io/v1beta1/admissionallowlists"
	podsPath        = "/api/v1/pods"
)

func newAPI(t *testing.T) *api {
	a := &api{t: t, version: 1, kinds: map[string]*kindOf{}}
	for path, kind := range map[string]string{authoritiesPath: v1beta1.KindAuthority, policiesPath: v1beta1.KindPolicy, allowlistsPath: v1beta1.KindAllowlist, podsPath: "Pod"} {
		k := &kindOf{apiVersion: v1beta1.APIVersion, kind: kind, objects: map[string]string{}, changed: make(chan struct{})}
		if kind == "Pod" {
			k.apiVersion = "v1"
		}
		a.kinds[path] = k
	}
	a.Server = httptest.NewServer(a)
	t.Cleanup(func() { a.CloseClientConnections(); a.Close() })
	return a
}

// put creates or changes an object; the rest is JSON such as `"spec":{}`.
func (a *api) put(path, namespace, name, rest string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	k := a.kinds[path]
	a.version++
	object := fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"namespace":%q,"name":%q,"uid":"u","resourceVersion":"%d","labels":{"a":"b"}},%s}`,
		k.apiVersion, k.kind, namespace, name, a.version, rest)
	verb := "ADDED"
	if _, ok := k.objects[namespace+"/"+name]; ok {
		verb = "MODIFIED"
	}
	k.objects[namespace+"/"+name] = object
	a.emit(k, verb, object)
}

func (a *api) remove(path, namespace, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	k := a.kinds[path]
	a.version++
	delete(k.objects, namespace+"/"+name)
	a.emit(k, "DELETED", fmt.Sprintf(`{"metadata":{"namespace":%q,"name":%q,"resourceVersion":"%d"}}`, namespace, name, a.version))
}

// emit tells watches. The lock is held.
func (a *api) emit(k *kindOf, verb, object string) {
	k.events = append(k.events, event{a.version, fmt.Sprintf(`{"type":%q,"object":%s}`, verb, object)})
	close(k.changed)
	k.changed = make(chan struct{})
}

// change changes something under the lock.
func (a *api) change(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	intercept, k := a.intercept, a.kinds[r.URL.Path]
	a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case intercept != nil && intercept(w, r):
	case k == nil:
		a.discovery(w, r)
	case r.URL.Query().Get("watch") != "":
		a.watch(w, r, k)
	default:
		a.list(w, r, k)
	}
}

func fail(w http.ResponseWriter, code int, reason, message string) {
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":%q,"reason":%q,"code":%d}`, message, reason, code)
}

func (a *api) discovery(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var present []string
	for path, k := range a.kinds {
		if name, ok := strings.CutPrefix(path, "/apis/"+v1beta1.APIVersion+"/"); ok && !k.absent {
			present = append(present, fmt.Sprintf(`{"name":%q,"kind":%q}`, name, k.kind))
		}
	}
	switch {
	case r.URL.Path == "/readyz":
		fmt.Fprint(w, "ok")
	case r.URL.Path == "/apis":
		groups := `{"name":"apps","versions":[]}`
		if len(present) > 0 {
			groups += `,{"name":"kritis.grafeas.io"}`
		}
		fmt.Fprintf(w, `{"kind":"APIGroupList","apiVersion":"v1","groups":[%s]}`, groups)
	case r.URL.Path == "/apis/"+v1beta1.APIVersion && len(present) > 0:
		fmt.Fprintf(w, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":%q,"resources":[%s]}`, v1beta1.APIVersion, strings.Join(present, ","))
	default:
		fail(w, 404, "NotFound", "the server could not find the requested resource")
	}
}

func (a *api) list(w http.ResponseWriter, r *http.Request, k *kindOf) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lists++
	if r.URL.Query().Get("resourceVersion") != "" {
		a.t.Errorf("a list at version %q may be old", r.URL.Query().Get("resourceVersion"))
	}
	if k.absent {
		fail(w, 404, "NotFound", "the server could not find the requested resource")
		return
	}
	var items []string
	for _, name := range slices.Sorted(maps.Keys(k.objects)) {
		items = append(items, k.objects[name])
	}
	from, _ := strconv.Atoi(r.URL.Query().Get("continue"))
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	to, next := min(from+limit, len(items)), ""
	if to < len(items) {
		next = strconv.Itoa(to)
	}
	fmt.Fprintf(w, `{"apiVersion":%q,"kind":"%sList","metadata":{"resourceVersion":"%d","continue":%q},"items":[%s]}`,
		k.apiVersion, k.kind, a.version, next, strings.Join(items[min(from, to):to], ","))
}

func (a *api) watch(w http.ResponseWriter, r *http.Request, k *kindOf) {
	seen, err := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	if err != nil {
		fail(w, 400, "BadRequest", "no version")
		return
	}
	w.(http.Flusher).Flush()
	for {
		a.mu.Lock()
		events, changed, oldest := k.events, k.changed, k.oldest
		a.mu.Unlock()
		if seen < oldest {
			fmt.Fprintln(w, `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","message":"too old","reason":"Expired","code":410}}`)
			return
		}
		for _, e := range events {
			if e.version > seen {
				fmt.Fprintln(w, e.line)
				seen = e.version
			}
		}
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		}
	}
}

func (a *api) server() *Server {
	a.t.Helper()
	s, err := NewServer(&rest.Config{Host: a.URL}, "test")
	if err != nil {
		a.t.Fatal(err)
	}
	return s
}
