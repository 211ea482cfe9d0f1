package verifier

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// many is a cluster of so many policies in as many namespaces, each with an authority of its own.
func many(n int) Document {
	doc := Document{}
	for i := range n {
		ns := fmt.Sprintf("team-%05d", i)
		a := qaSpec(ns)
		doc.Authorities = append(doc.Authorities, a)
		doc.Policies = append(doc.Policies, PolicySpec{Namespace: ns, Name: "main", AuthorityNames: []string{"qa"}})
	}
	return doc
}

// held is how many bytes of heap what f returns takes.
func held[T any](f func() T) (T, uint64) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	v := f()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return v, max(after.HeapAlloc, before.HeapAlloc) - before.HeapAlloc
}

// Ten thousand policies take ten times what a thousand do, and a decision costs what it costs with one.
func TestTenThousandPolicies(t *testing.T) {
	documents := map[int]Document{1: many(1), 1000: many(1000), 10_000: many(10_000)}
	sets, sizes, costs := map[int]*PolicySet{}, map[int]uint64{}, map[int]float64{}
	for _, n := range []int{1, 1000, 10_000} {
		sets[n], sizes[n] = held(func() *PolicySet { return compiled(documents[n]) })
		rules, w := Rules{Cluster: sets[n]}, honestWorld().attested(appDigest, kritisBy(qaKey(), "", appDigest))
		req := app(appPinned)
		req.Namespace = fmt.Sprintf("team-%05d", n-1)
		costs[n] = testing.AllocsPerRun(20, func() {
			w.lookups = nil
			if v := rules.Decide(req, w, w); v.Outcome != Allowed {
				t.Fatalf("%d policies: %+v", n, v)
			}
		})
		req.Namespace = "team-99999"
		if v := rules.Decide(req, w, w); v.Reason != NoPolicy {
			t.Errorf("%d policies: %+v", n, v)
		}
	}
	t.Logf("compiled: %v bytes, a decision: %v allocations", sizes, costs)
	if sizes[10_000] > 15*sizes[1000] || sizes[10_000] > 40<<20 {
		t.Errorf("10,000 policies take %d bytes, 1,000 take %d", sizes[10_000], sizes[1000])
	}
	if costs[10_000] > costs[1]+2 {
		t.Errorf("a decision takes %v allocations among 10,000 policies, %v with one", costs[10_000], costs[1])
	}
	runtime.KeepAlive(sets)
}

// Ten thousand policies in one namespace: all are asked, and what is told of them stays short.
func TestTenThousandPoliciesOfOneNamespace(t *testing.T) {
	doc := document()
	doc.Policies = nil
	for i := range 10_000 {
		name := fmt.Sprintf("p-%05d", i)
		doc.Authorities = append(doc.Authorities, AuthoritySpec{Namespace: "default", Name: name, Keys: []KeySpec{{PEM: publicPEM(otherKey())}}})
		doc.Policies = append(doc.Policies, PolicySpec{Namespace: "default", Name: name, AuthorityNames: []string{name, "qa"}})
	}
	last := &doc.Policies[9_999]
	attestations := map[Digest][]Attestation{appDigest: append(repeat(bundleBy(prodKey(), platformDigest), MaxAttempts), kritisBy(qaKey(), "", appDigest))}
	v := decideApp(doc, attestations, appDigest)
	short(t, v)
	// The limit of signatures to check is reached long before the last authority.
	if v.Outcome != CouldNotTell || v.Omitted == 0 || !strings.Contains(v.Detail, "more than 1024 signatures") {
		t.Errorf("%v %s: %s; %d omitted", v.Outcome, v.Reason, v.Detail, v.Omitted)
	}
	v = decideApp(doc, map[Digest][]Attestation{appDigest: repeat(bundleBy(prodKey(), platformDigest), MaxAttempts)}, appDigest)
	short(t, v)
	if v.Outcome != Denied || v.Reason != NotAttested || v.Omitted == 0 || !strings.Contains(v.Detail, "p-00000") {
		t.Errorf("none: %v %s: %s; %d omitted", v.Outcome, v.Reason, v.Detail, v.Omitted)
	}
	v = Rules{Cluster: compiled(doc)}.Decide(app(appTagged), honestWorld(), honestWorld())
	short(t, v)
	if v.Reason != TagReference || len(v.Policies)+v.Omitted != 10_000 {
		t.Errorf("by tag: %s, %d policies and %d omitted", v.Reason, len(v.Policies), v.Omitted)
	}
	// What satisfies the last one is in the evidence.
	last.AuthorityNames = []string{"prod"}
	for i := range doc.Policies[:9_999] {
		doc.Policies[i].AuthorityNames = []string{"nobody"}
	}
	v = decideApp(doc, map[Digest][]Attestation{appDigest: {kritisBy(prodKey(), "", appDigest)}}, appDigest)
	short(t, v)
	end := v.Policies[len(v.Policies)-1]
	if v.Outcome != Allowed || !end.Satisfied || end.Name != "p-09999" || !end.Authorities[0].Attested || len(v.Policies)+v.Omitted != 10_000 {
		t.Errorf("the last: %v %s, %+v, %d omitted", v.Outcome, v.Reason, end, v.Omitted)
	}
}

