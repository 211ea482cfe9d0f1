package plugin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/nri/pkg/api"
	dto "github.com/prometheus/client_model/go"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

// nobody is an agent that is down.
type nobody struct{}

func (nobody) Report(context.Context, nodestate.Report) error { return errors.New("down") }

// listener is an agent that keeps what it is told.
type listener struct {
	mu   sync.Mutex
	all  []nodestate.Report
	at   []time.Time
	fail error
}

func (l *listener) Report(_ context.Context, r nodestate.Report) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	l.all, l.at = append(l.all, r.Bound()), append(l.at, time.Now())
	return nil
}

func (l *listener) become(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
}

// incidents returns the images of all incidents that arrived.
func (l *listener) incidents() (images []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.all {
		for _, i := range r.Incidents {
			images = append(images, i.Image)
		}
	}
	return images
}

func (l *listener) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

func denial(id, image string) entry {
	return entry{at: placeCreate, subject: &subject{containerID: id, image: image}, time: time.Now(),
		decision: &decision{image: image, verdict: verifier.Verdict{Outcome: verifier.Denied, Reason: verifier.NotAttested}}}
}

func value(t *testing.T, m interface{ Write(*dto.Metric) error }) float64 {
	t.Helper()
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.GetCounter().GetValue()
}

// reporting runs a reporter in a bubble of its own time.
func reporting(t *testing.T, test func(*testing.T, *reporter, *listener)) {
	c := newTestbed(t, nil).counters
	synctest.Test(t, func(t *testing.T) {
		agent := &listener{}
		r, err := newReporter(agent, c, func() nodestate.Report { return nodestate.Report{Mode: ModeEnforcing} })
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { r.run(ctx); close(done) }()
		synctest.Wait()
		test(t, r, agent)
		cancel()
		<-done
	})
}

func TestReportsComeRegularlyAndAtOnce(t *testing.T) {
	reporting(t, func(t *testing.T, r *reporter, agent *listener) {
		if agent.count() != 1 {
			t.Errorf("%d at the start", agent.count())
		}
		for range 3 { // a mode that changes all the time
			r.hurry()
			synctest.Wait()
		}
		if agent.count() != 1 {
			t.Errorf("%d without a pause", agent.count())
		}
		time.Sleep(reportPause)
		synctest.Wait()
		if agent.count() != 2 {
			t.Errorf("%d after the pause", agent.count())
		}
		time.Sleep(2*reportEvery + time.Second)
		synctest.Wait()
		if agent.count() != 4 {
			t.Errorf("%d after three turns", agent.count())
		}
		for range 5 { // coalesced
			r.hurry()
		}
		r.add(denial("a", "one"))
		synctest.Wait()
		if got := agent.incidents(); agent.count() > 6 {
			t.Errorf("%d: %v", agent.count(), got)
		}
		time.Sleep(reportPause)
		synctest.Wait()
		if got := fmt.Sprint(agent.incidents()); got != "[one]" || agent.count() > 6 {
			t.Errorf("%d: %v", agent.count(), got)
		}
		time.Sleep(2 * reportEvery)
		synctest.Wait()
		if got := fmt.Sprint(agent.incidents()); got != "[one]" {
			t.Errorf("told twice: %v", got)
		}
		agent.mu.Lock()
		defer agent.mu.Unlock()
		for i := 1; i < len(agent.at); i++ {
			if d := agent.at[i].Sub(agent.at[i-1]); d < reportPause || d > reportEvery {
				t.Errorf("%s between two reports", d)
			}
		}
	})
}

// The second look repeats what the first found; a retry of the kubelet is another container.
func TestContainersAreToldOfOnce(t *testing.T) {
	reporting(t, func(t *testing.T, r *reporter, agent *listener) {
		for _, e := range []entry{denial("a", "one"), denial("a", "one"), denial("b", "one"), denial("", "nameless"), denial("", "nameless")} {
			r.add(e)
		}
		admitted := denial("a", "one")
		admitted.decision.verdict.DryRun = true
		r.add(admitted)
		time.Sleep(reportEvery)
		synctest.Wait()
		if got := fmt.Sprint(agent.incidents()); got != "[one one nameless nameless one]" {
			t.Error(got)
		}
	})
}

// While the agent is down the newest incidents wait for it, and what is lost is counted.
func TestAgentIsDown(t *testing.T) {
	reporting(t, func(t *testing.T, r *reporter, agent *listener) {
		before := value(t, r.counters.incidentsDropped)
		agent.become(errors.New("down"))
		for i := range incidentsKept + 3 {
			r.add(denial(fmt.Sprint(i), fmt.Sprint(i)))
			synctest.Wait()
		}
		time.Sleep(3 * reportEvery)
		if len(agent.incidents()) != 0 || value(t, r.counters.incidentsDropped)-before != 3 || value(t, r.counters.reportFailures) < 3 {
			t.Errorf("%d told, %v lost", len(agent.incidents()), value(t, r.counters.incidentsDropped)-before)
		}
		agent.become(nil)
		time.Sleep(reportEvery + incidentsKept/nodestate.MaxIncidents*reportPause)
		synctest.Wait()
		got := agent.incidents()
		if len(got) != incidentsKept || got[0] != "3" || got[len(got)-1] != fmt.Sprint(incidentsKept+2) {
			t.Errorf("%d told: %v", len(got), got)
		}
	})
}

