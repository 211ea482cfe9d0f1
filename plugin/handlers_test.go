package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/nri/pkg/api"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

func TestWithin(t *testing.T) {
	d := newTestbed(t, nil).decider
	ok := &decision{verdict: verifier.Verdict{Outcome: verifier.Allowed, Reason: verifier.Attested}}
	for name, tc := range map[string]struct {
		decide func(context.Context, time.Time) *decision
		reason verifier.Reason
		admits bool
	}{
		"answers":      {func(context.Context, time.Time) *decision { return ok }, verifier.Attested, true},
		"panics":       {func(context.Context, time.Time) *decision { panic("secret") }, verifier.Internal, false},
		"says nothing": {func(context.Context, time.Time) *decision { return nil }, verifier.Internal, false},
		"waits for the end": {func(ctx context.Context, _ time.Time) *decision {
			<-ctx.Done()
			return couldNotTell("x", 0, verifier.RuntimeFailed, "slow")
		}, verifier.RuntimeFailed, false},
		"ignores the end":    {func(context.Context, time.Time) *decision { time.Sleep(time.Minute); return ok }, verifier.RuntimeFailed, false},
		"answers in the end": {func(context.Context, time.Time) *decision { time.Sleep(1199 * time.Millisecond); return ok }, verifier.Attested, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				d.underWay = make(chan struct{}, 1)
				made := d.within(t.Context(), 1200*time.Millisecond, &subject{image: "x"}, start, tc.decide)
				if made.verdict.Reason != tc.reason || made.admits() != tc.admits {
					t.Errorf("decision = %+v", made.verdict)
				}
				if strings.Contains(made.message, "secret") {
					t.Errorf("message tells what the panic said: %q", made.message)
				}
				if took := time.Since(start); took > 1400*time.Millisecond {
					t.Errorf("took %s of the runtime's 2 s", took)
				}
				time.Sleep(2 * time.Minute) // the one that ignores the end ends, too
				synctest.Wait()
				if len(d.underWay) != 0 {
					t.Error("it keeps its place")
				}
				d.underWay <- struct{}{}
				if made := d.within(t.Context(), time.Second, &subject{image: "x"}, time.Now(), tc.decide); made.admits() {
					t.Error("admitted although too many are under way")
				}
			})
		})
	}
}

// newPlugin is a plugin whose runtime is in memory.
func newPlugin(t testing.TB, agent agentFunc) (*Plugin, *testbed) {
	t.Helper()
	b := newTestbed(t, agent)
	p := &Plugin{decider: b.decider, cfg: Config{StateDir: b.rules.stateDir, Version: "v1"}, log: slog.New(slog.DiscardHandler), witness: newWitness(time.Now())}
	p.recheck = newRechecker(Recheck{OnViolation: ViolationReport}, b.decider, nil, p.log)
	var err error
	if p.reports, err = newReporter(nobody{}, p.counters, p.describe); err != nil {
		t.Fatal(err)
	}
	p.audit = newAudit(filepath.Join(t.TempDir(), "audit.jsonl"), p.counters, p.log, func() uint64 { return p.rules.load().policy.Generation })
	return p, b
}

