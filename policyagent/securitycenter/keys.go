package securitycenter

import (
	"errors"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/alicloud"
)

// firstRetry and lastRetry bound the pause after a key could not be had. It doubles in between.
const (
	firstRetry = 15 * time.Second
	lastRetry  = 5 * time.Minute
)

// enabled is KMS' state of a key that may be used.
const enabled = "Enabled"

// key is one version of a KMS key, and how a witness named it.
type key struct {
	ref alicloud.KeyReference
	alicloud.PublicKey
}

// same says whether two are one key: its state may differ.
func same(a, b alicloud.PublicKey) bool {
	return a.ID == b.ID && a.Version == b.Version && a.PEM == b.PEM
}

// entry is what is known of one key.
type entry struct {
	pub   alicloud.PublicKey
	known bool
	// differs is what KMS answered last, if that is another key than the known one. It counts when KMS says it twice.
	differs *alicloud.PublicKey
	// err is why the last question failed.
	err   *alicloud.Error
	next  time.Time // not asked before
	tries int
}

// keyring remembers keys, so that KMS is asked rarely.
type keyring struct {
	entries map[alicloud.KeyReference]*entry
	refresh time.Duration
	random  func() float64 // in [0, 1)
}

// remember takes a key from an object: it need not be asked for. Whatever the time of the last restart, it is asked for
// again within the time after which it would be anyway.
func (r *keyring) remember(k key, now time.Time) {
	if e := r.entries[k.ref]; e == nil {
		r.entries[k.ref] = &entry{pub: k.PublicKey, known: true, next: now.Add(time.Duration(r.random() * float64(r.refresh)))}
	}
}

// due returns which of the keys have to be asked for.
func (r *keyring) due(refs []alicloud.KeyReference, now time.Time) []alicloud.KeyReference {
	var due []alicloud.KeyReference
	for _, ref := range refs {
		if e := r.entries[ref]; e == nil || !now.Before(e.next) {
			due = append(due, ref)
		}
	}
	return due
}

// learn takes an answer of KMS.
func (r *keyring) learn(ref alicloud.KeyReference, pub alicloud.PublicKey, err error, now time.Time) {
	e := r.entries[ref]
	if e == nil {
		e = &entry{}
		r.entries[ref] = e
	}
	if err != nil {
		e.err = asError(err)
		e.next = now.Add(min(firstRetry<<min(e.tries, 10), lastRetry))
		e.tries++
		return
	}
	e.err, e.tries = nil, 0
	e.next = now.Add(r.refresh*9/10 + time.Duration(r.random()*float64(r.refresh/5)))
	switch {
	case !e.known || same(e.pub, pub) || e.differs != nil && same(*e.differs, pub):
		e.pub, e.known, e.differs = pub, true, nil
	default:
		// A key of the same name that is another one could loosen, so one answer is not enough.
		e.differs, e.next = &pub, now
	}
}

// keep forgets all other keys.
func (r *keyring) keep(wanted map[alicloud.KeyReference]bool) {
	for ref := range r.entries {
		if !wanted[ref] {
			delete(r.entries, ref)
		}
	}
}

// asError returns the client's error. One of another type has told nothing that could be branched on.
func asError(err error) *alicloud.Error {
	var e *alicloud.Error
	if errors.As(err, &e) {
		return e
	}
	return &alicloud.Error{Service: "alicloud", Action: "call", Text: err.Error()}
}
