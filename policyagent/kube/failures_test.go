package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// pipe is an API server without a network, for tests of time.
type pipe func(*http.Request) (*http.Response, error)

func (p pipe) RoundTrip(r *http.Request) (*http.Response, error) { return p(r) }

func (p pipe) lister(t *testing.T, ctx context.Context) *lister {
	t.Helper()
	s, err := NewServer(&rest.Config{Host: "http://api.example", Transport: p}, "test")
	if err != nil {
		t.Fatal(err)
	}
	r := &resource{client: s.client, name: "pods", version: "v1", kind: "Pod", limits: limits{10, 1000}, decode: decodePod}
	newWatcher().add(r)
	return &lister{r, ctx}
}

func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// A server that takes a request and never answers is given up on.
func TestHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		l := pipe(hang).lister(t, ctx)
		began := time.Now()
		if _, err := l.ListWithContext(context.Background(), metav1.ListOptions{}); err == nil || !strings.Contains(err.Error(), "no answer within 1m0s") || time.Since(began) != listTimeout {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		began = time.Now()
		if _, err := l.WatchWithContext(ctx, metav1.ListOptions{}); err == nil || time.Since(began) != answerTimeout {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		if s := l.store.state(); s.failures != 2 || s.failure == nil {
			t.Errorf("%+v", s)
		}
	})
}

// A body that never comes, and a watch that neither says anything nor ends.
func TestHangInsideBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := pipe(func(r *http.Request) (*http.Response, error) {
			read, write := io.Pipe()
			context.AfterFunc(r.Context(), func() { write.CloseWithError(r.Context().Err()) })
			return &http.Response{StatusCode: http.StatusOK, Body: read, Header: http.Header{}, Request: r}, nil
		}).lister(t, t.Context())
		began := time.Now()
		if _, err := l.ListWithContext(context.Background(), metav1.ListOptions{}); err == nil || time.Since(began) != listTimeout {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		began = time.Now()
		seconds := int64(60)
		w, err := l.WatchWithContext(t.Context(), metav1.ListOptions{ResourceVersion: "1", TimeoutSeconds: &seconds})
		if err != nil {
			t.Fatal(err)
		}
		for e := range w.ResultChan() {
			if e.Type != watch.Error {
				t.Errorf("%+v", e)
			}
		}
		if took := time.Since(began); took != time.Minute+watchGrace {
			t.Errorf("a silent watch ended after %s", took)
		}
	})
}

func answer(body string) pipe {
	return func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}, Request: r}, nil
	}
}

func podList(n, padding int) string {
	var items []string
	for i := range n {
		items = append(items, fmt.Sprintf(`{"metadata":{"name":"p%d","resourceVersion":"1"}}`, i))
	}
	return `{"apiVersion":"v1","kind":"PodList","metadata":{"resourceVersion":"1"},"items":[` + strings.Join(items, ",") + `]` + strings.Repeat(" ", padding) + `}`
}

