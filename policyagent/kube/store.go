package kube

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
)

// errFull ends a watch that would bring more objects than fit. Then a list says whether it is still so.
var errFull = errors.New("there are more objects than fit: remove some")

type entry struct {
	value any
	size  int
}

// store holds the objects of one kind, complete since the first Replace. A Reflector fills it.
type store struct {
	limits limits
	notify func()

	mu      sync.Mutex
	entries map[string]entry // by namespace and name
	size    int
	// version counts the changes that matter.
	version          uint64
	synced, overflow bool
	// gone: the kind is not installed.
	gone bool
	// failure is why the API server could not be asked when it was last tried.
	failure      error
	failingSince time.Time
	failures     uint64
	// contact is when the API server last said something about the kind.
	contact time.Time
	// followed: a watch is under way. asked: a request is.
	followed, asked bool
}

func newStore(l limits, notify func()) *store {
	return &store{limits: l, notify: notify, entries: map[string]entry{}}
}

// Replace takes a complete list.
func (s *store) Replace(items []any, _ string) error {
	next, size := make(map[string]entry, len(items)), 0
	for _, item := range items {
		o, ok := item.(*object)
		if !ok {
			return fmt.Errorf("bug of this program, please report it: a %T in a list", item)
		}
		next[o.Namespace+"/"+o.Name] = entry{o.value, o.size}
		size += o.size
	}
	s.mu.Lock()
	if !s.synced || !maps.EqualFunc(s.entries, next, sameValue) {
		s.version++
	}
	s.entries, s.size, s.synced, s.overflow = next, size, true, false
	s.mu.Unlock()
	s.notify()
	return nil
}

// Add takes an object that is new, or has changed. Beyond the limits it takes none: the watch ends then.
func (s *store) Add(item any) error {
	o, ok := item.(*object)
	if !ok {
		return fmt.Errorf("bug of this program, please report it: a %T in a watch", item)
	}
	key := o.Namespace + "/" + o.Name
	s.mu.Lock()
	old, known := s.entries[key]
	size := s.size - old.size + o.size
	if !known && len(s.entries) >= s.limits.objects || size > s.limits.bytes {
		s.overflow = true
		s.mu.Unlock()
		return errFull
	}
	s.size = size
	s.entries[key] = entry{o.value, o.size}
	changed := !known || !sameValue(old, entry{value: o.value})
	if changed {
		s.version++
	}
	s.mu.Unlock()
	if changed {
		s.notify()
	}
	return nil
}

// Update is Add.
func (s *store) Update(item any) error { return s.Add(item) }

// Delete takes an object away.
func (s *store) Delete(item any) error {
	o, ok := item.(*object)
	if !ok {
		return fmt.Errorf("bug of this program, please report it: a %T in a watch", item)
	}
	key := o.Namespace + "/" + o.Name
	s.mu.Lock()
	old, known := s.entries[key]
	if known {
		delete(s.entries, key)
		s.size -= old.size
		s.version++
	}
	s.mu.Unlock()
	if known {
		s.notify()
	}
	return nil
}

// Resync implements cache.ReflectorStore. There is nothing to do.
func (s *store) Resync() error { return nil }

// sameValue: most changes are of status or metadata, and mean nothing here.
func sameValue(a, b entry) bool { return reflect.DeepEqual(a.value, b.value) }

// reached notes the outcome of an attempt to ask the API server.
func (s *store) reached(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = errors.Is(err, errAbsent)
	if err == nil || s.gone {
		s.failure, s.contact = nil, time.Now()
		return
	}
	if s.failures++; s.failure == nil {
		s.failingSince = time.Now()
	}
	s.failure = err
	s.notify()
}

// follow notes the beginning or the end of a watch.
func (s *store) follow(followed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.followed = followed
}

// ask notes that a request is under way until what it returns is called.
func (s *store) ask() (end func()) {
	note := func(asked bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked = asked
	}
	note(true)
	return func() { note(false) }
}

// paused says whether nothing is under way, though there is something to watch.
func (s *store) paused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.followed && !s.asked && !s.gone
}

// heard notes that a watch has said something: bookmarks come about every minute.
func (s *store) heard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.contact = time.Now()
}

// contactAt returns when the API server last said something about the kind; zero before all of it was known.
func (s *store) contactAt() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.synced {
		return time.Time{}
	}
	return s.contact
}

func (s *store) absent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

func (s *store) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.overflow
}

// state is a store at one moment.
type state struct {
	synced       bool
	version      uint64
	objects      int
	failure      error
	failingSince time.Time
	failures     uint64
}

func (s *store) state() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return state{s.synced, s.version, len(s.entries), s.failure, s.failingSince, s.failures}
}

// values returns the objects in order of namespace and name.
func (s *store) values() []any {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]any, 0, len(s.entries))
	for _, key := range slices.SortedFunc(maps.Keys(s.entries), strings.Compare) {
		all = append(all, s.entries[key].value)
	}
	return all
}
