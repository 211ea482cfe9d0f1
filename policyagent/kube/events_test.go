package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/client-go/rest"

	"github.com/kritis-node/kritis-node/policyagent"
	"github.com/kritis-node/kritis-node/test/documented"
)

// recorder is an API server that takes what is written, and can be told to fail.
type recorder struct {
	*api
	mu       sync.Mutex
	requests []string // method and path
	bodies   []string
	answer   int // 0: it takes everything
}

func newRecorder(t *testing.T) *recorder {
	r := &recorder{api: newAPI(t)}
	r.change(func() {
		r.intercept = func(w http.ResponseWriter, req *http.Request) bool {
			body, err := io.ReadAll(req.Body)
			if err != nil {
				t.Error(err)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.requests, r.bodies = append(r.requests, req.Method+" "+req.URL.Path), append(r.bodies, string(body))
			switch {
			case r.answer == 403:
				fail(w, 403, "Forbidden", "no")
			case r.answer == 404 && req.Method == http.MethodPatch:
				fail(w, 404, "NotFound", "gone")
			case r.answer == 503:
				w.WriteHeader(http.StatusServiceUnavailable)
			default:
				fmt.Fprint(w, `{"kind":"Event","apiVersion":"v1"}`)
			}
			return true
		}
	})
	return r
}

func (r *recorder) answers(code int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = code
}

// last returns how many requests there were, and the last one.
func (r *recorder) last() (n int, request, body string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n = len(r.requests); n > 0 {
		request, body = r.requests[n-1], r.bodies[n-1]
	}
	return n, request, body
}

func (r *recorder) writer() *Events {
	return NewEvents(r.server(), "kritis-policyagent", "node-1", slog.New(slog.DiscardHandler))
}

func testEvent(message string) policyagent.Event {
	return policyagent.Event{Namespace: "kube-system", Reason: "FailedKritisAdmission", Message: message, At: time.Unix(1_700_000_000, 123_456_000),
		Object: policyagent.Object{APIVersion: "v1", Kind: "Pod", Namespace: "prod", Name: "web-1", UID: "u1"}}
}

func (w *Events) counted(which string) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts.written[which] + w.counts.dropped[which]
}

// The first event is made, its repetitions raise its count, and one that the API server has forgotten is made anew.
func TestEventsRepeat(t *testing.T) {
	r := newRecorder(t)
	w := r.writer()
	defer w.server.Close()
	check := func(want error) {
		t.Helper()
		if err := w.Write(t.Context(), testEvent("m")); !errors.Is(err, want) {
			t.Error(err)
		}
	}
	check(nil)
	_, request, body := r.last()
	var e eventObject
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Fatal(err)
	}
	name := e.Metadata.Name
	if request != "POST /api/v1/namespaces/kube-system/events" || !strings.HasPrefix(name, "web-1.") || len(name) != len("web-1.")+16 || e.Count != 1 ||
		e.Type != "Warning" || e.InvolvedObject != (involved{"v1", "Pod", "prod", "web-1", "u1"}) || e.Source.Host != "node-1" || e.ReportingInstance != "node-1" ||
		e.EventTime.IsZero() || e.LastTimestamp.IsZero() || e.FirstTimestamp.IsZero() || e.Action == "" {
		t.Errorf("%s %s", request, body)
	}
	for n := 2; n < 4; n++ {
		check(nil)
		_, request, body = r.last()
		if request != "PATCH /api/v1/namespaces/kube-system/events/"+name || !strings.Contains(body, fmt.Sprintf(`"count":%d,`, n)) || !strings.Contains(body, `"lastTimestamp":"2023-11-14T22:13:20Z"`) {
			t.Errorf("%s %s", request, body)
		}
	}
	r.answers(404)
	check(nil)
	if _, request, body = r.last(); !strings.HasPrefix(request, "POST") || !strings.Contains(body, `"count":1`) || strings.Contains(body, name) {
		t.Errorf("%s %s", request, body)
	}
	r.answers(0)
	for i, change := range []func(*policyagent.Event){
		func(e *policyagent.Event) { e.Message = "other" }, func(e *policyagent.Event) { e.Namespace = "prod" },
		func(e *policyagent.Event) { e.Object.UID = "u2" }, func(e *policyagent.Event) { e.Reason = "Other" },
	} {
		other := testEvent("m")
		change(&other)
		if err := w.Write(t.Context(), other); err != nil {
			t.Error(err)
		}
		if _, request, _ := r.last(); !strings.HasPrefix(request, "POST") {
			t.Errorf("%d: %s", i, request)
		}
	}
	if w.counted("new") != 6 || w.counted("repeated") != 2 {
		t.Errorf("%+v", w.counts)
	}
}

