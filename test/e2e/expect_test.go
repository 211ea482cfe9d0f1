package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// What the plugin's answers begin with.
const (
	notAttested = " is not attested"
	notVerified = " could not be verified"
)

// recovery is how long after the end of an outage an attested image may take to start.
const recovery = 5 * time.Second

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// reason is what the plugin told the runtime: the part of the error that begins with "image".
func reason(err error) string {
	if err == nil {
		return ""
	}
	if _, after, ok := strings.Cut(err.Error(), "reason: "); ok {
		return after
	}
	_, after, _ := strings.Cut(err.Error(), "image ")
	return "image " + after
}

func expectStarts(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("it should start, and did not: %v", err)
	}
}

// expectRefused expects that the container did not start, for whatever reason.
func expectRefused(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Error("it started, and should not")
	}
}

// expectDenied expects that the image, as written, was denied, with further words about why.
func expectDenied(t *testing.T, err error, image string, words ...string) {
	t.Helper()
	expectReason(t, err, "image "+image+notAttested, words)
}

// expectUnverified expects that nobody could tell.
func expectUnverified(t *testing.T, err error, image string, words ...string) {
	t.Helper()
	expectReason(t, err, "image "+image+notVerified, words)
}

func expectReason(t *testing.T, err error, begins string, words []string) {
	t.Helper()
	if err == nil {
		t.Error("it started, and should not")
		return
	}
	if !strings.HasPrefix(reason(err), begins) {
		t.Errorf("the reason should begin with %q: %v", begins, err)
	}
	expectWords(t, err.Error(), words...)
}

func expectWords(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q is missing in: %s", w, text)
		}
	}
}

// awaitStarts tries again and again, as a kubelet does, until the image starts.
func (s *site) awaitStarts(t *testing.T, namespace, reference string) {
	t.Helper()
	check(t, cluster.Await(t.Context(), reference+" to start", func(context.Context) error {
		return s.run(t, namespace, reference)
	}))
}

// expectRecovers expects that the attested image starts within the recovery time after the outage ended, and that the
// other one never does meanwhile, or afterwards.
func (s *site) expectRecovers(t *testing.T, ended time.Time, attested, other string) {
	t.Helper()
	check(t, cluster.Await(t.Context(), "the attested image to start", func(context.Context) error {
		expectRefused(t, s.run(t, prod, other))
		return s.run(t, prod, attested)
	}))
	if took := time.Since(ended); took > recovery {
		t.Errorf("the attested image started %s after the end of the outage, allowed are %s", took, recovery)
	} else {
		t.Logf("the attested image started %s after the end of the outage", took.Round(time.Millisecond))
	}
	expectDenied(t, s.run(t, prod, other), other)
}

// containsLine says whether a file has a line with these words.
func containsLine(file, words string) error {
	text, err := os.ReadFile(file)
	if err == nil && !strings.Contains(string(text), words) {
		err = fmt.Errorf("%s has no line with %q", file, words)
	}
	return err
}

// expectMetric expects a line of the plugin's metrics.
func (s *site) expectMetric(t *testing.T, line string) {
	t.Helper()
	metrics, err := s.AskPlugin(t.Context(), "/metrics")
	check(t, err)
	for l := range strings.Lines(string(metrics)) {
		if strings.TrimSpace(l) == line {
			return
		}
	}
	t.Errorf("no metric %q in:\n%s", line, metrics)
}
