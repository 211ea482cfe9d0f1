package kube

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kritis-node/kritis-node/verifier"
)

func TestPolicies(t *testing.T) {
	a := newAPI(t)
	a.put(authoritiesPath, "web", "qa", `"spec":{"noteReference":"namespaces/qa","publicKeyData":"eA=="},"status":{"conditions":"nonsense"}`)
	told := follow(t, a)
	await(t, told, "a:web/qa")
	a.put(policiesPath, "web", "p", qaSpec)
	got := await(t, told, "a:web/qa p:web/p")
	if p := got.document.Policies[0]; p.AuthorityNames[0] != "qa" || got.document.Authorities[0].Keys[0].PEM != "x" || len(got.problems) != 0 {
		t.Errorf("%+v", got)
	}
	a.put(allowlistsPath, "", "acs", `"spec":{"patterns":[{"namePattern":"a/*","expires":"2027-01-02T03:04:05+01:00"}]}`)
	if got = await(t, told, "a:web/qa p:web/p l:a/*"); got.document.Allowlist[0].Expires.Format(time.RFC3339) != "2027-01-02T02:04:05Z" {
		t.Errorf("%+v", got.document.Allowlist)
	}
	a.remove(policiesPath, "web", "p")
	await(t, told, "a:web/qa l:a/*")
	// What changes nothing is not told.
	a.put(authoritiesPath, "web", "qa", `"spec":{"noteReference":"namespaces/qa","publicKeyData":"eA=="},"status":{}`)
	silence(t, told, 3*gather)
}

// Policy is many pages long, and told once.
func TestPages(t *testing.T) {
	a := newAPI(t)
	for i := range 2*pageSize + 1 {
		a.put(policiesPath, "web", fmt.Sprintf("p%d", i), qaSpec)
	}
	got := <-follow(t, a)
	if got.err != nil || len(got.document.Policies) != 2*pageSize+1 {
		t.Errorf("%d policies, %v", len(got.document.Policies), got.err)
	}
}

// Nothing is told before all three kinds are known.
func TestNothingBeforeAllIsKnown(t *testing.T) {
	a := newAPI(t)
	a.put(policiesPath, "web", "p", qaSpec)
	var open atomic.Bool
	a.intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != allowlistsPath || open.Load() {
			return false
		}
		fail(w, 500, "InternalError", "etcd is away")
		return true
	}
	told := follow(t, a)
	if s := await(t, told, "!"); !strings.Contains(s.err.Error(), "watching admissionallowlists: ") || !strings.Contains(s.err.Error(), "etcd is away; it is tried again") {
		t.Error(s.err)
	}
	silence(t, told, time.Second)
	open.Store(true)
	await(t, told, "p:web/p")
}

// An answer that is not a complete list changes nothing.
func TestIncompleteLists(t *testing.T) {
	head := func(version, next, more string) string {
		return fmt.Sprintf(`{"apiVersion":"kritis.grafeas.io/v1beta1","kind":"GenericAttestationPolicyList","metadata":{%s%s%s},`, version, next, more)
	}
	const version = `"resourceVersion":"9"`
	for name, c := range map[string]struct{ body, want string }{
		"empty object":      {`{}`, "not a complete GenericAttestationPolicyList"},
		"empty":             {``, "not JSON"},
		"HTML":              {`<html>please log in</html>`, "not JSON"},
		"cut short":         {head(version, "", "") + `"items":[{"metadata":{"name":"p"`, "not JSON"},
		"no items":          {head(version, "", "") + `"x":1}`, "not a complete"},
		"items are null":    {head(version, "", "") + `"items":null}`, "not a complete"},
		"no version":        {head("", "", "") + `"items":[]}`, "not a complete"},
		"another kind":      {strings.Replace(head(version, "", ""), "Generic", "Other", 1) + `"items":[]}`, "not a complete"},
		"another group":     {strings.Replace(head(version, "", ""), "kritis.", "other.", 1) + `"items":[]}`, "not a complete"},
		"more remain":       {head(version, "", `,"remainingItemCount":3`) + `"items":[]}`, "leaves out 3 objects"},
		"in circles":        {head(version, `,"continue":"x"`, "") + `"items":[]}`, "in circles"},
		"nameless":          {head(version, "", "") + `"items":[{"metadata":{"resourceVersion":"1"}}]}`, "no name"},
		"two texts":         {head(version, "", "") + `"items":[]}{}`, "not JSON"},
		"upper-case fields": {strings.ToUpper(head(version, "", "")) + `"ITEMS":[]}`, "not a complete"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.intercept = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == policiesPath {
					fmt.Fprint(w, c.body)
				}
				return r.URL.Path == policiesPath
			}
			told := follow(t, a)
			if s := await(t, told, "!"); !strings.Contains(s.err.Error(), c.want) {
				t.Error(s.err)
			}
			silence(t, told, 300*time.Millisecond)
		})
	}
}

// A body that ends before its announced length.
func TestConnectionBreaksInsideAList(t *testing.T) {
	a := newAPI(t)
	a.intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == policiesPath {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, `{"apiVersion":`)
		}
		return r.URL.Path == policiesPath
	}
	if s := await(t, follow(t, a), "!"); !strings.Contains(s.err.Error(), "cut short") {
		t.Error(s.err)
	}
}

