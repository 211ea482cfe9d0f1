package alicloud

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	// fetchTimeout bounds one renewal with its tries.
	fetchTimeout = 30 * time.Second
	// spare is how long before their end credentials count as ended: a request is under way for a while. One that comes
	// too late all the same is refused, and sent again with new ones.
	spare = time.Second
)

// credential signs requests. It must never be printed.
type credential struct {
	id, secret, token string
	// expires is zero if it does not end.
	expires time.Time
}

// Format keeps it out of logs.
func (credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "REDACTED") }

// redactor returns a function that takes the credential and a signature out of a text, URL-encoded up to twice too: a
// string to sign is the encoding of an encoding.
func (c credential) redactor(more ...string) func(string) string {
	var pairs []string
	for _, s := range append([]string{c.token, c.secret, c.id}, more...) {
		if len(s) < 4 {
			continue // would be found everywhere
		}
		once := url.QueryEscape(s)
		twice := url.QueryEscape(once)
		percent := strings.ReplaceAll(url.QueryEscape(strings.NewReplacer("+", "%20", "*", "%2A", "%7E", "~").Replace(once)), "+", "%20")
		pairs = append(pairs, twice, "REDACTED", percent, "REDACTED", once, "REDACTED", s, "REDACTED")
	}
	return strings.NewReplacer(pairs...).Replace
}

// credentials hands out what requests are signed with.
type credentials interface {
	// get returns a credential that has not ended.
	get(ctx context.Context) (credential, *Error)
	// drop is told that one was not accepted, and returns whether the next get may return another.
	drop(credential) bool
	// wait waits until nothing is under way any more; the client is closed already.
	wait()
}

func (c *Client) credentialsOf(config Credentials) (credentials, error) {
	switch config.Source {
	case SourceRRSA:
		role, err := roleFromEnvironment()
		if err != nil {
			return nil, err
		}
		role.client = c
		return &keeper{closed: c.closed, service: sts, action: assumeRole, fetch: role.fetch}, nil
	case SourceECSRole:
		return &keeper{closed: c.closed, service: ecs, action: metadataAction, fetch: newMetadata(c, config).fetch}, nil
	default:
		return newAccessKey(config)
	}
}

// keeper keeps a credential that ends, and renews it in time. However many ask, one renewal is under way; while the old
// one is good nobody waits for it.
type keeper struct {
	closed context.Context
	// service and action are whom fetch asks, for errors.
	service service
	action  string
	fetch   func(context.Context) (credential, *Error)

	mu      sync.Mutex
	held    credential
	renewAt time.Time
	flight  *flight
}

// Format keeps what is kept out of logs.
func (*keeper) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "REDACTED") }

// flight is one renewal; its results are set before landed is closed.
type flight struct {
	landed chan struct{}
	got    credential
	err    *Error
}

func (k *keeper) get(ctx context.Context) (credential, *Error) {
	k.mu.Lock()
	now := time.Now()
	good := k.held.id != "" && now.Before(k.held.expires.Add(-spare))
	if (!good || !now.Before(k.renewAt)) && k.flight == nil && k.closed.Err() == nil {
		k.start()
	}
	held, f := k.held, k.flight
	k.mu.Unlock()
	if good {
		return held, nil
	}
	if f == nil {
		return credential{}, &Error{Kind: Unavailable, Service: k.service.name, Action: k.action, Text: "the client was closed", cause: context.Canceled}
	}
	select {
	case <-ctx.Done():
		return credential{}, &Error{Kind: Unavailable, Service: k.service.name, Action: k.action, Text: "no credentials in time", cause: ctx.Err()}
	case <-f.landed:
		return f.got, f.err
	}
}

// start begins a renewal. The lock is held.
func (k *keeper) start() {
	f := &flight{landed: make(chan struct{})}
	k.flight = f
	go func() {
		ctx, cancel := context.WithTimeout(k.closed, fetchTimeout)
		defer cancel()
		f.got, f.err = k.fetch(ctx)
		k.mu.Lock()
		k.flight = nil
		k.land(f)
		k.mu.Unlock()
		close(f.landed)
	}()
}

// land takes over what a renewal brought. The lock is held.
func (k *keeper) land(f *flight) {
	now := time.Now()
	if f.err != nil {
		// The old one serves on. Asked anew soon, but not by every call.
		k.renewAt = now.Add(max(time.Second, min(time.Minute, k.held.expires.Sub(now)/10)))
		return
	}
	k.held = f.got
	life := f.got.expires.Sub(now)
	// Not all nodes at once.
	k.renewAt = f.got.expires.Add(-life/5 - time.Duration(rand.Int64N(int64(life/20)+1))) //nolint:gosec // spreads load, hides nothing
}

// drop forgets the credential if it is still the one that was refused.
func (k *keeper) drop(c credential) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == c {
		k.held = credential{}
	}
	return true
}

func (k *keeper) wait() {
	// The client is closed: whoever holds the lock after this begins nothing.
	k.mu.Lock()
	f := k.flight
	k.mu.Unlock()
	if f != nil {
		<-f.landed
	}
}

// unauthenticated is the Error of credentials that could not be had.
func (s service) unauthenticated(action, text string) *Error {
	return &Error{Kind: Unauthenticated, Service: s.name, Action: action, Text: text}
}

// expiring reads the answer of a service that gives credentials; all forms have these members.
func expiring(s service, action string, o object) (credential, *Error) {
	c := credential{id: o.said("AccessKeyId"), secret: o.said("AccessKeySecret"), token: o.said("SecurityToken")}
	expires, err := time.Parse(time.RFC3339, o.said("Expiration"))
	switch {
	case c.id == "" || c.secret == "" || c.token == "" || err != nil:
		return credential{}, s.unauthenticated(action, "the answer holds no complete credentials")
	case time.Until(expires) <= spare:
		return credential{}, s.unauthenticated(action, "the credentials that were given have ended already: check this machine's clock")
	}
	c.expires = expires
	return c, nil
}
