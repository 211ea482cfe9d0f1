package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A denial and what dry run lets pass make an event, with the reasons that users know. A mere try makes none, and
// nothing else does.
func TestEvents(t *testing.T) {
	dry := document()
	dry.DryRun = true
	for name, tc := range map[string]struct {
		dry    bool
		body   []byte
		want   Event
		nobody bool
	}{
		"denied": {false, golden(t, "deployment-create", "IMAGE", unsignedImage), Event{Reason: "FailedKritisAdmission", APIVersion: "apps/v1", Kind: "Deployment", Namespace: "default", Name: "app",
			Message: "image " + unsignedImage + " is not attested: authority team, which policy default/only-team requires, has not attested it: sign it with `kritis sign --key FILE IMAGE`"}, false},
		"dry run": {true, golden(t, "pod-owned-create", "IMAGE", "alpine:3"), Event{Reason: "DryRunKritisAdmission", APIVersion: "v1", Kind: "Pod", Namespace: "default", Name: "app-6d4cf56db6-",
			Message: "image alpine:3 is not attested: it is named by tag: name it by its digest, as `kritis resolve` does in manifests"}, false},
		"allowed":              {false, golden(t, "pod-create", "IMAGE", signedImage), Event{}, true},
		"allowed in dry run":   {true, golden(t, "pod-create", "IMAGE", signedImage), Event{}, true},
		"denied, a try":        {false, []byte(strings.Replace(string(golden(t, "pod-create", "IMAGE", unsignedImage)), `"dryRun": false`, `"dryRun": true`, 1)), Event{}, true},
		"dry run, a try":       {true, []byte(strings.Replace(string(golden(t, "pod-create", "IMAGE", unsignedImage)), `"dryRun": false`, `"dryRun": true`, 1)), Event{}, true},
		"unchanged and failed": {false, golden(t, "pod-update", "IMAGE", unsignedImage, "RUNNING", unsignedImage), Event{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := usual(t)
			if tc.dry {
				c.Rules = new(fixed).set(dry)
			}
			w := made(t, c)
			r := reviewed(t, w, tc.body)
			if tc.dry && !r.Allowed {
				t.Errorf("denied: %s", said(r))
			}
			select {
			case e := <-w.events.queue:
				if e != tc.want || tc.nobody {
					t.Errorf("%+v, want %+v", e, tc.want)
				}
			default:
				if !tc.nobody {
					t.Error("no event")
				}
			}
		})
	}
}

// Dry run lets pass and says what it would have done; a policy's own does so too, and not where another has none.
func TestDryRun(t *testing.T) {
	doc := document()
	doc.Policies[0].DryRun = true
	c := usual(t)
	c.Rules = new(fixed).set(doc)
	w := made(t, c)
	r := reviewed(t, w, golden(t, "pod-full-create", "INIT", signedImage, "SIDECAR", unsignedImage, "IMAGE", signedImage, "SECOND", otherImage, "VOLUME", signedImage))
	if !r.Allowed || verdict(r) != "dry run: NotAttested" || len(r.Warnings) < 2 {
		t.Errorf("%s %q", verdict(r), r.Warnings)
	}
	for i, image := range []string{unsignedImage, otherImage} {
		if all := strings.Join(r.Warnings, " "); !strings.Contains(all, "kritis: dry run: image "+image+" is not attested; without dry run this is denied: ") {
			t.Errorf("%d: %q", i, r.Warnings)
		}
	}
	doc.Policies = append(doc.Policies, doc.Policies[0])
	doc.Policies[1].Name, doc.Policies[1].DryRun = "strict", false
	c = usual(t)
	c.Rules = new(fixed).set(doc)
	if r := reviewed(t, made(t, c), golden(t, "pod-create", "IMAGE", unsignedImage)); r.Allowed {
		t.Error("a strict policy beside it does not count")
	}
}

func newTestEvents(r Recorder) (*events, map[string]int) {
	dropped := map[string]int{}
	return newEvents(r, slog.New(slog.DiscardHandler), func(why string) { dropped[why]++ }), dropped
}

func TestEventsAreToldOnceAndNotTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		e, dropped := newTestEvents(r)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- e.run(ctx) }()
		for range 3 {
			e.offer(Event{Name: "same"})
		}
		for i := range eventBurst {
			e.offer(Event{Name: fmt.Sprint(i)})
		}
		synctest.Wait()
		if len(r.all()) != eventBurst || dropped["repeated"] != 2 || dropped["rate"] != 1 {
			t.Errorf("%d told, %v", len(r.all()), dropped)
		}
		time.Sleep(repeatedFor - time.Millisecond)
		e.offer(Event{Name: "same"})
		time.Sleep(time.Millisecond)
		e.offer(Event{Name: "same"})
		synctest.Wait()
		if len(r.all()) != eventBurst+1 || dropped["repeated"] != 3 {
			t.Errorf("%d told, %v", len(r.all()), dropped)
		}
		for i := range 2 * eventBurst {
			e.offer(Event{Name: fmt.Sprint("again", i)})
		}
		time.Sleep(eventEvery)
		e.offer(Event{Name: "one more"})
		synctest.Wait()
		if len(r.all()) != 2*eventBurst+1 {
			t.Errorf("%d told, %v", len(r.all()), dropped)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A recorder that hangs or fails holds up no review.
func TestRecordersThatFail(t *testing.T) {
	e, dropped := newTestEvents(&recorder{err: errors.New("forbidden")})
	e.record(t.Context(), Event{})
	if dropped["failed"] != 1 {
		t.Error(dropped)
	}
	e.last = time.Now().Add(-time.Hour)
	for i := range eventQueue + 1 {
		e.tokens = eventBurst
		e.offer(Event{Name: fmt.Sprint(i), Message: strings.Repeat("x", 2*maxEventMessage)})
	}
	if len(e.queue) != eventQueue || dropped["queue"] != 1 {
		t.Errorf("%d wait, %v", len(e.queue), dropped)
	}
	if first := <-e.queue; len(first.Message) != maxEventMessage {
		t.Errorf("a message of %d bytes", len(first.Message))
	}
	if e.known.Len() > eventsKnown {
		t.Error("remembers too much")
	}
}
