package plugin

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what a finalizer let go
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func (c *counters) series(t *testing.T) (n int) {
	t.Helper()
	families, err := c.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		n += len(f.GetMetric())
	}
	return n
}

// Ten thousand denials, each of another image with as much evidence as there can be of one authority, while neither the disk
// takes the audit log nor the agent the reports: what is kept of ten thousand is what is kept of one thousand.
func TestTenThousandDenials(t *testing.T) {
	const baseline, all = 1_000, 11_000
	p, b := newPlugin(t, func(context.Context, nodestate.FetchRequest) (nodestate.FetchResponse, error) {
		return nodestate.FetchResponse{}, nil
	})
	reporting, stop := context.WithCancel(t.Context())
	reported := make(chan struct{})
	go func() { p.reports.run(reporting); close(reported) }()
	defer func() { stop(); <-reported }()
	elsewhere := make([]verifier.Attestation, verifier.MaxAttempts)
	for i := range elsewhere {
		elsewhere[i] = verifier.Attestation{Format: verifier.FormatCosign, Payload: []byte("no"), Source: fmt.Sprintf("r.example/app:sha256-%064d.sig", i)}
	}
	subjects := make([]*subject, all)
	for i := range subjects {
		subjects[i] = b.unsigned(t, fmt.Sprint(i))
		b.recs.put(nodestate.Record{Repository: repository, Digest: subjects[i].bound.digest, FetchedAt: time.Now(), Attestations: elsewhere})
	}
	h := &handlers{plugin: p, info: runtimeInfo{Validators: true, ImageField: true, RequestTimeout: time.Minute}}
	deny := func(subjects []*subject) {
		for i, s := range subjects {
			err := h.ValidateContainerAdjustment(t.Context(), &api.ValidateContainerAdjustmentRequest{
				Pod: &api.PodSandbox{Namespace: "prod", Name: fmt.Sprint("pod-", i), Uid: fmt.Sprint("uid-", i)},
				Container: &api.Container{Id: fmt.Sprintf("%064d", i), Name: "c", Image: &api.Image{Digest: string(s.bound.digest), ConfigDigest: string(s.bound.config)},
					Annotations: map[string]string{imageNameAnnotation: s.image}}})
			if err == nil {
				t.Fatal("admitted")
			}
		}
	}
	series, empty := p.counters.series(t), heap()
	deny(subjects[:baseline])
	first := heap()
	deny(subjects[baseline:])
	last := heap()
	t.Logf("held after %d denials: %d KiB, after %d: %d KiB", baseline, (first-empty)>>10, all, (int64(last)-int64(empty))>>10)
	if grown := int64(last) - int64(first); grown > 4<<20 || last > first && last-empty > 24<<20 {
		t.Errorf("%d bytes more after ten thousand more", grown)
	}
	totals := p.counters.totals()
	if totals[verifier.Denied.String()] != all {
		t.Errorf("counted %v", totals)
	}
	if now := p.counters.series(t); now > series+1 {
		t.Errorf("%d series, %d before", now, series)
	}
	if s := p.status(); len(s.Recent) != recentKept {
		t.Errorf("the status has %d refusals", len(s.Recent))
	}
	// What had no room is counted, line by line.
	queued := len(p.audit.queue)
	if dropped := value(t, p.counters.auditDropped); int(dropped)+queued != all || queued == 0 || p.audit.waiting.Load() > auditWeight {
		t.Errorf("%d lines wait, %v dropped, of %d", queued, dropped, all)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	p.audit.run(ended)
	info, err := os.Stat(p.audit.file)
	if err != nil || info.Size() > int64(queued)*16<<10 || p.audit.waiting.Load() != 0 {
		t.Errorf("%d bytes for %d lines, %d still counted: %v", info.Size(), queued, p.audit.waiting.Load(), err)
	}
}

// A denial is repeated for seconds: the memory for it holds the last ones, and leaves alone what was allowed.
func TestDenialsDoNotPushOutWhatIsAllowed(t *testing.T) {
	m, err := newMemory()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	key := func(i int) decisionKey { return keyOf(1, &subject{image: fmt.Sprint(i)}) }
	m.put(key(-1), &decision{verdict: verifier.Verdict{Outcome: verifier.Allowed, Reason: verifier.Attested}})
	for i := range decisionsKept + 1 {
		m.put(key(i), &decision{expires: now.Add(denialKept), verdict: verifier.Verdict{Reason: verifier.NotAttested,
			Policies: []verifier.PolicyResult{{Authorities: make([]verifier.AuthorityResult, 100)}}}})
	}
	if made := m.get(key(-1), now); !made.admits() {
		t.Error("what is allowed was pushed out")
	}
	for i, want := range map[int]bool{decisionsKept: true, decisionsKept + 1 - denialsKept: true, decisionsKept - denialsKept: false} {
		made := m.get(key(i), now)
		if (made != nil) != want {
			t.Errorf("denial %d is there: %t", i, made != nil)
		}
		if made != nil && len(made.verdict.Policies[0].Authorities) != deniedResults {
			t.Errorf("%d results", len(made.verdict.Policies[0].Authorities))
		}
	}
	// What was denied and then is attested is told as such, and the other way round.
	m.put(key(decisionsKept), &decision{verdict: verifier.Verdict{Outcome: verifier.Allowed, Reason: verifier.Attested}})
	if !m.get(key(decisionsKept), now).admits() {
		t.Error("the denial hides that it is attested now")
	}
	m.put(key(-1), &decision{expires: now.Add(denialKept), verdict: verifier.Verdict{Reason: verifier.NotAttested}})
	if m.get(key(-1), now).admits() {
		t.Error("the older admission hides the denial")
	}
}
