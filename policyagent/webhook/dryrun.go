package webhook

import (
	"context"

	"github.com/kritis-node/kritis-node/verifier"
)

// UnsafeDryRun returns a source whose policies are all in dry run: whatever fails is let pass, with warnings and events.
func UnsafeDryRun(source PolicySource) PolicySource { return dryRun{source} }

type dryRun struct{ PolicySource }

// Watch implements PolicySource.
func (d dryRun) Watch(ctx context.Context, onChange func(verifier.Document, []string, error)) error {
	return d.PolicySource.Watch(ctx, func(policy verifier.Document, notices []string, err error) {
		policy.DryRun = true
		onChange(policy, notices, err)
	})
}

// Unsafe lists dry run, and what the source has besides.
func (d dryRun) Unsafe() []string {
	all := []string{"dry run is on, so images that fail are admitted here all the same"}
	if u, ok := d.PolicySource.(unsafe); ok {
		all = append(all, u.Unsafe()...)
	}
	return all
}

// Problems are the source's.
func (d dryRun) Problems() []verifier.Problem {
	if p, ok := d.PolicySource.(interface{ Problems() []verifier.Problem }); ok {
		return p.Problems()
	}
	return nil
}
