package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/verifier"
)

const (
	attested = verifier.Digest("sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
	acrRepo  = "team-registry.cn-x.cr.aliyuncs.com/a"
)

// questions is an API server with one Attestation.
type questions struct {
	t  *testing.T
	mu sync.Mutex
	// object is the Attestation, nil if there is none.
	object  *v1beta1.Attestation
	changed chan struct{}
	// gets and asks count requests; failing answers instead if it is set.
	gets, asks, watches int
	failing             func(w http.ResponseWriter, req *http.Request) bool
	// answer is what a controller does after a question.
	answer func(o *v1beta1.Attestation)
}

func newQuestions(t *testing.T) (*questions, *Attestations) {
	t.Helper()
	q := &questions{t: t, changed: make(chan struct{})}
	a := newAPI(t)
	a.intercept = q.serve
	s := a.server()
	t.Cleanup(s.Close)
	source, err := NewAttestations(s, []string{"*.cr.aliyuncs.com", "images.example"})
	if err != nil {
		t.Fatal(err)
	}
	return q, source
}

func (q *questions) change(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	f()
	close(q.changed)
	q.changed = make(chan struct{})
}

func (q *questions) json() string {
	o := *q.object
	o.APIVersion, o.Kind, o.Name, o.ResourceVersion = v1beta1.APIVersion, v1beta1.KindAttestation, v1beta1.AttestationName(attested), "7"
	data, err := json.Marshal(o)
	if err != nil {
		q.t.Error(err)
	}
	return string(data)
}

func (q *questions) serve(w http.ResponseWriter, req *http.Request) bool {
	const kind = "/apis/kritis.grafeas.io/v1beta1/attestations"
	name := v1beta1.AttestationName(attested)
	body, _ := io.ReadAll(req.Body)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.failing != nil && q.failing(w, req) {
		return true
	}
	switch {
	case req.Method == http.MethodGet && req.URL.Path == kind+"/"+name:
		if q.gets++; q.object == nil {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,"details":{"name":%q}}`, name)
			return true
		}
		fmt.Fprint(w, q.json())
	case req.Method == http.MethodPatch && req.URL.Path == kind+"/"+name:
		q.asks++
		var asked v1beta1.Attestation
		if err := json.Unmarshal(body, &asked); err != nil || len(asked.Spec.Wanted) != 1 || req.URL.Query().Get("fieldManager") != v1beta1.AskerFor(asked.Spec.Wanted[0].Repository) ||
			req.Header.Get("Content-Type") != "application/apply-patch+yaml" || asked.Labels[v1beta1.LabelAsked] == "" {
			q.t.Errorf("a question of another form: %s %s", req.URL, body)
		}
		if q.object == nil {
			q.object = &v1beta1.Attestation{}
		}
		q.object.Spec.Wanted = asked.Spec.Wanted
		fmt.Fprint(w, q.json())
		if q.answer != nil {
			q.answer(q.object)
			close(q.changed)
			q.changed = make(chan struct{})
		}
	case req.Method == http.MethodGet && req.URL.Path == kind && req.URL.Query().Get("fieldSelector") == "metadata.name="+name && req.URL.Query().Get("resourceVersion") == "7":
		q.watches++
		fmt.Fprintln(w, `{"type":"BOOKMARK","object":{"kind":"Attestation","metadata":{"resourceVersion":"8"}}}`)
		for {
			if q.object == nil {
				fmt.Fprintln(w, `{"type":"DELETED","object":{"kind":"Attestation"}}`)
			} else {
				fmt.Fprintf(w, `{"type":"MODIFIED","object":%s}`+"\n", q.json())
			}
			changed := q.changed
			q.mu.Unlock()
			w.(http.Flusher).Flush()
			select {
			case <-req.Context().Done():
				q.mu.Lock()
				return true
			case <-changed:
			}
			q.mu.Lock()
		}
	default:
		fail(w, 404, "NotFound", req.Method+" "+req.URL.String())
	}
	return true
}

// answering makes the controller say so, and holds the answer for so long.
func answering(state string, held time.Duration, statements ...v1beta1.Statement) func(*v1beta1.Attestation) {
	return func(o *v1beta1.Attestation) {
		w := o.Spec.Wanted[0]
		o.Spec.Statements = statements
		o.Status.Answers = []v1beta1.RepositoryAnswer{{Repository: w.Repository, State: state, Statements: len(statements), Message: "what\nfailed", AskedAt: w.AskedAt, ObservedAt: metav1.Now(), NextAt: metav1.NewTime(time.Now().Add(held))}}
	}
}

func statementNamed(t *testing.T, payload string) v1beta1.Statement {
	t.Helper()
	s, err := v1beta1.StatementOf(verifier.Attestation{Format: verifier.FormatKritis, Payload: []byte(payload), Signatures: []verifier.Signature{{KeyID: "k", Value: []byte("s")}}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (q *questions) counted(what string, gets, asks, watches int) {
	q.t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.gets != gets || q.asks != asks || q.watches != watches {
		q.t.Errorf("%s: %d gets, %d questions, %d watches, want %d, %d, %d", what, q.gets, q.asks, q.watches, gets, asks, watches)
	}
	q.gets, q.asks, q.watches = 0, 0, 0
}

func expect(t *testing.T, a *Attestations, repository, payloads, failure string) {
	t.Helper()
	expectIn(t.Context(), t, a, repository, payloads, failure)
}

// expectMore is expect for whom what was known did not suffice.
func expectMore(t *testing.T, a *Attestations, payloads, failure string) {
	t.Helper()
	expectIn(attestations.Insufficient(t.Context()), t, a, acrRepo, payloads, failure)
}

func expectIn(ctx context.Context, t *testing.T, a *Attestations, repository, payloads, failure string) {
	t.Helper()
	found, err := a.Attestations(ctx, repository, attested)
	var all []string
	for _, f := range found {
		all = append(all, string(f.Payload))
		if f.Source != "Attestation "+v1beta1.AttestationName(attested) {
			t.Errorf("source %q", f.Source)
		}
	}
	if got := strings.Join(all, " "); got != payloads || (failure == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), failure) {
		t.Errorf("%s: %q, %v; want %q, %q", repository, got, err, payloads, failure)
	}
	if err != nil && strings.Contains(err.Error(), "\n") {
		t.Errorf("several lines: %v", err)
	}
}

func TestAttestationsAsked(t *testing.T) {
	q, a := newQuestions(t)
	one := statementNamed(t, "one")
	q.answer = answering(v1beta1.AnswerComplete, time.Minute, one)
	expect(t, a, acrRepo, "one", "")
	q.counted("the first question", 1, 1, 1)
	expect(t, a, acrRepo, "one", "")
	q.counted("an answer that holds", 1, 0, 0)
	// When it is time for another look, nobody waits for it that has something.
	q.change(func() { answering(v1beta1.AnswerComplete, -time.Second, one)(q.object) })
	q.answer = nil
	q.change(func() {
		q.object.Status.Answers[0].AskedAt = metav1.Unix(1, 0)
		q.object.Spec.Wanted[0].AskedAt = metav1.Unix(1, 0)
	})
	expect(t, a, acrRepo, "one", "")
	q.counted("something old", 1, 1, 0)
	expect(t, a, acrRepo, "one", "")
	q.counted("something old, asked about", 1, 0, 0)
	// An answer too far ahead is of a clock that was wrong.
	q.change(func() {
		answering(v1beta1.AnswerComplete, 24*time.Hour)(q.object)
		q.object.Status.Answers[0].AskedAt = q.object.Spec.Wanted[0].AskedAt
	})
	q.answer = answering(v1beta1.AnswerComplete, time.Minute, one)
	q.change(func() {
		q.object.Spec.Wanted[0].AskedAt = metav1.Unix(1, 0)
		q.object.Status.Answers[0].AskedAt = metav1.Unix(1, 0)
	})
	expect(t, a, acrRepo, "one", "")
	q.counted("an answer from the future", 1, 1, 1)
	// Other repositories of the digest are questions of their own, and other registries none.
	expect(t, a, acrRepo+"/other", "one", "")
	q.counted("another repository", 1, 1, 1)
	expect(t, a, "registry.example/a", "one", "")
	q.counted("another registry", 1, 0, 0)
	expect(t, a, "images.example/a", "one", "")
	q.counted("a host that is named", 1, 1, 1)
}

// Who says that what was known does not suffice has a new answer if the last look was 10 s ago, and waits for it.
func TestAttestationsInsufficient(t *testing.T) {
	q, a := newQuestions(t)
	one, two := statementNamed(t, "one"), statementNamed(t, "two")
	// looked puts an answer there that holds for an hour and is of that age.
	looked := func(state string, age time.Duration, statements ...v1beta1.Statement) {
		q.change(func() {
			q.object = &v1beta1.Attestation{}
			q.object.Spec.Wanted = []v1beta1.Wanted{{Repository: acrRepo, AskedAt: metav1.Unix(1, 0)}}
			answering(state, time.Hour, statements...)(q.object)
			q.object.Status.Answers[0].ObservedAt = metav1.NewTime(time.Now().Add(-age))
		})
	}
	said := func(want bool) {
		t.Helper()
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.object.Spec.Wanted[0].Insufficient != want {
			t.Errorf("the question says insufficient: %v", !want)
		}
	}
	q.answer = answering(v1beta1.AnswerComplete, time.Hour, one, two)
	// The first question says so too, if that is how it is.
	expectMore(t, a, "one two", "")
	q.counted("the first question", 1, 1, 1)
	said(true)
	for _, state := range []string{v1beta1.AnswerComplete, v1beta1.AnswerFailed} {
		failure := ""
		if state == v1beta1.AnswerFailed {
			failure = "could not tell"
		}
		looked(state, v1beta1.LookInterval-3*time.Second, one)
		expectMore(t, a, "one", failure)
		q.counted(state+", looked a moment ago", 1, 0, 0)
		looked(state, v1beta1.LookInterval, one)
		expect(t, a, acrRepo, "one", failure)
		q.counted(state+", and it suffices", 1, 0, 0)
		expectMore(t, a, "one two", "")
		q.counted(state+", and it does not suffice", 1, 1, 1)
		said(true)
	}
	looked(v1beta1.AnswerComplete, 59*time.Minute)
	expectMore(t, a, "one two", "")
	q.counted("there was none", 1, 1, 1)
	looked(v1beta1.AnswerComplete, -time.Minute, one)
	expectMore(t, a, "one two", "")
	q.counted("looked by a clock that is ahead", 1, 1, 1)
	// A later question takes it back.
	q.change(func() {
		answering(v1beta1.AnswerComplete, -time.Second, one)(q.object)
		q.object.Spec.Wanted[0].AskedAt, q.object.Status.Answers[0].AskedAt = metav1.Unix(1, 0), metav1.Unix(1, 0)
	})
	expect(t, a, acrRepo, "one", "")
	said(false)
}

// A question that is under way is joined by whoever needs more only if it says so: another would be answered by what is known.
// One that nobody answers is not asked again.
func TestAttestationsInsufficientUnderWay(t *testing.T) {
	q, a := newQuestions(t)
	one := statementNamed(t, "one")
	wanted := func(age time.Duration, insufficient bool) {
		q.change(func() {
			q.object = &v1beta1.Attestation{}
			q.object.Spec.Statements = []v1beta1.Statement{one}
			q.object.Spec.Wanted = []v1beta1.Wanted{{Repository: acrRepo, AskedAt: metav1.NewTime(time.Now().Add(-age)), Insufficient: insufficient}}
		})
	}
	q.answer = answering(v1beta1.AnswerComplete, time.Hour, one, statementNamed(t, "two"))
	wanted(2*time.Second, false)
	expectMore(t, a, "one two", "")
	q.counted("asked by others", 1, 1, 1)
	wanted(time.Minute, false)
	expectMore(t, a, "one", "the controller has not answered for 1m0s")
	q.counted("unanswered for long", 1, 0, 0)
	for _, ctx := range []context.Context{t.Context(), attestations.Insufficient(t.Context())} {
		wanted(2*time.Second, true)
		ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		defer cancel()
		expectIn(ctx, t, a, acrRepo, "one", "the controller has not answered")
		q.counted("asked by others in need", 1, 0, 1)
	}
}

// None is only said when the controller said so.
func TestAttestationsAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		state, payloads, failure string
		statements               []v1beta1.Statement
	}{
		"none":            {state: v1beta1.AnswerComplete},
		"not covered":     {state: v1beta1.AnswerNotCovered},
		"failed":          {state: v1beta1.AnswerFailed, failure: "the controller could not tell: what failed"},
		"failed partly":   {state: v1beta1.AnswerFailed, failure: "could not tell", payloads: "one", statements: []v1beta1.Statement{statementNamed(t, "one")}},
		"another version": {state: "Perhaps", failure: "which means nothing here"},
	} {
		t.Run(name, func(t *testing.T) {
			q, a := newQuestions(t)
			q.answer = answering(c.state, time.Minute, c.statements...)
			expect(t, a, acrRepo, c.payloads, c.failure)
			expect(t, a, acrRepo, c.payloads, c.failure)
			q.counted("it", 2, 1, 1)
			q.change(func() {
				q.object.Status.Answers[0].NextAt = metav1.Unix(1, 0)
				q.object.Status.Answers[0].AskedAt, q.object.Spec.Wanted[0].AskedAt = metav1.Unix(1, 0), metav1.Unix(1, 0)
			})
			q.answer = answering(v1beta1.AnswerComplete, time.Minute, statementNamed(t, "now"))
			found, err := a.Attestations(t.Context(), acrRepo, attested)
			if c.statements == nil && (err != nil || len(found) != 1) {
				t.Errorf("when it was due: %v, %v", found, err)
			}
			q.counted("when it was due", 1, 1, min(1, 1-len(c.statements)))
		})
	}
}

// A question that is under way is joined, one that nobody answers is not waited for, and a caller's end is an end.
func TestAttestationsUnanswered(t *testing.T) {
	q, a := newQuestions(t)
	wanted := func(age time.Duration) {
		q.change(func() {
			q.object = &v1beta1.Attestation{}
			q.object.Spec.Statements = []v1beta1.Statement{statementNamed(t, "written")}
			q.object.Spec.Wanted = []v1beta1.Wanted{{Repository: acrRepo, AskedAt: metav1.NewTime(time.Now().Add(-age))}}
		})
	}
	wanted(time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	found, err := a.Attestations(ctx, acrRepo, attested)
	if len(found) != 1 || err == nil || !strings.Contains(err.Error(), "the controller has not answered") {
		t.Errorf("%v, %v", found, err)
	}
	q.counted("under way", 1, 0, 1)
	wanted(time.Minute)
	expect(t, a, acrRepo, "written", "the controller has not answered for 1m0s: is kritis-controller running?")
	q.counted("unanswered for long", 1, 0, 0)
	wanted(time.Second)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { expect(t, a, acrRepo, "one", "") })
	}
	for {
		q.mu.Lock()
		joined := q.watches
		q.mu.Unlock()
		if joined == 10 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	q.change(func() { answering(v1beta1.AnswerComplete, time.Minute, statementNamed(t, "one"))(q.object) })
	wg.Wait()
	q.counted("joined", 10, 0, 10)
	wanted(time.Second)
	go func() {
		for q.mu.Lock(); q.watches == 0; q.mu.Lock() {
			q.mu.Unlock()
			time.Sleep(time.Millisecond)
		}
		q.mu.Unlock()
		q.change(func() { q.object = nil })
	}()
	if _, err := a.Attestations(t.Context(), acrRepo, attested); err == nil || !strings.Contains(err.Error(), "was deleted before it was answered") {
		t.Errorf("%v", err)
	}
}

func TestAttestationsFailures(t *testing.T) {
	for name, c := range map[string]struct {
		failing func(w http.ResponseWriter, req *http.Request) bool
		// covered and others are what is said of hosts that are asked about, and of others; silent: nothing is asked again.
		covered, others string
		silent          bool
	}{
		"no kind": {func(w http.ResponseWriter, _ *http.Request) bool {
			fail(w, 404, "NotFound", "the server could not find the requested resource")
			return true
		}, "the cluster has no kind Attestation: apply the CRDs", "", false},
		"forbidden": {func(w http.ResponseWriter, _ *http.Request) bool { fail(w, 403, "Forbidden", "no"); return true }, "allow the policy agent's ServiceAccount to get, watch, create and patch attestations", "", false},
		"may not ask": {func(w http.ResponseWriter, req *http.Request) bool {
			if req.Method == http.MethodPatch {
				fail(w, 403, "Forbidden", "no")
			}
			return req.Method == http.MethodPatch
		}, "asking the controller by Attestation sha256-aaa", "", false},
		"full": {func(w http.ResponseWriter, req *http.Request) bool {
			if req.Method == http.MethodPatch {
				fail(w, 422, "Invalid", "spec.wanted: Too many")
			}
			return req.Method == http.MethodPatch
		}, "Too many", "", false},
		"away": {func(w http.ResponseWriter, _ *http.Request) bool { panic(http.ErrAbortHandler) }, "reading Attestation", "reading Attestation", true},
		"starting": {func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}, "reading Attestation", "reading Attestation", true},
		"garbage": {func(w http.ResponseWriter, _ *http.Request) bool { fmt.Fprint(w, "<html>"); return true }, "it cannot be read: correct it, or delete it", "it cannot be read", false},
		"another kind": {func(w http.ResponseWriter, _ *http.Request) bool {
			fmt.Fprint(w, `{"kind":"Pod","metadata":{}}`)
			return true
		}, "it cannot be read", "it cannot be read", false},
		"too large": {func(w http.ResponseWriter, _ *http.Request) bool {
			fmt.Fprint(w, `{"kind":"Attestation","x":"`+strings.Repeat("x", maxAttestationObject)+`"}`)
			return true
		}, "larger than fits", "larger than fits", true},
	} {
		t.Run(name, func(t *testing.T) {
			q, a := newQuestions(t)
			var calls atomic.Int64
			q.failing = func(w http.ResponseWriter, req *http.Request) bool { calls.Add(1); return c.failing(w, req) }
			expect(t, a, "registry.example/a", "", c.others)
			before := calls.Load()
			expect(t, a, acrRepo, "", c.covered)
			if c.silent != (calls.Load() == before) {
				t.Errorf("asked again: %v", calls.Load() != before)
			}
		})
	}
}

func TestAttestationsPatterns(t *testing.T) {
	a := newAPI(t)
	for _, bad := range []string{"", "*", "*.", "a/b", "*.a*", "A.example", "a b"} {
		if _, err := NewAttestations(a.server(), []string{bad}); err == nil {
			t.Errorf("%q", bad)
		}
	}
	s, err := NewAttestations(a.server(), []string{"*.cr.example", "images.example:5000"})
	if err != nil {
		t.Fatal(err)
	}
	for repository, want := range map[string]bool{"a.cr.example/x": true, "a.b.cr.example/x": true, "cr.example/x": false, ".cr.example/x": false, "xcr.example/x": false,
		"a.cr.example.evil/x": false, "images.example:5000/x": true, "images.example/x": false, "evil/a.cr.example": false} {
		if s.asks(repository) != want {
			t.Errorf("%s: %v", repository, !want)
		}
	}
}

// What the API server lets through is checked again, and one bad statement does not take the others with it.
func TestAttestationStatements(t *testing.T) {
	good, err := json.Marshal(statementNamed(t, "good"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		statements []string
		found      int
		failure    string
	}{
		"good":        {[]string{string(good)}, 1, ""},
		"none":        {nil, 0, ""},
		"no base64":   {[]string{`{"id":"x","bundle":"%"}`, string(good)}, 1, "spec.statements[0]: it cannot be read"},
		"no form":     {[]string{string(good), `{"id":"x"}`}, 1, "spec.statements[1]: it is neither"},
		"both forms":  {[]string{`{"bundle":"eA==","serializedPayload":"eA==","signatures":[{"signature":"eA=="}]}`}, 0, "it is neither"},
		"two bad":     {[]string{`1`, `2`, string(good)}, 1, "spec.statements[0]: it cannot be read: correct it, or delete it; and 1 more"},
		"large":       {[]string{`{"bundle":"` + strings.Repeat("eHh4", 4097) + `"}`}, 0, "too large"},
		"fits":        {[]string{`{"bundle":"` + strings.Repeat("eHh4", 4096) + `"}`}, 1, ""},
		"many":        {many(string(good), v1beta1.MaxStatements+1), 1, "more than 50 statements"},
		"other cases": {[]string{strings.Replace(string(good), "serializedPayload", "SerializedPayload", 1)}, 0, "it is neither"},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := decodeAttestation([]byte(`{"kind":"Attestation","spec":{"statements":[` + strings.Join(c.statements, ",") + `]}}`))
			if err != nil {
				t.Fatal(err)
			}
			found, err := o.statements("n")
			if len(found) != c.found || (c.failure == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.failure) {
				t.Errorf("%d, %v", len(found), err)
			}
		})
	}
}

func many(s string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = s
	}
	return all
}

func FuzzDecodeAttestation(f *testing.F) {
	f.Add([]byte(`{"kind":"Attestation","spec":{"statements":[{"id":"0123456789abcdef","bundle":"eA=="},{"serializedPayload":"eA==","signatures":[{"publicKeyId":"k","signature":"eA=="}]}],"wanted":[{"repository":"r","askedAt":"2026-01-02T03:04:05Z"}]},"status":{"answers":[{"repository":"r","state":"Complete","askedAt":"2026-01-02T03:04:05Z","nextAt":"2026-01-02T03:04:05Z"}]}}`))
	f.Add([]byte(`{"kind":"Attestation","spec":{"statements":[null,1,{}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := decodeAttestation(data)
		if err != nil {
			return
		}
		found, err := o.statements("n")
		if len(found) > v1beta1.MaxStatements || err == nil && len(found) > len(o.Spec.Statements) {
			t.Errorf("%d", len(found))
		}
		for _, a := range found {
			if len(a.Payload) == 0 || len(a.Payload) > verifier.MaxPayload || len(a.Signatures) > verifier.MaxSignatures || (a.Format == verifier.FormatBundle) != (len(a.Signatures) == 0) {
				t.Errorf("%+v", a)
			}
		}
		if s := o.standing("r", time.Now()); s.answered && (s.pending || s.answer.State == "") {
			t.Errorf("%+v", s)
		}
	})
}