// A reporter that is stuck holds nobody up.
func TestReportQueueIsBounded(t *testing.T) {
	c := newTestbed(t, nil).counters
	r, err := newReporter(nobody{}, c, nil) // not run
	if err != nil {
		t.Fatal(err)
	}
	for range reportQueue + 2 {
		r.add(denial("a", "one"))
	}
	if len(r.queue) != reportQueue || value(t, c.incidentsDropped) != 2 {
		t.Errorf("%d wait, %v lost", len(r.queue), value(t, c.incidentsDropped))
	}
}

func TestNotable(t *testing.T) {
	for name, c := range map[string]struct {
		v    verifier.Verdict
		want bool
	}{
		"attested":       {verifier.Verdict{Outcome: verifier.Allowed, Reason: verifier.Attested}, false},
		"no policy":      {verifier.Verdict{Outcome: verifier.Allowed, Reason: verifier.NoPolicy}, false},
		"allow-listed":   {verifier.Verdict{Outcome: verifier.Allowed, AllowedBy: &verifier.AllowMatch{}}, false},
		"break-glass":    {verifier.Verdict{Outcome: verifier.Allowed, AllowedBy: &verifier.AllowMatch{Expires: time.Unix(1, 0)}}, true},
		"denied":         {verifier.Verdict{Outcome: verifier.Denied}, true},
		"could not tell": {verifier.Verdict{Outcome: verifier.CouldNotTell}, true},
		"dry run":        {verifier.Verdict{Outcome: verifier.Denied, DryRun: true}, true},
		"zero":           {verifier.Verdict{}, true},
	} {
		if got := notable(&c.v); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// What handlers decide becomes an incident with the pod's own UID, and a decision from memory does so too.
func TestHandlersReport(t *testing.T) {
	p, b := newPlugin(t, nil)
	unsigned := b.unsigned(t, "unsigned")
	expires := time.Now().Add(time.Hour).UTC()
	b.policy(t, 2, verifier.Document{
		Policies: []verifier.PolicySpec{{Namespace: "prod", Name: "p", AuthorityNames: []string{"team"}}, {Namespace: "open", Name: "p", AuthorityNames: []string{"team"}, DryRun: true},
			{Namespace: "broken", Name: "p", AuthorityNames: []string{"team"}}},
		Allowlist: []verifier.AllowSpec{{List: "emergency", Pattern: unsigned.image, Namespace: "broken", Expires: expires, Reason: "INC-1"}},
	})
	p.rules.reload()
	b.store.records = append(b.store.records, imageRecord{name: unsigned.image, target: unsigned.bound.digest})
	h := &handlers{plugin: p, info: runtimeInfo{Validators: true, ImageField: true, RequestTimeout: 2 * time.Second}}
	for _, namespace := range []string{"prod", "open", "broken", "free"} {
		for range 2 {
			ctr := &api.Container{Id: namespace, Name: "main", Image: &api.Image{Name: unsigned.image, Digest: string(unsigned.bound.digest), ConfigDigest: string(unsigned.bound.config)},
				Annotations: map[string]string{imageNameAnnotation: unsigned.image}}
			_ = h.ValidateContainerAdjustment(t.Context(), &api.ValidateContainerAdjustmentRequest{Pod: &api.PodSandbox{Namespace: namespace, Name: "web", Uid: "u-" + namespace}, Container: ctr})
		}
	}
	if len(p.reports.queue) != 6 {
		t.Fatalf("%d incidents", len(p.reports.queue))
	}
	for i, want := range []string{"prod denied false", "prod denied false", "open denied true", "open denied true", "broken allowed true", "broken allowed true"} {
		in := (<-p.reports.queue).incident()
		if got := fmt.Sprintf("%s %s %v", in.Namespace, in.Outcome, in.Admitted); got != want || in.PodUID != "u-"+in.Namespace || in.Container != "main" || in.Place != "create" || in.Image != unsigned.image {
			t.Errorf("%d: %+v", i, in)
		}
		switch {
		case in.Namespace == "broken":
			if b := in.BreakGlass; b == nil || b.Object != "AdmissionAllowlist emergency" || b.Reason != "INC-1" || !b.Expires.Equal(expires) || b.Pattern != unsigned.image {
				t.Errorf("%d: %+v", i, b)
			}
		case in.BreakGlass != nil || in.Message == "":
			t.Errorf("%d: %+v", i, in)
		}
	}
	r := p.describe()
	if r.Mode != ModeWaiting || r.Version != "v1" || r.Decisions.Denied != 4 || r.Decisions.Allowed != 4 || r.PolicyGeneration != 2 {
		t.Errorf("%+v", r)
	}
	// The second look is none of the creates.
	if err := h.StartContainer(t.Context(), &api.PodSandbox{Namespace: "free"}, &api.Container{Id: "free", Image: &api.Image{Digest: string(unsigned.bound.digest), ConfigDigest: string(unsigned.bound.config)}}); err != nil {
		t.Error(err)
	}
	if value(t, p.counters.hits) != 4 || value(t, p.counters.misses) != 4 {
		t.Errorf("%v from memory, %v not", value(t, p.counters.hits), value(t, p.counters.misses))
	}
}

// What is told costs the create path nothing where nothing happens.
func TestRecordDoesNotAllocate(t *testing.T) {
	p, b := newPlugin(t, nil)
	s := b.signed(t, "layer")
	e := entry{at: placeCreate, subject: s, decision: b.decide(t.Context(), s, time.Now()), remembered: true, time: time.Now()}
	if !e.decision.admits() {
		t.Fatal(e.decision.message)
	}
	if n := testing.AllocsPerRun(100, func() { p.record(e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	denied := denial("a", "one")
	if n := testing.AllocsPerRun(100, func() { p.reports.add(denied) }); n != 0 {
		t.Errorf("%v allocations to hand an incident over", n)
	}
}
