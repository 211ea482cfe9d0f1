// Package recheck asks KMS about signatures that were verified here already: `kritis verify --remote`. The answer adds nothing
// to security, since whoever has the public key can verify; it tells whether the authority still names the key that KMS has.
package recheck

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/kritis-node/kritis-node/policyagent/alicloud"
	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/verifier"
)

// maxVersions is how many versions of a key are looked at, the newest first.
const maxVersions = 20

// KMS is what is asked: *alicloud.Client.
type KMS interface {
	KeyVersions(context.Context, alicloud.KeyReference) ([]string, error)
	PublicKey(context.Context, alicloud.KeyReference) (alicloud.PublicKey, error)
	Verify(ctx context.Context, key alicloud.KeyReference, algorithm string, sha256, signature []byte) (bool, error)
}

// ErrRefused is the error of a signature that KMS says is not its key's.
var ErrRefused = errors.New("KMS says that the signature is not the key's, although the authority's public key verifies it: the authority holds a key that KMS does not have; correct it")

// Recorded remembers what sources return. Its zero value remembers nothing yet.
type Recorded struct{ seen []verifier.Attestation }

// Source returns a source that returns what another one does, and remembers it. It is not for several goroutines.
func (r *Recorded) Source(s attestations.Source) attestations.Source { return recorder{s, r} }

type recorder struct {
	attestations.Source
	in *Recorded
}

func (r recorder) Attestations(ctx context.Context, repository string, d verifier.Digest) ([]verifier.Attestation, error) {
	list, err := r.Source.Attestations(ctx, repository, d)
	r.in.seen = append(r.in.seen, list...)
	return list, err
}

// Result is one signature that KMS agreed to.
type Result struct {
	Policy    string `json:"policy"`
	Authority string `json:"authority"`
	Key       string `json:"key"`
	Version   string `json:"version"`
}

// Check asks KMS about the signature of every authority that attests in a verdict. An error means that one of them could not be
// asked about, or for which ErrRefused holds, that KMS contradicts.
func Check(ctx context.Context, kms KMS, v verifier.Verdict, r *Recorded) ([]Result, error) {
	var all []Result
	for _, p := range v.Policies {
		for _, a := range p.Authorities {
			if !a.Attested {
				continue
			}
			result, err := check(ctx, kms, a, r.seen)
			if err != nil {
				return all, fmt.Errorf("authority %s: %w", a.Name, err)
			}
			result.Policy, result.Authority = p.Namespace+"/"+p.Name, a.Name
			all = append(all, result)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no authority attests, so there is nothing to ask KMS about")
	}
	return all, nil
}

func check(ctx context.Context, kms KMS, a verifier.AuthorityResult, seen []verifier.Attestation) (Result, error) {
	if a.Format == verifier.FormatBundle {
		return Result{}, errors.New("what KMS signed in a bundle is not asked about: sign with kritis sign --key alikms://… to check remotely")
	}
	if a.KeyID == "" {
		return Result{}, errors.New("it names no KMS key: set publicKeyId, or keyId, to the key's ID or ARN")
	}
	ref, err := alicloud.ParseKeyReference(a.KeyID)
	if err != nil {
		return Result{}, err
	}
	public, err := find(ctx, kms, ref, a.Fingerprint)
	if err != nil {
		return Result{}, err
	}
	key, err := verifier.ParseKey(verifier.KeySpec{PEM: public.PEM, Algorithms: []string{a.Algorithm}})
	if err != nil {
		return Result{}, err
	}
	for _, statement := range seen {
		if statement.Format != a.Format {
			continue
		}
		for _, s := range statement.Signatures {
			if _, err := key.Verify(statement.Payload, s.Value); err != nil {
				continue
			}
			sum := sha256.Sum256(statement.Payload)
			ref.Version = public.Version
			valid, err := kms.Verify(ctx, ref, a.Algorithm, sum[:], s.Value)
			switch {
			case err != nil:
				return Result{}, err
			case !valid:
				return Result{}, ErrRefused
			}
			return Result{Key: public.ID, Version: public.Version}, nil
		}
	}
	return Result{}, errors.New("the signature that it attests by is gone: try again")
}

// find returns the version of a key that has a fingerprint.
func find(ctx context.Context, kms KMS, ref alicloud.KeyReference, fingerprint string) (alicloud.PublicKey, error) {
	versions := []string{ref.Version}
	if ref.Version == "" {
		var err error
		if versions, err = kms.KeyVersions(ctx, ref); err != nil {
			return alicloud.PublicKey{}, err
		}
	}
	for _, version := range versions[:min(len(versions), maxVersions)] {
		ref.Version = version
		public, err := kms.PublicKey(ctx, ref)
		if err != nil {
			return alicloud.PublicKey{}, err
		}
		if key, err := verifier.ParseKey(verifier.KeySpec{PEM: public.PEM}); err == nil && key.Fingerprint() == fingerprint {
			return public, nil
		}
	}
	return alicloud.PublicKey{}, fmt.Errorf("%w (none of %d versions of %s has the fingerprint %s)", ErrRefused, len(versions), ref.ID, fingerprint)
}
