package kube

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
)

// A kind that is not installed has no objects, and is found when it is installed.
func TestAbsentKinds(t *testing.T) {
	for name, absent := range map[string][]string{
		"one":  {allowlistsPath},
		"all":  {authoritiesPath, policiesPath, allowlistsPath},
		"none": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			for _, path := range absent {
				a.kinds[path].absent = true
			}
			told := follow(t, a)
			await(t, told, "")
			a.change(func() {
				for _, path := range absent {
					a.kinds[path].absent = false
				}
			})
			a.put(allowlistsPath, "", "l", `"spec":{"patterns":[{"namePattern":"a/*"}]}`)
			await(t, told, "l:a/*")
		})
	}
}

// A kind that is removed takes its objects with it, once discovery agrees.
func TestKindIsRemoved(t *testing.T) {
	a := newAPI(t)
	a.put(policiesPath, "web", "p", qaSpec)
	told := follow(t, a)
	await(t, told, "p:web/p")
	a.change(func() { a.kinds[policiesPath].absent = true })
	a.CloseClientConnections()
	a.change(func() {
		a.version++
		a.kinds[policiesPath].oldest = a.version
		a.emit(a.kinds[policiesPath], "BOOKMARK", "{}")
	})
	await(t, told, "")
}

// A 404 that discovery does not explain is a failure.
func TestNotFoundIsNotAbsent(t *testing.T) {
	groups := func(names ...string) string {
		return `{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"` + strings.Join(names, `"},{"name":"`) + `"}]}`
	}
	const groupPath = "/apis/" + v1beta1.APIVersion
	for name, c := range map[string]struct {
		answers map[string]string // by path; "" is 404, "!" is 500
		want    string
	}{
		"installed":               {nil, "although the kind is installed"},
		"server not ready":        {map[string]string{"/readyz": "!"}, "the API server is not ready"},
		"readiness not found":     {map[string]string{"/readyz": ""}, "the API server is not ready"},
		"discovery fails":         {map[string]string{groupPath: "!"}, "cannot be told"},
		"groups fail":             {map[string]string{groupPath: "", "/apis": "!"}, "cannot be told"},
		"groups not found":        {map[string]string{groupPath: "", "/apis": ""}, "cannot be told"},
		"no groups at all":        {map[string]string{groupPath: "", "/apis": `{"kind":"APIGroupList","groups":[]}`}, "0 groups"},
		"something else":          {map[string]string{groupPath: `{"kind":"Status"}`}, `discovery answers with a "Status"`},
		"not JSON":                {map[string]string{groupPath: "<html>"}, "is not JSON"},
		"only another version":    {map[string]string{groupPath: "", "/apis": groups("apps", v1beta1.Group)}, "has no version v1beta1"},
		"resources of a stranger": {map[string]string{groupPath: `{"kind":"APIResourceList","groupVersion":"apps/v1","resources":[]}`}, `of "apps/v1"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.intercept = func(w http.ResponseWriter, r *http.Request) bool {
				answer, ok := c.answers[r.URL.Path]
				switch {
				case r.URL.Path == policiesPath, ok && answer == "":
					fail(w, 404, "NotFound", "the server could not find the requested resource")
				case answer == "!":
					fail(w, 500, "InternalError", "no")
				case ok:
					fmt.Fprint(w, answer)
				default:
					return false
				}
				return true
			}
			told := follow(t, a)
			if s := await(t, told, "!"); !strings.Contains(s.err.Error(), c.want) {
				t.Error(s.err)
			}
			silence(t, told, 300*time.Millisecond)
		})
	}
}