func TestHandlers(t *testing.T) {
	p, b := newPlugin(t, nil)
	signed, unsigned := b.signed(t, "signed"), b.unsigned(t, "unsigned")
	b.recs.put(nodestate.Record{Repository: repository, Digest: unsigned.bound.digest, FetchedAt: time.Now().Add(time.Hour)})
	chain := func(s *subject) string {
		c, err := b.contents.chain(t.Context(), s.bound.config)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	b.store.snapshots["signed"] = snapshot{parent: chain(signed)}
	b.store.snapshots["unsigned"] = snapshot{parent: chain(unsigned)}
	// An image without layers rests on nothing, and so does every container that has no snapshot.
	empty := b.signed(t, "empty")
	emptyManifest, emptyConfig, _ := b.store.image(t, "no layers")
	empty.image, empty.bound = repository+"@"+string(emptyManifest), bound{digest: emptyManifest, config: emptyConfig}
	b.recs.put(nodestate.Record{Repository: repository, Digest: emptyManifest, FetchedAt: time.Now(),
		Attestations: []verifier.Attestation{b.signer.attest(t, repository, emptyManifest)}})
	b.store.snapshots["empty"] = snapshot{}
	// As containerd makes it for user namespaces where the kernel cannot map: a copy of the layers, under a name of its own.
	remapped, err := remappedName(chain(signed), "0:1000:65536", "0:1000:65536")
	if err != nil {
		t.Fatal(err)
	}
	b.store.snapshots["remapped"] = snapshot{parent: remapped, uidMap: "0:1000:65536", gidMap: "0:1000:65536"}
	b.store.snapshots["posing"] = snapshot{parent: remapped}
	current := runtimeInfo{Validators: true, ImageField: true, RequestTimeout: 2 * time.Second}
	older := runtimeInfo{Validators: true, RequestTimeout: 2 * time.Second}
	image := func(s *subject) *api.Image {
		return &api.Image{Name: "r.example/first:v1", Digest: string(s.bound.digest), ConfigDigest: string(s.bound.config)}
	}
	for name, tc := range map[string]struct {
		info          runtimeInfo
		image         *api.Image
		id, reference string
		create, start bool
	}{
		"signed":                         {current, image(signed), "signed", signed.image, true, true},
		"unsigned":                       {current, image(unsigned), "unsigned", unsigned.image, false, false},
		"signed name, unsigned image":    {current, image(unsigned), "unsigned", signed.image, false, false},
		"signed image, other layers":     {current, image(signed), "unsigned", signed.image, true, false},
		"signed image, no snapshot":      {current, image(signed), "gone", signed.image, true, false},
		"runtime does not say the image": {current, nil, "signed", signed.image, false, false},
		"older: signed":                  {older, nil, "signed", signed.image, true, true},
		"older: unsigned":                {older, nil, "unsigned", unsigned.image, false, false},
		"older: signed name":             {older, nil, "unsigned", signed.image, false, false},
		"older: no snapshot":             {older, nil, "gone", signed.image, false, false},
		"older: no layers":               {older, nil, "empty", empty.image, false, false},
		"older: name of one without":     {older, nil, "unsigned", empty.image, false, false},
		"remapped":                       {current, image(signed), "remapped", signed.image, true, true},
		"older: remapped":                {older, nil, "remapped", signed.image, true, true},
		"older: remapped without labels": {older, nil, "posing", signed.image, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := &handlers{plugin: p, info: tc.info}
			pod := &api.PodSandbox{Namespace: "prod"}
			ctr := &api.Container{Id: tc.id, Image: tc.image, Annotations: map[string]string{imageNameAnnotation: tc.reference}}
			for range 2 { // the second time from memory
				err := h.ValidateContainerAdjustment(t.Context(), &api.ValidateContainerAdjustmentRequest{Pod: pod, Container: ctr})
				if (err == nil) != tc.create {
					t.Errorf("create: %v, want %v", err, tc.create)
				}
				if _, _, err := h.CreateContainer(t.Context(), pod, ctr); (err == nil) != tc.create {
					t.Errorf("create on a runtime without validators: %v, want %v", err, tc.create)
				}
				if err := h.StartContainer(t.Context(), pod, ctr); (err == nil) != tc.start {
					t.Errorf("start: %v, want %v", err, tc.start)
				}
			}
			if err := h.StartContainer(t.Context(), &api.PodSandbox{Namespace: "other"}, ctr); err != nil {
				t.Errorf("start where nothing is required: %v", err)
			}
		})
	}
	if err := (&handlers{plugin: p}).StartContainer(t.Context(), nil, nil); err != nil {
		t.Errorf("an empty request in no namespace, where nothing is required: %v", err)
	}
}

