package kube

import (
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// eventsKept is how many events are remembered, so that a repetition raises their count instead of making another.
	eventsKept = 1024
	// objectBurst events about one object may follow at once, then one every objectEvery.
	objectBurst = 10
	objectEvery = 30 * time.Second
	// totalBurst events may follow at once, then one every totalEvery. A repetition is told only while more than half of
	// the burst is left: what is new says more.
	totalBurst = 100
	totalEvery = 500 * time.Millisecond
)

// eventKey is what makes two events the same.
type eventKey struct{ namespace, reason, apiVersion, kind, objectNamespace, name, uid, message string }

// objectKey is the object.
type objectKey struct{ apiVersion, kind, namespace, name, uid string }

func (k eventKey) object() objectKey {
	return objectKey{k.apiVersion, k.kind, k.objectNamespace, k.name, k.uid}
}

// known is an event that the API server has.
type known struct {
	name  string
	count int
}

// bucket holds tokens, of which one comes back now and then.
type bucket struct {
	tokens float64
	at     time.Time
}

func (b *bucket) refill(now time.Time, burst float64, every time.Duration) {
	if now.After(b.at) {
		b.tokens = min(burst, b.tokens+now.Sub(b.at).Seconds()/every.Seconds())
		b.at = now
	}
}

// eventMemory decides what becomes of events. It is not safe for concurrent use.
type eventMemory struct {
	events  *simplelru.LRU[eventKey, *known]
	objects *simplelru.LRU[objectKey, *bucket]
	total   bucket
}

func newEventMemory(now time.Time) *eventMemory {
	m := &eventMemory{total: bucket{totalBurst, now}}
	m.events, _ = simplelru.NewLRU[eventKey, *known](eventsKept, nil) // fails for sizes below one only
	m.objects, _ = simplelru.NewLRU[objectKey, *bucket](eventsKept, nil)
	return m
}

// plan returns the event that this one repeats, its count raised, or nil if it is new; and why it is not told now, if so.
func (m *eventMemory) plan(k eventKey, now time.Time) (*known, string) {
	have, repeated := m.events.Get(k)
	if repeated {
		have.count++ // also if this one is not told: the next that is tells how many there were
	}
	m.total.refill(now, totalBurst, totalEvery)
	object, ok := m.objects.Get(k.object())
	if !ok {
		object = &bucket{objectBurst, now}
		m.objects.Add(k.object(), object)
	}
	object.refill(now, objectBurst, objectEvery)
	switch {
	case object.tokens < 1:
		return have, "object"
	case m.total.tokens < 1, repeated && m.total.tokens < totalBurst/2:
		return have, "rate"
	}
	object.tokens--
	m.total.tokens--
	return have, ""
}

// made notes an event that the API server took, in place of one that it keeps no more: it does so for an hour.
func (m *eventMemory) made(k eventKey, name string) { m.events.Add(k, &known{name, 1}) }
