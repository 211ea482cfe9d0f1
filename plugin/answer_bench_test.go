package plugin

import (
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
)

// BenchmarkAnswerWarm is a create call that is answered from memory, as the runtime asks it, with everything that is
// recorded about it.
func BenchmarkAnswerWarm(b *testing.B) {
	bed := newTestbed(b, nil)
	p := benchPlugin(b, bed)
	s := bed.signed(b, "layer")
	bed.decide(b.Context(), s, time.Now())
	h := &handlers{plugin: p, info: runtimeInfo{Validators: true, ImageField: true, RequestTimeout: 2 * time.Second}}
	req := &api.ValidateContainerAdjustmentRequest{Pod: &api.PodSandbox{Namespace: s.namespace, Name: "web", Uid: "u"}, Container: &api.Container{Id: "c", Name: "main",
		Image: &api.Image{Name: s.image, Digest: string(s.bound.digest), ConfigDigest: string(s.bound.config)}, Annotations: map[string]string{imageNameAnnotation: s.image}}}
	b.ReportAllocs()
	for b.Loop() {
		if err := h.ValidateContainerAdjustment(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}

func benchPlugin(b *testing.B, bed *testbed) *Plugin {
	b.Helper()
	p := &Plugin{decider: bed.decider, witness: newWitness(time.Now())}
	var err error
	if p.reports, err = newReporter(nobody{}, p.counters, p.describe); err != nil {
		b.Fatal(err)
	}
	p.audit = newAudit("", p.counters, nil, func() uint64 { return 1 })
	return p
}
