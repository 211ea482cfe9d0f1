package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	// gather is how long changes are gathered before they are told: an authority and its policy come together.
	gather = 100 * time.Millisecond
	// lookEvery is how often failures are looked at.
	lookEvery = time.Second
	// patience is how long a failure must last before it is told, once everything is known. API servers restart.
	patience = 10 * time.Second
	// repeatAfter is how soon a failure is told again in other words.
	repeatAfter = 5 * time.Minute
)

// watcher watches some kinds as one.
type watcher struct {
	resources []*resource
	changed   chan struct{}
}

func newWatcher() *watcher { return &watcher{changed: make(chan struct{}, 1)} }

// add adds a kind.
func (w *watcher) add(r *resource) *store {
	r.store = newStore(r.limits, func() {
		select {
		case w.changed <- struct{}{}:
		default: // a signal is waiting already
		}
	})
	r.retry = make(chan struct{}, 1)
	w.resources = append(w.resources, r)
	return r.store
}

// run calls changed when all kinds are known completely and after each change, and failed when the API server cannot be
// asked. It returns when the context ends and nothing runs any more.
func (w *watcher) run(ctx context.Context, changed func(), failed func(error)) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, r := range w.resources {
		wg.Go(func() { r.run(ctx) })
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	var told struct {
		version uint64 // sum of the kinds'
		failure string
		at      time.Time
	}
	var paused int
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		case <-w.changed:
			select {
			case <-ctx.Done():
				return
			case <-time.After(gather):
			}
		}
		paused = w.retryTogether(paused)
		version, synced, failure := w.look(time.Now())
		if synced && (version != told.version || failure == nil && told.failure != "") {
			told.version, told.failure = version, ""
			changed()
		}
		if failure == nil {
			continue
		}
		if told.failure == "" || told.failure != failure.Error() && time.Since(told.at) >= repeatAfter {
			told.failure, told.at = failure.Error(), time.Now()
			failed(failure)
		}
	}
}

// retryTogether asks at once for the kinds that nobody watches when another is watched again, because an API server that is back is
// back for all: a policy that is known without its authority would deny what it shall admit. It takes and returns how many pause.
func (w *watcher) retryTogether(before int) int {
	var paused []*resource
	for _, r := range w.resources {
		if r.store.paused() {
			paused = append(paused, r)
		}
	}
	if len(paused) < before {
		for _, r := range paused {
			select {
			case r.retry <- struct{}{}:
			default: // it is told already
			}
		}
	}
	return len(paused)
}

// look returns what has changed, whether all is known, and what fails.
func (w *watcher) look(now time.Time) (version uint64, synced bool, failure error) {
	synced = true
	reasons := map[string][]string{}
	var order []string
	for _, r := range w.resources {
		s := r.store.state()
		version += s.version
		synced = synced && s.synced
		if s.failure == nil || s.synced && now.Sub(s.failingSince) < patience {
			continue
		}
		text := advise(s.failure)
		if _, ok := reasons[text]; !ok {
			order = append(order, text)
		}
		reasons[text] = append(reasons[text], r.name)
	}
	var errs []error
	for _, text := range order {
		errs = append(errs, fmt.Errorf("watching %s: %s", strings.Join(reasons[text], ", "), text))
	}
	return version, synced, errors.Join(errs...)
}

// maxFailure bounds the text of a failure, in bytes. An API server's answer may be a page of HTML.
const maxFailure = 1 << 10

// oneLine puts an error of several lines into one.
func oneLine(err error) error {
	return errors.New(shorten(strings.Join(strings.Fields(err.Error()), " "), maxFailure))
}

// shorten keeps so many bytes of a text at most, an ellipsis not counted, without halving a character.
func shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

// advise says what to do about a failure to watch.
func advise(err error) string { return adviseRight(err, "list and watch them", "it is tried again") }

// adviseRight says what to do about a failure of what needs a right.
func adviseRight(err error, right, otherwise string) string {
	text := oneLine(err).Error()
	switch {
	case apierrors.IsForbidden(err):
		return text + "; allow the policy agent's ServiceAccount to " + right
	case apierrors.IsUnauthorized(err):
		return text + "; give the policy agent credentials that the API server knows"
	default:
		return text + "; " + otherwise
	}
}
