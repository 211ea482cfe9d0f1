package kube

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/verifier"
)

// within fails a test that hangs.
const within = 20 * time.Second

// seen is what was told at one moment.
type seen struct {
	document verifier.Document
	problems []verifier.Problem
	err      error
}

// names lists the names of what is in a document.
func (s seen) names() string {
	var all []string
	for _, a := range s.document.Authorities {
		all = append(all, "a:"+a.Namespace+"/"+a.Name)
	}
	for _, p := range s.document.Policies {
		all = append(all, "p:"+p.Namespace+"/"+p.Name)
	}
	for _, l := range s.document.Allowlist {
		all = append(all, "l:"+l.Pattern)
	}
	return strings.Join(all, " ")
}

// follow watches until the test ends.
func follow(t *testing.T, a *api) <-chan seen {
	t.Helper()
	p := NewPolicies(a.server())
	ctx, cancel := context.WithCancel(t.Context())
	told, done := make(chan seen, 1000), make(chan error)
	go func() {
		done <- p.Watch(ctx, func(d verifier.Document, _ []string, err error) { told <- seen{d, p.Problems(), err} })
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(within):
			t.Error("the watch does not end")
		}
	})
	return told
}

// await returns what is told once it has these names; an error if the name is "!".
func await(t *testing.T, told <-chan seen, want string) seen {
	t.Helper()
	for deadline := time.After(within); ; {
		select {
		case s := <-told:
			if s.err == nil && s.names() == want || s.err != nil && want == "!" {
				return s
			}
			if s.err == nil && want == "!" {
				t.Fatalf("told %q, want an error", s.names())
			}
		case <-deadline:
			t.Fatalf("%q was not told", want)
		}
	}
}

// silence fails if anything but errors is told for a while.
func silence(t *testing.T, told <-chan seen, d time.Duration) {
	t.Helper()
	for deadline := time.After(d); ; {
		select {
		case s := <-told:
			if s.err == nil {
				t.Fatalf("told %q", s.names())
			}
		case <-deadline:
			return
		}
	}
}

const qaSpec = `"spec":{"attestationAuthorityNames":["qa"]}`
