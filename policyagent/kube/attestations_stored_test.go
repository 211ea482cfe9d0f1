package kube

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
)

// A person's command tells "none" from "nobody has looked", and never writes.
func TestStoredAttestations(t *testing.T) {
	now := time.Now()
	statement := v1beta1.Statement{SerializedPayload: []byte(`{"critical":{"type":"atomic container signature"}}`), Signatures: []v1beta1.StatementSignature{{Signature: []byte("s")}}}
	const other = "registry.example/a"
	object := func(repository string, wantedAt, askedAt, nextAt time.Time, state string, statements ...v1beta1.Statement) *v1beta1.Attestation {
		o := &v1beta1.Attestation{}
		o.Spec.Statements = statements
		if !wantedAt.IsZero() {
			o.Spec.Wanted = []v1beta1.Wanted{{Repository: repository, AskedAt: metav1.NewTime(wantedAt)}}
		}
		if state != "" {
			o.Status.Answers = []v1beta1.RepositoryAnswer{{Repository: repository, State: state, Message: "what\nfailed", AskedAt: metav1.NewTime(askedAt), ObservedAt: metav1.NewTime(askedAt), NextAt: metav1.NewTime(nextAt)}}
		}
		return o
	}
	const yet = "the cluster has not looked for attestations yet"
	const lately = "the cluster has not looked for attestations lately"
	status := func(code int, reason string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool { fail(w, code, reason, "said so"); return true }
	}
	ago, soon := now.Add(-10*time.Second), now.Add(30*time.Minute)
	for name, c := range map[string]struct {
		repository string
		object     *v1beta1.Attestation
		failing    func(http.ResponseWriter, *http.Request) bool
		found      int
		err, note  string
	}{
		"no object":                          {repository: other},
		"a statement":                        {repository: other, object: object(other, time.Time{}, now, now, "", statement), found: 1},
		"a statement that cannot be read":    {repository: other, object: object(other, time.Time{}, now, now, "", statement, v1beta1.Statement{}), found: 1, err: "spec.statements[1]"},
		"nobody has looked":                  {repository: acrRepo, err: yet, note: "of " + acrRepo + " yet: a node makes the cluster look"},
		"a statement, nobody has looked":     {repository: acrRepo, object: object(acrRepo, time.Time{}, now, now, "", statement), found: 1, err: yet, note: "yet"},
		"for another repository":             {repository: acrRepo, object: object("team-registry.cn-x.cr.aliyuncs.com/b", ago, ago, soon, v1beta1.AnswerComplete), err: yet, note: "yet"},
		"asked":                              {repository: acrRepo, object: object(acrRepo, ago, now, now, ""), err: "has not answered yet", note: "was asked for attestations of " + acrRepo + " 1"},
		"asked, of a host that we know not":  {repository: other, object: object(other, ago, now, now, ""), err: "has not answered yet", note: "ago and has not answered: ask again"},
		"asked again":                        {repository: acrRepo, object: object(acrRepo, now, ago, soon, v1beta1.AnswerComplete), err: "has not answered yet", note: "has not answered: ask again"},
		"looked":                             {repository: acrRepo, object: object(acrRepo, ago, ago, soon, v1beta1.AnswerComplete), note: "the cluster looked for attestations of " + acrRepo + " at 2"},
		"looked a while ago, and it holds":   {repository: acrRepo, object: object(acrRepo, now.Add(-2*time.Minute), now.Add(-2*time.Minute), soon, v1beta1.AnswerComplete, statement), found: 1, err: lately, note: "since 2"},
		"nowhere to look, as of a while ago": {repository: acrRepo, object: object(acrRepo, now.Add(-2*time.Minute), now.Add(-2*time.Minute), soon, v1beta1.AnswerNotCovered)},
		"looked long ago":                    {repository: acrRepo, object: object(acrRepo, ago, ago, now.Add(-time.Second), v1beta1.AnswerComplete), err: lately, note: "since 2"},
		"looked, and nobody wants it":        {repository: acrRepo, object: object(acrRepo, time.Time{}, ago, soon, v1beta1.AnswerComplete), err: lately, note: "since 2"},
		"looked, and a clock is wrong":       {repository: acrRepo, object: object(acrRepo, ago, ago, now.Add(1000*time.Hour), v1beta1.AnswerComplete), err: lately, note: "since 2"},
		"nowhere to look":                    {repository: acrRepo, object: object(acrRepo, ago, ago, soon, v1beta1.AnswerNotCovered)},
		"a failed look":                      {repository: acrRepo, object: object(acrRepo, ago, ago, soon, v1beta1.AnswerFailed), err: "the controller could not tell: what failed"},
		"another version's answer":           {repository: acrRepo, object: object(acrRepo, ago, ago, soon, "Perhaps", statement), found: 1, err: `"Perhaps"`},
		"a lack of rights":                   {repository: other, failing: status(403, "Forbidden"), err: "you may not get attestations (API group kritis.grafeas.io) in all namespaces: ask for a role with that right"},
		"no credentials":                     {repository: other, failing: status(401, "Unauthorized"), err: "does not accept your credentials"},
		"an API server in trouble":           {repository: other, failing: status(500, "InternalError"), err: "reading attestations.kritis.grafeas.io"},
		"no such kind":                       {repository: other, failing: status(404, "NotFound")},
		"no such kind, nodes need it":        {repository: acrRepo, failing: status(404, "NotFound"), err: "apply the CRDs"},
		"not an Attestation":                 {repository: other, failing: func(w http.ResponseWriter, _ *http.Request) bool { fmt.Fprint(w, `{"kind":"Pod"}`); return true }, err: "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := &questions{t: t, object: c.object, failing: c.failing, changed: make(chan struct{})}
			a := newAPI(t)
			a.intercept = q.serve
			s := a.server()
			t.Cleanup(s.Close)
			var notes []string
			source, err := NewStoredAttestations(s, []string{"*.cr.aliyuncs.com"}, func(note string) { notes = append(notes, note) })
			if err != nil {
				t.Fatal(err)
			}
			found, err := source.Attestations(t.Context(), c.repository, attested)
			if text := fmt.Sprint(err); len(found) != c.found || (err != nil) != (c.err != "") || !strings.Contains(text, c.err) || strings.Contains(text, "\n") {
				t.Errorf("%d found, error %v, want %d, %q", len(found), err, c.found, c.err)
			}
			if text := strings.Join(notes, "|"); (text != "") != (c.note != "") || !strings.Contains(text, c.note) || len(notes) > 1 {
				t.Errorf("notes %q, want %q", text, c.note)
			}
			for _, f := range found {
				if f.Source != "Attestation "+v1beta1.AttestationName(attested) {
					t.Errorf("source %q", f.Source)
				}
			}
			if q.asks+q.watches > 0 {
				t.Error("it asks the controller")
			}
		})
	}
	if _, err := NewStoredAttestations(newAPI(t).server(), []string{"*"}, nil); err == nil {
		t.Error("a pattern that is none is taken")
	}
}