// short complains of evidence that is longer than an audit line should be.
func short(t *testing.T, v Verdict) {
	t.Helper()
	results := len(v.Policies)
	for _, p := range v.Policies {
		results += len(p.Authorities)
		for _, a := range p.Authorities {
			results += len(a.Attempts)
		}
	}
	line, err := json.Marshal(v)
	if err != nil || results > MaxEvidence+1+maxResults || len(line) > 256<<10 {
		t.Errorf("%d results in %d bytes (%v)", results, len(line), err)
	}
}

// At the limit the last authority counts; one more, and nothing satisfies the policy.
func TestAThousandAuthorities(t *testing.T) {
	for n, want := range map[int]Outcome{MaxAuthorities: Allowed, MaxAuthorities + 1: Denied} {
		doc := document()
		p := &doc.Policies[0]
		p.AuthorityNames = nil
		for i := range n {
			a := qaSpec("default")
			a.Name = fmt.Sprintf("a-%04d", i)
			if i == MaxAuthorities-1 {
				a.Keys = []KeySpec{{PEM: publicPEM(prodKey())}}
			}
			doc.Authorities = append(doc.Authorities, a)
			p.AuthorityNames = append(p.AuthorityNames, a.Name)
		}
		_, problems := Compile(doc)
		if told := len(problems) == 1 && problems[0].Code == CodeAuthorityLimit; told != (n > MaxAuthorities) {
			t.Errorf("%d: problems %v", n, problems)
		}
		both := map[Digest][]Attestation{appDigest: {kritisBy(qaKey(), "", appDigest), kritisBy(prodKey(), "", appDigest)}}
		v := decideApp(doc, both, appDigest)
		short(t, v)
		if v.Outcome != want {
			t.Errorf("%d: %v %s: %s", n, v.Outcome, v.Reason, v.Detail)
		}
		if n > MaxAuthorities {
			continue
		}
		// The one that is missing is told, though it is not among the first.
		v = decideApp(doc, map[Digest][]Attestation{appDigest: {kritisBy(qaKey(), "", appDigest)}}, appDigest)
		short(t, v)
		if v.Outcome != Denied || !strings.Contains(v.Detail, fmt.Sprintf("a-%04d", MaxAuthorities-1)) || v.Policies[0].Omitted != n-maxResults {
			t.Errorf("the last does not attest: %v %s: %s; %d omitted", v.Outcome, v.Reason, v.Detail, v.Policies[0].Omitted)
		}
	}
}

// An object with thousands of mistakes is told of in a few lines, and the next one too.
func TestProblemsOfOneObject(t *testing.T) {
	doc := Document{Policies: []PolicySpec{{Namespace: "default", Name: "a"}, {Namespace: "default", Name: "b", AuthorityNames: []string{"nobody"}}}}
	for n, more := range map[int]bool{MaxProblems: false, MaxProblems + 1: true, MaxAuthorities: true} {
		doc.Policies[0].AuthorityNames = make([]string, n)
		_, problems := Compile(doc)
		want := n + 1
		if more {
			want = MaxProblems + 2
		}
		end := problems[len(problems)-2]
		if len(problems) != want || (end.Code == CodeMoreProblems) != more || !strings.HasSuffix(problems[len(problems)-1].Object, "/b") {
			t.Errorf("%d mistakes: %d problems, %+v", n, len(problems), end)
		}
	}
}