func TestWarmPathAsksNobody(t *testing.T) {
	p, b := newPlugin(t, nil)
	s := b.signed(t, "layer")
	h := &handlers{plugin: p, info: runtimeInfo{Validators: true, ImageField: true}}
	req := &api.ValidateContainerAdjustmentRequest{Pod: &api.PodSandbox{Namespace: "prod"}, Container: &api.Container{
		Image: &api.Image{Digest: string(s.bound.digest), ConfigDigest: string(s.bound.config)}, Annotations: map[string]string{imageNameAnnotation: s.image}}}
	if err := h.ValidateContainerAdjustment(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	before := b.store.calls.Load()
	b.store.err = errors.New("containerd hangs")
	if err := h.ValidateContainerAdjustment(t.Context(), req); err != nil || b.store.calls.Load() != before || b.fetched.Load() != 0 {
		t.Errorf("a known image: %v, %d calls to the runtime, %d to the agent", err, b.store.calls.Load()-before, b.fetched.Load())
	}
	if n := testing.AllocsPerRun(100, func() { b.remembered(s, time.Unix(0, 0)) }); n != 0 {
		t.Errorf("a remembered decision allocates %v times", n)
	}
}

func TestAudit(t *testing.T) {
	p, b := newPlugin(t, nil)
	s := b.signed(t, "layer")
	evil := b.unsigned(t, "evil")
	h := &handlers{plugin: p, info: runtimeInfo{Validators: true, ImageField: true}}
	ask := func(s *subject) {
		_ = h.ValidateContainerAdjustment(t.Context(), &api.ValidateContainerAdjustmentRequest{
			Pod: &api.PodSandbox{Namespace: "prod", Name: "pod"},
			Container: &api.Container{Id: "id", Name: "c", Image: &api.Image{Digest: string(s.bound.digest), ConfigDigest: string(s.bound.config)},
				Annotations: map[string]string{imageNameAnnotation: s.image}}})
	}
	ask(s)
	ask(evil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.audit.run(ctx) // writes what is queued, then ends
	data, err := os.ReadFile(p.audit.file)
	if err != nil {
		t.Fatal(err)
	}
	var lines []AuditLine
	for text := range strings.Lines(string(data)) {
		var l AuditLine
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		lines = append(lines, l)
	}
	if len(lines) != 2 {
		t.Fatalf("%d lines, want 2: %s", len(lines), data)
	}
	l := lines[0]
	if !l.Admitted || l.Verdict.Reason != verifier.Attested || l.Namespace != "prod" || l.Pod != "pod" || l.Container != "c" || l.Place != "create" ||
		l.Image != s.image || l.Policy != 1 || l.Config != string(s.bound.config) || l.Verdict.Policies[0].Authorities[0].Fingerprint == "" {
		t.Errorf("line of the admitted one: %s", data)
	}
	if l := lines[1]; l.Admitted || l.Verdict.Outcome != verifier.CouldNotTell {
		t.Errorf("line of the other: %+v", l)
	}
	// A full queue costs lines, not time.
	for range auditQueue + 10 {
		ask(s)
	}
	if got := p.status().Decisions["allowed"]; got != auditQueue+11 {
		t.Errorf("%d allowed counted, want %d", got, auditQueue+11)
	}
}

func TestMode(t *testing.T) {
	p, _ := newPlugin(t, nil)
	good := runtimeInfo{Name: "containerd", Validators: true}
	for _, step := range []struct {
		name string
		do   func()
		mode string
		code string
	}{
		{"at start", func() {}, ModeWaiting, ""},
		{"required, by a runtime that nobody knows", func() { p.assess(true, nil) }, ModeWaiting, ""},
		{"registered", func() { p.connected(good); p.registered() }, ModeEnforcing, ""},
		{"required, connection lost", func() { p.disconnected(errors.New("x")) }, ModeEnforcing, ""},
		{"runtime without validators", func() { p.connected(runtimeInfo{Name: "containerd"}); p.registered() }, ModeBestEffort, codeNoValidators},
		{"gone again", func() { p.disconnected(errors.New("x")) }, ModeWaiting, codeNoValidators},
		{"not required", func() { p.connected(good); p.registered(); p.assess(false, []gap{{codeNotRequired, textNotRequired}}) }, ModeBestEffort, codeNotRequired},
		{"connection lost", func() { p.disconnected(errors.New("x")) }, ModeWaiting, codeNotRequired},
	} {
		step.do()
		mode, gaps := p.mode()
		code := ""
		if len(gaps) > 0 {
			code = gaps[0].Code
		}
		if mode != step.mode || code != step.code {
			t.Errorf("%s: mode %q, %+v; want %q, %q", step.name, mode, gaps, step.mode, step.code)
		}
	}
}
