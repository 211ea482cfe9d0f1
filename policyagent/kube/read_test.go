package kube

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
)

func reader(t *testing.T, url string) *Server {
	t.Helper()
	s, err := NewServer(&rest.Config{Host: url}, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestReadPolicies(t *testing.T) {
	a := newAPI(t)
	s := reader(t, a.URL)
	a.put(policiesPath, "prod", "p", `"spec":{"attestationAuthorityNames":["team"]}`)
	a.put(policiesPath, "test", "q", `"spec":{"attestationAuthorityNames":[1]}`)
	a.put(allowlistsPath, "", "l", `"spec":{"patterns":[{"namePattern":"a"}]}`)
	all, err := ReadPolicies(t.Context(), s, "")
	if err != nil || len(all.Document.Policies) != 2 || len(all.Document.Allowlist) != 1 || len(all.Problems) != 1 || all.Problems[0].Code != CodeObjectUnreadable || all.Missing != nil {
		t.Errorf("all: %+v, %v", all, err)
	}
	// A namespace has only its own, and what is in none.
	for path, kind := range map[string]string{"attestationauthorities": v1beta1.KindAuthority, "genericattestationpolicies": v1beta1.KindPolicy} {
		own := &kindOf{apiVersion: v1beta1.APIVersion, kind: kind, objects: map[string]string{}, changed: make(chan struct{})}
		a.change(func() { a.kinds["/apis/kritis.grafeas.io/v1beta1/namespaces/prod/"+path] = own })
	}
	a.put("/apis/kritis.grafeas.io/v1beta1/namespaces/prod/genericattestationpolicies", "prod", "p", `"spec":{}`)
	own, err := ReadPolicies(t.Context(), s, "prod")
	if err != nil || len(own.Document.Policies) != 1 || own.Document.Policies[0].Namespace != "prod" || len(own.Document.Allowlist) != 1 || len(own.Problems) != 0 {
		t.Errorf("one namespace: %+v, %v", own, err)
	}
	a.change(func() { a.kinds[allowlistsPath].absent = true })
	missing, err := ReadPolicies(t.Context(), s, "")
	if err != nil || fmt.Sprint(missing.Missing) != "[admissionallowlists]" {
		t.Errorf("a kind that is not installed: %+v, %v", missing, err)
	}
}

// answers is a server that answers everything in one way.
func answers(t *testing.T, code int, body string) *Server {
	t.Helper()
	a := newAPI(t)
	a.change(func() {
		a.intercept = func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(code)
			_, _ = w.Write([]byte(body))
			return true
		}
	})
	return reader(t, a.URL)
}

func statusObject(code int, reason, message string) string {
	return fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","message":%q,"reason":%q,"code":%d}`, message, reason, code)
}

func TestReadErrors(t *testing.T) {
	pods := Objects{Version: "v1", Resource: "pods", Namespace: "prod"}
	for name, c := range map[string]struct {
		code                int
		body, list, get     string
		notFound, forbidden bool
	}{
		"forbidden": {
			code: 403, body: statusObject(403, "Forbidden", "pods is forbidden:\n User"), forbidden: true,
			list: "you may not list pods (API group core) in namespace prod: ask for a role", get: "you may not get pods (API group core) in namespace prod",
		},
		"credentials": {code: 401, body: statusObject(401, "Unauthorized", "no"), list: "does not accept your credentials: log in again", get: "log in again"},
		"not found":   {code: 404, body: statusObject(404, "NotFound", `pods "x" not found`), notFound: true, list: "not found", get: `reading pods in namespace prod: pods "x" not found`},
		"no JSON":     {code: 200, body: "<html>", list: "is not a list: is http", get: "not JSON"},
		"no list":     {code: 200, body: "{}", list: "is not a list: is http"},
		"an item":     {code: 200, body: `{"items":[{"bad":true}]}`, list: "listing pods in namespace prod: bad item"},
		"the same again": {
			code: 200, body: `{"metadata":{"continue":"x"},"items":[{}]}`, list: "listing pods in namespace prod: the list goes in circles",
		},
		"cut short": {code: 200, body: `{"metadata":{"remainingItemCount":7},"items":[{}]}`, list: "the list ends and leaves out 7"},
	} {
		t.Run(name, func(t *testing.T) {
			s := answers(t, c.code, c.body)
			errList := s.ReadList(t.Context(), pods, Selection{}, func(raw json.RawMessage) error {
				if strings.Contains(string(raw), "bad") {
					return fmt.Errorf("bad item")
				}
				return nil
			})
			var into struct{}
			errGet := s.ReadObject(t.Context(), pods, "x", &into)
			for _, e := range []struct {
				err  error
				want string
			}{{errList, c.list}, {errGet, c.get}} {
				if (e.err == nil) != (e.want == "") || e.err != nil && (!strings.Contains(e.err.Error(), e.want) || strings.Contains(e.err.Error(), "\n")) {
					t.Errorf("%v, want %q", e.err, e.want)
				}
				if e.err != nil && (IsNotFound(e.err) != c.notFound || IsForbidden(e.err) != c.forbidden) {
					t.Errorf("%v: not found %t, forbidden %t", e.err, IsNotFound(e.err), IsForbidden(e.err))
				}
			}
		})
	}
	s := reader(t, "http://127.0.0.1:1")
	if err := s.ReadObject(t.Context(), pods, "x", nil); err == nil || !strings.Contains(err.Error(), "cannot be asked: ") || !strings.Contains(err.Error(), "is the context the right one?") {
		t.Errorf("nobody there: %v", err)
	}
}

func TestReadListBounds(t *testing.T) {
	a := newAPI(t)
	s := reader(t, a.URL)
	for i := range 600 {
		a.put(podsPath, "n", fmt.Sprintf("p%04d", i), `"spec":{}`)
	}
	count := func(sel Selection) int {
		t.Helper()
		n := 0
		if err := s.ReadList(t.Context(), Objects{Version: "v1", Resource: "pods"}, sel, func(json.RawMessage) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := count(Selection{}); n != 600 {
		t.Errorf("%d of 600 over several pages", n)
	}
	for _, most := range []int{1, 250, 251, 599} {
		if n := count(Selection{Most: most}); n != most {
			t.Errorf("%d, want %d", n, most)
		}
	}
	many := answers(t, 200, `{"items":[`+strings.TrimSuffix(strings.Repeat("{},", maxReadItems+1), ",")+`]}`)
	err := many.ReadList(t.Context(), Objects{Version: "v1", Resource: "pods"}, Selection{}, func(json.RawMessage) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("more than fits: %v", err)
	}
}