// An API server that refuses is asked again, one that does not answer is left alone for a while.
func TestEventsThatFail(t *testing.T) {
	r := newRecorder(t)
	w := r.writer()
	defer w.server.Close()
	r.answers(403)
	for range 2 {
		if err := w.Write(t.Context(), testEvent("m")); err == nil {
			t.Error("no error")
		}
	}
	if n, request, _ := r.last(); n != 2 || !strings.HasPrefix(request, "POST") || w.counted("refused") != 2 {
		t.Errorf("%d requests, %+v", n, w.counts)
	}
	away, err := NewServer(&rest.Config{Host: "http://127.0.0.1:1"}, "test")
	if err != nil {
		t.Fatal(err)
	}
	w.server = away
	if err := w.Write(t.Context(), testEvent("m")); err == nil {
		t.Error("no error")
	}
	w.server = r.server()
	defer w.server.Close()
	r.answers(0)
	if err := w.Write(t.Context(), testEvent("m")); !errors.Is(err, errAway) {
		t.Error(err)
	}
	if n, _, _ := r.last(); n != 2 || w.counted("unreachable") != 2 {
		t.Errorf("%d requests, %+v", n, w.counts)
	}
	w.mu.Lock()
	w.away = w.away.Add(-awayPause)
	w.mu.Unlock()
	if err := w.Write(t.Context(), testEvent("m")); err != nil {
		t.Error(err)
	}
	if n, request, _ := r.last(); n != 3 || !strings.HasPrefix(request, "POST") {
		t.Errorf("%d requests, %s", n, request)
	}
}

// Tell never waits, and Run ends with its context while the API server is silent.
func TestEventsNeverBlock(t *testing.T) {
	r := newRecorder(t)
	entered := make(chan struct{}, 1)
	r.change(func() {
		r.intercept = func(_ http.ResponseWriter, req *http.Request) bool {
			_, _ = io.Copy(io.Discard, req.Body)
			entered <- struct{}{}
			<-req.Context().Done()
			return true
		}
	})
	w := r.writer()
	for i := range eventQueue + 2 {
		w.Tell(testEvent(fmt.Sprint(i)))
	}
	if w.counted("queue") != 2 {
		t.Errorf("%+v", w.counts)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	<-entered
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestEventLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newEventMemory(time.Now())
		told := func(object, message string) string {
			k := eventKey{namespace: "n", name: object, message: message}
			have, why := m.plan(k, time.Now())
			if why == "" && have == nil {
				m.made(k, "x")
			}
			return why
		}
		for i := range objectBurst {
			if why := told("a", fmt.Sprint(i)); why != "" {
				t.Errorf("%d: %s", i, why)
			}
		}
		if why := told("a", "more"); why != "object" {
			t.Errorf("one more about the object: %q", why)
		}
		time.Sleep(objectEvery - time.Millisecond)
		if why := told("a", "more"); why != "object" {
			t.Errorf("too soon: %q", why)
		}
		time.Sleep(time.Millisecond)
		if why := told("a", "more"); why != "" {
			t.Errorf("later: %q", why)
		}
		time.Sleep(time.Hour)
		for i := range totalBurst {
			if why := told(fmt.Sprint("o", i), "m"); why != "" {
				t.Errorf("%d: %s", i, why)
			}
		}
		if why := told("one more", "m"); why != "rate" {
			t.Errorf("one more altogether: %q", why)
		}
		time.Sleep(totalEvery)
		if why := told("o1", "m"); why != "rate" {
			t.Errorf("a repetition takes the place of something new: %q", why)
		}
		if why := told("one more", "m"); why != "" {
			t.Errorf("later: %q", why)
		}
		// What is held back counts: the next that is told says how many there were.
		time.Sleep(time.Hour)
		if have, why := m.plan(eventKey{namespace: "n", name: "o1", message: "m"}, time.Now()); why != "" || have.count != 3 {
			t.Errorf("%+v, %q", have, why)
		}
		for i := range 2 * eventsKept {
			m.made(eventKey{name: fmt.Sprint(i)}, "x")
			m.plan(eventKey{name: fmt.Sprint("p", i)}, time.Now())
		}
		if m.events.Len() > eventsKept || m.objects.Len() > eventsKept {
			t.Errorf("%d events, %d objects", m.events.Len(), m.objects.Len())
		}
	})
}