// At each limit and one beyond.
func TestListLimits(t *testing.T) {
	fits := 1000 - len(podList(10, 0))
	for name, c := range map[string]struct {
		body, want string
	}{
		"objects":      {podList(10, 0), ""},
		"one more":     {podList(11, 0), "more than 10 objects"},
		"bytes":        {podList(10, fits), ""},
		"one more yet": {podList(10, fits+1), "larger than fits"},
	} {
		l := answer(c.body).lister(t, t.Context())
		_, err := l.ListWithContext(context.Background(), metav1.ListOptions{})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Events that are none end the watch, so that the Reflector lists.
func TestEvents(t *testing.T) {
	added := `{"type":"ADDED","object":{"metadata":{"name":"p","resourceVersion":"2"}}}`
	large := func(n int) string {
		return fmt.Sprintf(`{"type":"ADDED","object":{"metadata":{"name":"p","resourceVersion":"2"},"x":%q}}`, strings.Repeat("x", n))
	}
	overhead := len(large(0))
	for name, c := range map[string]struct {
		body string
		want string // of the last event
		good int
	}{
		"end":              {added + "\n" + added, "", 2},
		"410":              {`{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"old"}}`, "old", 0},
		"bookmark":         {`{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7"}}}`, "", 1},
		"empty bookmark":   {`{"type":"BOOKMARK","object":{}}`, "no resource version", 0},
		"unknown":          {`{"type":"RENAMED","object":{}}`, "is not a kind of event", 0},
		"no type":          {`{}`, "is not a kind of event", 0},
		"not JSON":         {added + "<html>", "invalid character", 1},
		"nameless":         {`{"type":"DELETED","object":{"metadata":{"resourceVersion":"7"}}}`, "no name", 0},
		"cut short":        {added + `{"type":"ADD`, "", 1},
		"largest":          {large(maxEvent - overhead), "", 1},
		"larger":           {large(maxEvent), "has more than", 0},
		"an error of text": {`{"type":"ERROR","object":"text"}`, "not one", 0},
	} {
		l := answer(c.body).lister(t, t.Context())
		w, err := l.WatchWithContext(t.Context(), metav1.ListOptions{ResourceVersion: "1"})
		if err != nil {
			t.Fatal(err)
		}
		good, last := 0, ""
		for e := range w.ResultChan() {
			if e.Type == watch.Error {
				last = apierrors.FromObject(e.Object).Error()
				continue
			}
			good++
		}
		if good != c.good || (last == "") != (c.want == "") || !strings.Contains(last, c.want) {
			t.Errorf("%s: %d good events, then %q", name, good, last)
		}
	}
}

// A store takes no more than fits, and then ends the watch.
func TestStoreLimits(t *testing.T) {
	for name, c := range map[string]struct {
		limits limits
		want   int
	}{
		"objects": {limits{3, 1000}, 3},
		"bytes":   {limits{1000, 35}, 3},
	} {
		s := newStore(c.limits, func() {})
		if err := s.Replace(nil, ""); err != nil {
			t.Fatal(err)
		}
		add := func(i int) error {
			return s.Add(&object{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(i)}, value: i, size: 10})
		}
		for i := range c.want {
			if err := add(i); err != nil || s.full() {
				t.Errorf("%s: object %d: %v", name, i, err)
			}
		}
		if err := add(0); err != nil || s.full() {
			t.Errorf("%s: a change of one that is there: %v", name, err)
		}
		if err := add(c.want); !errors.Is(err, errFull) || !s.full() || len(s.values()) != c.want {
			t.Errorf("%s: one more: %v", name, err)
		}
		if err := s.Replace(nil, ""); err != nil || s.full() || len(s.values()) != 0 || s.size != 0 {
			t.Errorf("%s: after a list: %v", name, err)
		}
	}
}

func TestAdvice(t *testing.T) {
	r := schema.GroupResource{Group: "kritis.grafeas.io", Resource: "attestationauthorities"}
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"forbidden":    {apierrors.NewForbidden(r, "", errors.New("no")), "allow the policy agent's ServiceAccount"},
		"unauthorized": {apierrors.NewUnauthorized("who?"), "give the policy agent credentials"},
		"other":        {errors.New("two\nlines"), "two lines; it is tried again"},
	} {
		if got := advise(c.err); !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%s: %q", name, got)
		}
	}
	if n := len(advise(errors.New(strings.Repeat("ä", maxFailure)))); n > maxFailure+50 {
		t.Errorf("%d bytes", n)
	}
}

// A failure is told when it has lasted, and its end too.
func TestFailuresAreToldWithPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatcher()
		s := w.add(&resource{name: "pods"})
		s.synced = true
		if _, synced, err := w.look(time.Now()); !synced || err != nil {
			t.Error(synced, err)
		}
		s.reached(errors.New("away"))
		time.Sleep(patience - time.Second)
		if _, _, err := w.look(time.Now()); err != nil {
			t.Error(err)
		}
		s.reached(errors.New("still away"))
		time.Sleep(time.Second)
		if _, _, err := w.look(time.Now()); err == nil || err.Error() != "watching pods: still away; it is tried again" {
			t.Error(err)
		}
		s.reached(nil)
		if _, _, err := w.look(time.Now()); err != nil {
			t.Error(err)
		}
	})
}
