package webhook

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/kritis-node/kritis-node/verifier"
)

// scripted is a source of policies that says what a test wants.
type scripted struct {
	steps chan func(func(verifier.Document, []string, error))
}

func (scripted) Name() string { return "scripted" }
func (s scripted) Watch(ctx context.Context, onChange func(verifier.Document, []string, error)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case step, ok := <-s.steps:
			if !ok {
				return errors.New("gone")
			}
			step(onChange)
		}
	}
}

// The last good policies stay in force; before there were any, nobody knows.
func TestFollow(t *testing.T) {
	s := scripted{make(chan func(func(verifier.Document, []string, error)))}
	f := Follow(s, nil, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	say := func(d verifier.Document, err error) {
		said := make(chan struct{})
		s.steps <- func(onChange func(verifier.Document, []string, error)) { onChange(d, nil, err); close(said) }
		<-said
	}
	if _, err := f.Rules(); err == nil || err.Error() != textNotLoaded {
		t.Error(err)
	}
	say(verifier.Document{}, errors.New("broken"))
	if _, err := f.Rules(); err == nil || err.Error() != "broken" {
		t.Error(err)
	}
	say(document(), nil)
	say(verifier.Document{}, errors.New("broken"))
	rules, err := f.Rules()
	if err != nil {
		t.Fatal(err)
	}
	if v := rules.Decide(verifier.Request{Namespace: "default", Image: "x:1"}, named{}, nil); v.Reason != verifier.TagReference {
		t.Errorf("%+v", v)
	}
	close(s.steps)
	if err := <-done; err == nil || err.Error() != "watching policies in scripted: gone" {
		t.Error(err)
	}
}
