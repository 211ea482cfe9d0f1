package webhook

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Reasons of events, as users of kritis know them. The events stand in EventNamespace.
const (
	EventFailed    = "FailedKritisAdmission"
	EventDryRun    = "DryRunKritisAdmission"
	EventNamespace = "kube-system"
)

// Event tells of an object that was denied, or let pass by dry run.
type Event struct {
	Reason string
	// APIVersion, Kind, Namespace and Name are the object's. Of an object whose name the API server has yet to make, Name
	// is the beginning.
	APIVersion, Kind, Namespace, Name string
	// Message is one line of at most 1 KiB, the limit of Kubernetes' events.
	Message string
}

// Recorder tells events. It may take its time: reviews do not wait for it.
type Recorder interface {
	Record(ctx context.Context, e Event) error
}

// LogRecorder tells events to a log.
type LogRecorder struct{ Log *slog.Logger }

// Record implements Recorder. It does not fail.
func (l LogRecorder) Record(ctx context.Context, e Event) error {
	l.Log.InfoContext(ctx, "event", "reason", e.Reason, "kind", e.Kind, "namespace", e.Namespace, "name", e.Name, "message", e.Message)
	return nil
}

const (
	maxEventMessage = 1 << 10
	// eventQueue is how many events may wait, eventsKnown how many are remembered for repeatedFor, in which the same is
	// not told again: a controller tries for ever.
	eventQueue  = 256
	eventsKnown = 4096
	repeatedFor = 5 * time.Minute
	// eventBurst events may follow at once, then one every eventEvery.
	eventBurst = 50
	eventEvery = time.Second
	// eventTimeout bounds one call of the recorder.
	eventTimeout = 5 * time.Second
)

// events keeps the recorder from being flooded, and reviews from waiting for it.
type events struct {
	recorder Recorder
	log      *slog.Logger
	// dropped counts events that are not told: "repeated", "rate", "queue", "failed".
	dropped func(why string)
	queue   chan Event

	mu     sync.Mutex
	known  *simplelru.LRU[Event, time.Time]
	tokens float64
	last   time.Time
}

func newEvents(recorder Recorder, log *slog.Logger, dropped func(string)) *events {
	e := &events{recorder: recorder, log: log, dropped: dropped, queue: make(chan Event, eventQueue), tokens: eventBurst, last: time.Now()}
	e.known, _ = simplelru.NewLRU[Event, time.Time](eventsKnown, nil) // fails for sizes below one only
	return e
}

// offer tells an event if it is new and there are not too many.
func (e *events) offer(event Event) {
	event.Message = cut(event.Message, maxEventMessage)
	if why := e.refuse(event, time.Now()); why != "" {
		e.dropped(why)
		return
	}
	select {
	case e.queue <- event:
	default:
		e.dropped("queue")
	}
}

func (e *events) refuse(event Event, now time.Time) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if at, ok := e.known.Get(event); ok && now.Sub(at) < repeatedFor {
		return "repeated"
	}
	e.tokens = min(eventBurst, e.tokens+max(0, now.Sub(e.last).Seconds())/eventEvery.Seconds())
	e.last = now
	if e.tokens < 1 {
		return "rate"
	}
	e.tokens--
	e.known.Add(event, now)
	return ""
}

// run tells events until the context ends, and returns nil then.
func (e *events) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-e.queue:
			e.record(ctx, event)
		}
	}
}

func (e *events) record(ctx context.Context, event Event) {
	ctx, cancel := context.WithTimeout(ctx, eventTimeout)
	defer cancel()
	if err := e.recorder.Record(ctx, event); err != nil {
		e.dropped("failed")
		e.log.WarnContext(ctx, "an event could not be recorded", "reason", event.Reason, "error", err)
	}
}
