package webhook

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/kritis-node/kritis-node/test/documented"
	"github.com/kritis-node/kritis-node/verifier"
)

// demanding is a source of policies with everything that one may have.
type demanding struct{ scripted }

func (demanding) Unsafe() []string { return []string{"plain HTTP"} }
func (demanding) Problems() []verifier.Problem {
	return []verifier.Problem{{Object: "o"}}
}

// Dry run for all lets pass what fails, says so at start and in a metric, and hides nothing of the source.
func TestUnsafeDryRun(t *testing.T) {
	s := demanding{scripted{make(chan func(func(verifier.Document, []string, error)))}}
	source := UnsafeDryRun(s)
	c := usual(t)
	log := &lines{}
	c.Logger = slog.New(slog.NewTextHandler(log, nil))
	rules := Follow(source, nil, c.Logger)
	c.Rules = rules
	w := made(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- rules.Run(ctx) }()
	say := func(err error) {
		said := make(chan struct{})
		s.steps <- func(onChange func(verifier.Document, []string, error)) { onChange(document(), nil, err); close(said) }
		<-said
	}
	say(errors.New("away"))
	if _, err := rules.Rules(); err == nil {
		t.Error("an error became policy")
	}
	say(nil)
	r := reviewed(t, w, golden(t, "pod-create", "IMAGE", unsignedImage))
	if !r.Allowed || verdict(r) != "dry run: NotAttested" || len(r.Warnings) == 0 {
		t.Errorf("%s %q", verdict(r), r.Warnings)
	}
	if e := <-w.events.queue; e.Reason != EventDryRun {
		t.Errorf("%+v", e)
	}
	w.announce(ctx)
	if text := log.String(); !strings.Contains(text, "dry run is on") || !strings.Contains(text, "plain HTTP") || !strings.Contains(text, "problems=1") {
		t.Error(text)
	}
	families, err := w.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	unsafe := slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == "kritis_webhook_unsafe_settings" })
	if unsafe < 0 || families[unsafe].GetMetric()[0].GetGauge().GetValue() != 2 {
		t.Errorf("%v", families)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestMetricsAreDocumented(t *testing.T) {
	c := usual(t)
	c.Recorder = measured{&recorder{}}
	w := made(t, c)
	reviewed(t, w, golden(t, "pod-create", "IMAGE", unsignedImage))
	w.metrics.dropped.WithLabelValues("rate").Inc()
	families, err := w.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if n := documented.Metrics(t, "../../docs/cluster.md", families); n < 8 {
		t.Errorf("%d metrics only", n)
	}
	if !slices.ContainsFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == "kritis_events_written_total" }) {
		t.Error("the recorder's metrics are not served")
	}
}

// measured is a recorder that has metrics.
type measured struct{ *recorder }

func (measured) Metrics() prometheus.Collector {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kritis_events_written_total", Help: "h"}, []string{"how"})
	c.WithLabelValues("new").Inc()
	return c
}
