package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	kjson "sigs.k8s.io/json"
)

// maxEvent bounds one event, in bytes. etcd takes objects of some 1.5 MiB.
const maxEvent = 8 << 20

// stream reads the events of a watch. It implements watch.Decoder.
type stream struct {
	r      *resource
	body   io.ReadCloser
	cancel context.CancelFunc
	meter  *meter
	events kjson.Decoder
}

func newStream(r *resource, body io.ReadCloser, cancel context.CancelFunc) *stream {
	m := &meter{from: body}
	return &stream{r: r, body: body, cancel: cancel, meter: m, events: kjson.NewDecoderCaseSensitivePreserveInts(m)}
}

// Decode returns the next event. After an error the Reflector lists again.
func (s *stream) Decode() (_ watch.EventType, _ runtime.Object, err error) {
	defer survive(&err)
	if s.r.store.full() {
		return "", nil, errFull
	}
	var event struct {
		Type   watch.EventType `json:"type"`
		Object json.RawMessage `json:"object"`
	}
	s.meter.left = maxEvent
	if err := s.events.Decode(&event); err != nil {
		return "", nil, err
	}
	s.r.store.heard()
	switch event.Type {
	case watch.Error:
		status := &metav1.Status{}
		if err := json.Unmarshal(event.Object, status); err != nil {
			return "", nil, fmt.Errorf("the API server reports an error that is not one: %w", err)
		}
		return watch.Error, status, nil
	case watch.Bookmark:
		var head struct {
			Metadata identity `json:"metadata"`
		}
		if err := kjson.UnmarshalCaseSensitivePreserveInts(event.Object, &head); err != nil {
			return "", nil, err
		}
		if head.Metadata.ResourceVersion == "" {
			return "", nil, errors.New("a bookmark has no resource version")
		}
		return watch.Bookmark, &object{ObjectMeta: metav1.ObjectMeta{ResourceVersion: head.Metadata.ResourceVersion}}, nil
	case watch.Added, watch.Modified, watch.Deleted:
		o, err := s.r.object(event.Object)
		return event.Type, o, err
	default:
		return "", nil, fmt.Errorf("%.20q is not a kind of event", event.Type)
	}
}

// Close ends the stream.
func (s *stream) Close() {
	s.r.store.follow(false)
	s.cancel()
	_ = s.body.Close()
}

// meter lets so many bytes through.
type meter struct {
	from io.Reader
	left int
}

func (m *meter) Read(p []byte) (int, error) {
	if m.left <= 0 {
		return 0, fmt.Errorf("an event has more than %d bytes", maxEvent)
	}
	n, err := m.from.Read(p[:min(len(p), m.left)])
	m.left -= n
	return n, err
}
