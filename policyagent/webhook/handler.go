package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"runtime/debug"
	"time"
)

// Names of the two webhooks of a ValidatingWebhookConfiguration, which users of kritis read in every denial, and the
// paths that are theirs here. Both judge whatever kind arrives.
const (
	PodsName      = "kritis-validation-hook.grafeas.io"
	PodsPath      = "/pods"
	WorkloadsName = "kritis-validation-hook-deployments.grafeas.io"
	WorkloadsPath = "/workloads"
)

// maxReviews is how many reviews are judged at once. Most of them wait for a registry, if any do.
const maxReviews = 1024

// unanswered says why a review gets no answer.
type unanswered struct {
	code   int
	reason string
	text   string
}

// ServeHTTP answers a review, at whatever path.
func (w *Webhook) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	began := time.Now()
	limit := w.limit(req)
	var r review
	outcome, reason := outcomeNone, reasonPanic
	defer func() {
		if p := recover(); p != nil {
			w.log.Error("a review failed inside; please report it", "panic", p, "stack", string(debug.Stack()))
			refuse(rw, http.StatusInternalServerError, textInternal)
		}
		took := time.Since(began)
		w.metrics.review(r, outcome, reason, took, limit-took)
	}()
	ctx, cancel := context.WithTimeout(req.Context(), limit)
	defer cancel()
	d, failed := w.answer(ctx, rw, req, &r)
	if failed != nil {
		reason = failed.reason
		w.log.WarnContext(ctx, "a review is not answered", "code", failed.code, "why", failed.text, "kind", r.kind.String())
		refuse(rw, failed.code, failed.text)
		return
	}
	outcome, reason = d.outcome, d.reason
	writeJSON(rw, http.StatusOK, newAnswer(d.response))
	w.tell(ctx, r, d, time.Since(began))
}

// refuse says why there is no answer, as a Status: of anything else the API server would only say that it failed.
func refuse(rw http.ResponseWriter, code int, text string) {
	writeJSON(rw, code, refusal{Kind: "Status", APIVersion: "v1", status: status{Status: "Failure", Message: text, Code: code}})
}

func writeJSON(rw http.ResponseWriter, code int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		panic(err) // strings and numbers
	}
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(code)
	_, _ = rw.Write(body) // who asked is gone; nobody is left to tell
}

// answer reads a review and decides.
func (w *Webhook) answer(ctx context.Context, rw http.ResponseWriter, req *http.Request, r *review) (decision, *unanswered) {
	if req.Method != http.MethodPost {
		rw.Header().Set("Allow", http.MethodPost)
		return decision{}, &unanswered{http.StatusMethodNotAllowed, reasonMalformed, textMethod}
	}
	if media, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return decision{}, &unanswered{http.StatusUnsupportedMediaType, reasonMalformed, textMedia}
	}
	if req.ContentLength > MaxReview {
		return decision{}, tooLarge()
	}
	var about subject
	err := w.bodies.read(req.Body, func(body []byte) (err error) {
		if *r, err = parseReview(body); err == nil {
			about, err = w.subjectOf(*r)
		}
		r.object, r.before = nil, nil // the body goes
		return err
	})
	switch {
	case errors.Is(err, errTooLarge):
		return decision{}, tooLarge()
	case errors.Is(err, errBodyBudget):
		return decision{}, &unanswered{http.StatusServiceUnavailable, reasonBusy, textBodyBudget}
	case errors.Is(err, errUnknownKind):
		return decision{}, &unanswered{http.StatusUnprocessableEntity, reasonUnknownKind, text(textUnknownKind, r.kind.String())}
	case err != nil:
		return decision{}, &unanswered{http.StatusBadRequest, reasonMalformed, text(textBody, err.Error())}
	}
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	case <-ctx.Done():
		return decision{}, &unanswered{http.StatusServiceUnavailable, reasonBusy, textBusy}
	}
	return w.decide(ctx, *r, about), nil
}

func tooLarge() *unanswered {
	return &unanswered{http.StatusRequestEntityTooLarge, reasonTooLarge, fmt.Sprintf(textTooLarge, MaxReview)}
}

// limit is how long a review may take: the deadline, or most of what the API server says that it waits.
func (w *Webhook) limit(req *http.Request) time.Duration {
	limit := w.config.Deadline
	if waits, err := time.ParseDuration(req.URL.Query().Get("timeout")); err == nil && waits > 0 {
		limit = min(limit, waits*3/4)
	}
	return limit
}

// tell logs a decision, and makes an event of what fails. A review that is a mere try leaves no event.
func (w *Webhook) tell(ctx context.Context, r review, d decision, took time.Duration) {
	level, said := slog.LevelDebug, "allowed"
	e := Event{APIVersion: r.apiVersion(), Kind: r.kind.kind, Namespace: r.namespace, Name: r.name, Message: d.message}
	switch {
	case !d.Allowed:
		level, said, e.Reason = slog.LevelInfo, "denied", EventFailed
	case d.outcome == outcomeDryRun:
		level, said, e.Reason = slog.LevelInfo, "dry run lets pass", EventDryRun
	}
	if w.log.Enabled(ctx, level) {
		w.log.LogAttrs(ctx, level, said, slog.String("uid", r.uid), slog.String("kind", r.kind.String()), slog.String("operation", r.operation),
			slog.String("namespace", r.namespace), slog.String("name", r.name), slog.String("reason", d.reason),
			slog.String("image", cut(d.image, maxShown)), slog.String("why", d.why), slog.Duration("took", took), slog.Bool("try", r.dryRun))
	}
	if e.Reason != "" && !r.dryRun {
		if d.why != "" {
			e.Message += ": " + d.why
		}
		w.events.offer(e)
	}
}
