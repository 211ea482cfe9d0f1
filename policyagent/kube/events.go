package kube

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kritis-node/kritis-node/policyagent"
)

const (
	// eventQueue is how many events may wait to be written.
	eventQueue = 256
	// writeTimeout bounds one request that writes. After one that the API server did not answer nothing is tried for
	// awayPause: an event that comes late tells little, and the audit log of the node has everything.
	writeTimeout = 5 * time.Second
	awayPause    = 5 * time.Second
	// maxInstance is the API server's limit of reportingInstance, in bytes.
	maxInstance = 128
	// complainEvery is how often a failure is logged that goes on.
	complainEvery = 5 * time.Minute
)

// Events writes events to the API server. Its Server should be its own: writing shares the limit of requests with nothing.
type Events struct {
	server              *Server
	component, instance string
	log                 *slog.Logger
	queue               chan policyagent.Event

	mu           sync.Mutex
	memory       *eventMemory
	away         time.Time // nothing is tried before
	complainedAt time.Time
	counts       eventCounts
}

// NewEvents returns a writer. The component is the program, the instance the node or pod that it runs on.
func NewEvents(s *Server, component, instance string, log *slog.Logger) *Events {
	if instance == "" {
		instance = "unknown"
	}
	return &Events{
		server: s, component: component, instance: instance, log: log,
		queue: make(chan policyagent.Event, eventQueue), memory: newEventMemory(time.Now()), counts: newEventCounts(),
	}
}

// Tell implements policyagent.EventSink: the event is written by Run, if the API server is there and there are not too many.
func (w *Events) Tell(e policyagent.Event) {
	select {
	case w.queue <- e:
	default:
		w.count(w.counts.dropped, "queue")
	}
}

// Run writes what Tell takes until the context ends, and returns nil then.
func (w *Events) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			w.server.Close()
			return nil
		case e := <-w.queue:
			_ = w.Write(ctx, e) // it is logged and counted
		}
	}
}

// Write writes an event, or raises the count of the one that it repeats. An event that is held back because there are too
// many is no error.
func (w *Events) Write(ctx context.Context, e policyagent.Event) error {
	k := eventKey{e.Namespace, e.Reason, e.Object.APIVersion, e.Object.Kind, e.Object.Namespace, e.Object.Name, e.Object.UID, e.Message}
	now := time.Now()
	if e.At.IsZero() {
		e.At = now
	}
	w.mu.Lock()
	if now.Before(w.away) {
		w.mu.Unlock()
		w.count(w.counts.dropped, "unreachable")
		return errAway
	}
	repeats, why := w.memory.plan(k, now)
	var before known
	if repeats != nil {
		before = *repeats
	}
	w.mu.Unlock()
	if why != "" {
		w.count(w.counts.dropped, why)
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, writeTimeout, fmt.Errorf("no answer within %s", writeTimeout))
	defer cancel()
	err := w.send(ctx, e, k, before)
	w.outcome(ctx, err)
	return err
}

// errAway is what is said while nothing is tried.
var errAway = errors.New("the API server did not answer a moment ago: events are left out until it is tried again")

func (w *Events) send(ctx context.Context, e policyagent.Event, k eventKey, before known) error {
	if before.name != "" {
		err := w.raise(ctx, e, before)
		if !apierrors.IsNotFound(err) {
			if err == nil {
				w.count(w.counts.written, "repeated")
			}
			return err
		}
	}
	body := w.newEvent(e)
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	err = w.server.client.Post().AbsPath("/api/v1/namespaces", e.Namespace, "events").
		SetHeader("Content-Type", "application/json").Body(data).Do(ctx).Error()
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.memory.made(k, body.Metadata.Name)
	w.mu.Unlock()
	w.count(w.counts.written, "new")
	return nil
}

// raise tells that an event happened again.
func (w *Events) raise(ctx context.Context, e policyagent.Event, before known) error {
	patch, err := json.Marshal(struct {
		Count         int         `json:"count"`
		LastTimestamp metav1.Time `json:"lastTimestamp"`
	}{before.count, metav1.NewTime(e.At)})
	if err != nil {
		return err
	}
	return w.server.client.Patch(types.MergePatchType).AbsPath("/api/v1/namespaces", e.Namespace, "events", before.name).Body(patch).Do(ctx).Error()
}

// outcome counts and logs what failed.
func (w *Events) outcome(ctx context.Context, err error) {
	if err == nil {
		return
	}
	why, now := "refused", time.Now()
	w.mu.Lock()
	if apierrors.ReasonForError(err) == metav1.StatusReasonUnknown {
		why, w.away = "unreachable", now.Add(awayPause)
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}
	complain := now.Sub(w.complainedAt) >= complainEvery
	if complain {
		w.complainedAt = now
	}
	w.mu.Unlock()
	w.count(w.counts.dropped, why)
	if complain {
		w.log.Warn("an event cannot be written; enforcement does not depend on it", "error", adviseRight(err, "create and patch events", "it is left out: the node's audit log and this program's have what happened"))
	}
}

// eventObject is a core/v1 Event, as far as it is used.
type eventObject struct {
	APIVersion         string           `json:"apiVersion"`
	Kind               string           `json:"kind"`
	Metadata           eventMeta        `json:"metadata"`
	InvolvedObject     involved         `json:"involvedObject"`
	Reason             string           `json:"reason"`
	Message            string           `json:"message"`
	Type               string           `json:"type"`
	Action             string           `json:"action"`
	Source             eventSource      `json:"source"`
	ReportingComponent string           `json:"reportingComponent"`
	ReportingInstance  string           `json:"reportingInstance"`
	FirstTimestamp     metav1.Time      `json:"firstTimestamp"`
	LastTimestamp      metav1.Time      `json:"lastTimestamp"`
	EventTime          metav1.MicroTime `json:"eventTime"`
	Count              int              `json:"count"`
}

type eventMeta struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

type eventSource struct {
	Component string `json:"component"`
	Host      string `json:"host,omitempty"`
}

type involved struct {
	APIVersion string `json:"apiVersion,omitempty"`
	Kind       string `json:"kind,omitempty"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name,omitempty"`
	UID        string `json:"uid,omitempty"`
}

// nameForm is that of names of objects, but for their length: paths are made of them.
var nameForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

// newEvent makes the object. It has an eventTime, because only then may an event in kube-system be about an object in
// another namespace (ValidateEventCreate in k8s.io/kubernetes/pkg/apis/core/validation), and the older timestamps and the
// count besides, which are what kubectl shows of repetitions.
func (w *Events) newEvent(e policyagent.Event) eventObject {
	name := "kritis"
	if nameForm.MatchString(e.Object.Name) && len(e.Object.Name) <= 200 {
		name = e.Object.Name
	}
	var random [8]byte
	_, _ = rand.Read(random[:]) // it never fails
	return eventObject{
		APIVersion: "v1", Kind: "Event",
		Metadata:       eventMeta{Name: name + "." + hex.EncodeToString(random[:]), Namespace: e.Namespace},
		InvolvedObject: involved{e.Object.APIVersion, e.Object.Kind, e.Object.Namespace, e.Object.Name, e.Object.UID},
		Reason:         e.Reason, Message: e.Message, Type: "Warning", Action: "Admission",
		Source:             eventSource{w.component, w.instance},
		ReportingComponent: w.component, ReportingInstance: w.instance[:min(len(w.instance), maxInstance)],
		FirstTimestamp: metav1.NewTime(e.At), LastTimestamp: metav1.NewTime(e.At), EventTime: metav1.NewMicroTime(e.At), Count: 1,
	}
}
