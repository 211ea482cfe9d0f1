package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/kritis-node/kritis-node/policyagent/alicloud/recheck"
	"github.com/kritis-node/kritis-node/verifier"
)

// remoteFlags say whether KMS is asked about signatures that count.
type remoteFlags struct {
	wanted bool
	cloud  *cloudFlags
}

// add adds the flags to those that say how the cloud is reached.
func (r *remoteFlags) add(f *pflag.FlagSet, cloud *cloudFlags) {
	r.cloud = cloud
	f.BoolVar(&r.wanted, "remote", false, "ask Alibaba Cloud KMS about the signatures that count, too")
}

// record returns what remembers attestations, if they are asked about.
func (r *remoteFlags) record() *recheck.Recorded {
	if !r.wanted {
		return nil
	}
	return &recheck.Recorded{}
}

// check asks KMS about an answer that rests on signatures. What KMS contradicts is denied. If it cannot be asked, nobody can tell.
func (r *remoteFlags) check(ctx context.Context, a *answer, recorded *recheck.Recorded) error {
	if !r.wanted || a.Verdict.Outcome != verifier.Allowed || a.Verdict.Reason != verifier.Attested {
		return nil
	}
	client, err := r.cloud.client()
	if err != nil {
		return err
	}
	defer client.Close()
	results, err := recheck.Check(ctx, client, a.Verdict, recorded)
	for _, result := range results {
		a.Notes = append(a.Notes, fmt.Sprintf("KMS agrees: key %s, version %s, for authority %s of policy %s", result.Key, result.Version, result.Authority, result.Policy))
	}
	if errors.Is(err, recheck.ErrRefused) {
		a.Admitted, a.Verdict = false, verifier.Verdict{Outcome: verifier.Denied, Reason: verifier.NotAttested, Detail: err.Error(), Policies: a.Verdict.Policies}
		a.Message = verifier.Message(a.Image, a.Verdict)
		return nil
	}
	if err != nil {
		return fmt.Errorf("asking KMS: %w", err)
	}
	return nil
}