// The API server has forgotten the version: what was missed is found by a new list, deletions too.
func TestExpired(t *testing.T) {
	a := newAPI(t)
	a.put(policiesPath, "web", "gone", qaSpec)
	told := follow(t, a)
	await(t, told, "p:web/gone")
	var away atomic.Bool
	away.Store(true)
	a.change(func() {
		a.intercept = func(w http.ResponseWriter, r *http.Request) bool {
			if away.Load() {
				fail(w, 503, "ServiceUnavailable", "away")
			}
			return away.Load()
		}
	})
	a.CloseClientConnections()
	a.remove(policiesPath, "web", "gone")
	a.put(policiesPath, "web", "new", qaSpec)
	a.change(func() { a.kinds[policiesPath].oldest, a.kinds[policiesPath].events = a.version, nil })
	silence(t, told, time.Second)
	away.Store(false)
	await(t, told, "p:web/new")
	// Empty and complete: the API server is the truth.
	a.change(func() { clear(a.kinds[policiesPath].objects); a.version++; a.kinds[policiesPath].oldest = a.version })
	a.CloseClientConnections()
	await(t, told, "")
}

// Pages that expire on the way are read again from the first.
func TestPageExpires(t *testing.T) {
	a := newAPI(t)
	for i := range pageSize + 1 {
		a.put(policiesPath, "web", fmt.Sprintf("p%d", i), qaSpec)
	}
	var expired atomic.Int32
	a.intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("continue") != "" && expired.Add(1) <= maxRestarts {
			fail(w, 410, "Expired", "the continue parameter is too old")
			return true
		}
		return false
	}
	got := <-follow(t, a)
	if got.err != nil || len(got.document.Policies) != pageSize+1 {
		t.Errorf("%d policies, %v", len(got.document.Policies), got.err)
	}
}

// An authority and its policy come together, and a thousand changes are few.
func TestBursts(t *testing.T) {
	a := newAPI(t)
	told := follow(t, a)
	await(t, told, "")
	began := time.Now()
	for i := range 1000 {
		a.put(policiesPath, "web", fmt.Sprintf("p%d", i), qaSpec)
	}
	calls := 0
	for deadline := time.After(within); ; calls++ {
		select {
		case s := <-told:
			if s.err != nil {
				t.Fatal(s.err)
			}
			if len(s.document.Policies) < 1000 {
				continue
			}
		case <-deadline:
			t.Fatal("the last change was not told")
		}
		break
	}
	if most := int(time.Since(began)/gather) + 1; calls > most {
		t.Errorf("told %d times in %s", calls, time.Since(began))
	}
}

// Objects that cannot be read still govern, and attest and allow nothing.
func TestUnreadableObjects(t *testing.T) {
	a := newAPI(t)
	a.put(authoritiesPath, "web", "qa", `"spec":{"publicKeyData":5}`)
	a.put(policiesPath, "web", "p", `"spec":{"attestationAuthorityNames":"qa"}`)
	a.put(policiesPath, "web", "q", `"spec":[]`)
	a.put(allowlistsPath, "", "acs", `"spec":{"patterns":[{"namePattern":"a/*","expires":"tomorrow"}]}`)
	a.put(allowlistsPath, "", "typo", `"spec":{"patterns":[{"namePattern":"b/*","expire":"2027-01-01T00:00:00Z"}]}`)
	got := await(t, follow(t, a), "a:web/qa p:web/p p:web/q l:b/*")
	var text []string
	for _, p := range got.problems {
		text = append(text, p.Object+" "+p.Field+" "+p.Code)
	}
	const want = "AttestationAuthority web/qa spec ObjectUnreadable, GenericAttestationPolicy web/p spec ObjectUnreadable, " +
		"GenericAttestationPolicy web/q spec ObjectUnreadable, AdmissionAllowlist acs spec ObjectUnreadable, AdmissionAllowlist typo spec.patterns[0].expire FieldUnknown"
	if strings.Join(text, ", ") != want {
		t.Errorf("%s", strings.Join(text, ", "))
	}
	set, _ := verifier.Compile(got.document)
	v := verifier.Rules{Cluster: set}.Decide(verifier.Request{Namespace: "web", Image: "registry.example/x@sha256:" + strings.Repeat("a", 64)}, nobody{}, nobody{})
	if v.Outcome == verifier.Allowed {
		t.Errorf("an unreadable policy admits: %+v", v)
	}
}

type nobody struct{}

func (nobody) Digests(verifier.Reference) ([]verifier.Digest, error) { return nil, nil }
func (nobody) Named(verifier.Reference) (bool, error)                { return false, nil }
func (nobody) Attestations(string, verifier.Digest) ([]verifier.Attestation, error) {
	return nil, nil
}

func TestManyProblemsAreCut(t *testing.T) {
	a := newAPI(t)
	for i := range maxProblems + 5 {
		a.put(policiesPath, "web", fmt.Sprintf("p%d", i), `"spec":7`)
	}
	got := <-follow(t, a)
	if n := len(got.problems); n != maxProblems+1 || !strings.Contains(got.problems[n-1].Text, "and 5 more") || len(got.document.Policies) != maxProblems+5 {
		t.Errorf("%d problems, the last %+v", n, got.problems[n-1])
	}
}

func TestMetrics(t *testing.T) {
	a := newAPI(t)
	p := NewPolicies(a.server())
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(p.Metrics()); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil || len(families) != 4 {
		t.Fatalf("%d metrics, %v", len(families), err)
	}
	for _, f := range families {
		if len(f.GetMetric()) != 3 {
			t.Errorf("%s has %d series, want one for each kind", f.GetName(), len(f.GetMetric()))
		}
	}
}
