package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/kritis-node/kritis-node/verifier"
)

// RuleSource says what applies now. It answers from memory. An error means that nobody knows, so nothing is attested.
type RuleSource interface {
	Rules() (verifier.Rules, error)
}

// PolicySource is where policies come from, as for the policy agent: a folder of them, say.
type PolicySource interface {
	// Name says for people which source this is.
	Name() string
	// Watch calls onChange with the policy and notices about it, or with why it cannot be had: once at the beginning
	// and on each change, one call at a time. It returns nil when the context ends.
	Watch(ctx context.Context, onChange func(policy verifier.Document, notices []string, err error)) error
}

// Followed are the rules of a source of policies that is watched. Once there were any, the last good ones stay in force.
type Followed struct {
	source PolicySource
	floor  *verifier.Floor
	log    *slog.Logger

	mu    sync.Mutex
	rules verifier.Rules
	err   error
}

var _ RuleSource = (*Followed)(nil)

// Follow returns the rules of a source. They change while Run runs. A floor is put beside them; nil is none.
func Follow(source PolicySource, floor *verifier.Floor, log *slog.Logger) *Followed {
	return &Followed{source: source, floor: floor, log: log, err: errors.New(textNotLoaded)}
}

// Rules implements RuleSource.
func (f *Followed) Rules() (verifier.Rules, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rules, f.err
}

// Unsafe lists what loosens security in how the source is reached.
func (f *Followed) Unsafe() []string {
	if u, ok := f.source.(unsafe); ok {
		return u.Unsafe()
	}
	return nil
}

// Run follows the source until the context ends, and returns nil then.
func (f *Followed) Run(ctx context.Context) error {
	if err := f.source.Watch(ctx, f.apply); err != nil {
		return fmt.Errorf("watching policies in %s: %w", f.source.Name(), err)
	}
	return nil
}

func (f *Followed) apply(document verifier.Document, notices []string, err error) {
	if err != nil {
		f.log.Error("policies cannot be loaded; the last good ones stay in force", "source", f.source.Name(), "error", err)
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.rules.Cluster == nil {
			f.err = err
		}
		return
	}
	set, problems := verifier.Compile(document)
	if p, ok := f.source.(interface{ Problems() []verifier.Problem }); ok {
		problems = slices.Concat(p.Problems(), problems) // what could not even be read
	}
	f.mu.Lock()
	f.rules, f.err = verifier.Rules{Floor: f.floor, Cluster: set}, nil
	f.mu.Unlock()
	f.log.Info("policies changed", "authorities", len(document.Authorities), "policies", len(document.Policies),
		"allowlist", len(document.Allowlist), "problems", len(problems))
	const most = 20
	for _, n := range notices[:min(len(notices), most)] {
		f.log.Warn("policies loaded with a notice", "notice", n)
	}
	for _, p := range problems[:min(len(problems), most)] {
		f.log.Warn("policy cannot be used as written", "object", p.Object, "field", p.Field, "code", p.Code, "problem", p.Text)
	}
}