func TestEventNames(t *testing.T) {
	w := NewEvents(nil, "c", strings.Repeat("n", 200), nil)
	for name, want := range map[string]string{"web-1": "web-1.", "app-6d4cf56db6-": "kritis.", "": "kritis.", "A": "kritis.", "a/b": "kritis.", strings.Repeat("a", 250): "kritis."} {
		e := testEvent("m")
		e.Object.Name = name
		got := w.newEvent(e)
		if !strings.HasPrefix(got.Metadata.Name, want) || len(got.Metadata.Name) > 253 || len(got.ReportingInstance) != maxInstance {
			t.Errorf("%q: %+v", name, got)
		}
	}
}

// A watch that is quiet but for bookmarks is in touch all the same.
func TestBookmarksConfirm(t *testing.T) {
	p := NewPolicies(&Server{})
	r := p.watcher.resources[0]
	s := newStream(r, io.NopCloser(strings.NewReader(`{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7"}}}`)), func() {})
	if err := r.store.Replace(nil, ""); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Decode(); err != nil || r.store.contactAt().IsZero() {
		t.Error(err)
	}
}

// gathered returns the values of a metric by its label.
func gathered(t *testing.T, c prometheus.Collector, name string) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				values[labels(m)] = m.GetCounter().GetValue()
			}
		}
	}
	return values
}

func labels(m *dto.Metric) string {
	var all []string
	for _, l := range m.GetLabel() {
		all = append(all, l.GetValue())
	}
	return strings.Join(all, ",")
}

func TestEventMetrics(t *testing.T) {
	r := newRecorder(t)
	w := r.writer()
	defer w.server.Close()
	for range 2 {
		if err := w.Write(t.Context(), testEvent("m")); err != nil {
			t.Error(err)
		}
	}
	if got := gathered(t, w.Metrics(), "kritis_events_written_total"); got["new"] != 1 || got["repeated"] != 1 || len(got) != 2 {
		t.Error(got)
	}
	if got := gathered(t, w.Metrics(), "kritis_events_dropped_total"); len(got) != 5 {
		t.Error(got)
	}
}

func TestMetricsAreDocumented(t *testing.T) {
	s, err := NewServer(&rest.Config{Host: "http://127.0.0.1:1"}, "test")
	if err != nil {
		t.Fatal(err)
	}
	lease, err := NewNodeLease(s, "ns", "n1", nil)
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewEvents(s, "c", "i", nil).Metrics(), lease.Metrics(), NewPolicies(s).Metrics())
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if n := documented.Metrics(t, "../../docs/cluster.md", families); n < 7 {
		t.Errorf("%d metrics only", n)
	}
}

// The source of policies was in touch when the kind was of which the API server said something least recently.
func TestConfirmedAt(t *testing.T) {
	p := NewPolicies(&Server{})
	if at := p.ConfirmedAt(); !at.IsZero() {
		t.Error(at)
	}
	old := time.Now().Add(-time.Hour)
	for _, s := range []*store{p.authorities, p.allowlists, p.policies} {
		s.reached(nil)
		if at := p.ConfirmedAt(); !at.IsZero() {
			t.Errorf("before all is known: %s", at)
		}
		if err := s.Replace(nil, ""); err != nil {
			t.Fatal(err)
		}
	}
	if at := p.ConfirmedAt(); !at.After(old) {
		t.Error(at)
	}
	p.policies.contact = old
	p.policies.reached(errors.New("away"))
	if at := p.ConfirmedAt(); !at.Equal(old) {
		t.Errorf("one kind is away: %s", at)
	}
	p.policies.heard()
	if at := p.ConfirmedAt(); !at.After(old) {
		t.Errorf("a watch says something: %s", at)
	}
}
