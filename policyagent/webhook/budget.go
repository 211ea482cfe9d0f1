package webhook

import (
	"errors"
	"io"
	"sync/atomic"
)

const (
	// MaxReview is the size of a review in bytes. The API server takes requests of 3 MiB, and a review holds the object and
	// the one before it; escaping in JSON makes both somewhat larger.
	MaxReview = 8 << 20
	// maxBodies bounds all bodies that are being read at once, in bytes. Of whoever reaches the port some are not the API server.
	maxBodies = 32 << 20
	// firstRead is what one body may take without a look at the others.
	firstRead = 16 << 10
)

var (
	errTooLarge   = errors.New("too large")
	errBodyBudget = errors.New("no room")
)

// bodies bounds the memory of bodies. What a body takes it takes as it arrives: one that is only announced costs nothing.
type bodies struct{ taken atomic.Int64 }

func (b *bodies) take(n int) bool {
	if b.taken.Add(int64(n)) > maxBodies {
		b.taken.Add(-int64(n))
		return false
	}
	return true
}

// read reads a body and hands it to use. The body must not be kept.
func (b *bodies) read(r io.Reader, use func([]byte) error) error {
	taken := firstRead
	if !b.take(taken) {
		return errBodyBudget
	}
	defer func() { b.taken.Add(-int64(taken)) }()
	body := make([]byte, 0, firstRead)
	for {
		if len(body) == cap(body) {
			// Twice as much, of which the old half lives until it is copied.
			next := min(2*cap(body), MaxReview+1)
			if !b.take(next) {
				return errBodyBudget
			}
			taken += next
			body = append(make([]byte, 0, next), body...)
		}
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if len(body) > MaxReview {
			return errTooLarge
		}
		if errors.Is(err, io.EOF) {
			return use(body)
		}
		if err != nil {
			return err
		}
	}
}
