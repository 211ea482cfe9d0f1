package verifier

// side is the half of the rules that governs one namespace: the floor's, or the cluster's.
type side struct {
	floor    bool
	policies []*policy
	allow    []allowEntry
	dryRun   bool
	// ignoreAllow and ignoreDryRun are the floor's word about the cluster.
	ignoreAllow, ignoreDryRun bool
}

// soft says whether dry run is on: for the side as a whole, or in every one of its policies.
func (s side) soft() bool {
	if s.ignoreDryRun {
		return false
	}
	for _, p := range s.policies {
		if !p.dryRun {
			return s.dryRun
		}
	}
	return len(s.policies) > 0
}

// judge decides about one side in the order: name, allow-lists, content, attestations.
func (q *inquiry) judge(s side) finding {
	f := q.judgeName(s)
	f.soft = f.outcome != Allowed && s.soft()
	return f
}

func (q *inquiry) judgeName(s side) finding {
	if q.req.Restored {
		return finding{outcome: Denied, reason: Checkpoint, detail: detailCheckpoint}
	}
	if q.handlerRefused {
		return finding{outcome: Denied, reason: RuntimeHandler, detail: why(detailRuntimeHandler, q.req.RuntimeHandler)}
	}
	if err := q.read(); err != nil {
		return finding{outcome: Denied, reason: InvalidReference, detail: why(detailInvalidReference, err.Error())}
	}
	listed, doubt := q.judgeAllowlists(s)
	if listed {
		return doubt
	}
	f := q.judgeContent(s)
	// An allow-listed name whose content is not what runs (or nobody knows) may still be attested. If it is not, the
	// name is the more telling reason; a doubt about attestations stays a doubt.
	if f.outcome == Denied && doubt.reason != "" {
		doubt.policies = f.policies
		return doubt
	}
	return f
}

// judgeAllowlists returns true and the finding if the name is allow-listed and its content is what runs. If it is
// listed and that could not be shown, it returns why.
func (q *inquiry) judgeAllowlists(s side) (bool, finding) {
	entry, owner := s.listed(q.req)
	if entry == nil {
		return false, finding{}
	}
	named, err := q.named()
	switch {
	case err != nil:
		return false, finding{outcome: CouldNotTell, reason: RuntimeFailed, detail: why(detailRuntimeFailed, err.Error())}
	case !named:
		return false, finding{outcome: Denied, reason: DigestMismatch, detail: why(detailNameElsewhere, entry.object)}
	}
	f := finding{outcome: Allowed, reason: AllowListed,
		allowedBy: &AllowMatch{Object: entry.object, Pattern: entry.text, Reason: entry.reason, Expires: entry.expires}}
	if owner != nil {
		f.policies = []PolicyResult{{Namespace: owner.namespace, Name: owner.name, Floor: s.floor, Satisfied: true,
			Why: why(whyAllowed, entry.text)}}
	}
	return true, f
}

// listed returns the first entry that covers the name, and the policy that it belongs to if it is a policy's.
func (s side) listed(req Request) (*allowEntry, *policy) {
	for i := range s.allow {
		if s.allow[i].covers(req, s.floor) {
			return &s.allow[i], nil
		}
	}
	if s.ignoreAllow {
		return nil, nil
	}
	for _, p := range s.policies {
		for i := range p.allow {
			if p.allow[i].covers(req, s.floor) {
				return &p.allow[i], p
			}
		}
	}
	return nil, nil
}

// judgeContent finds out which digests lead to the content that runs, and asks the policies about them.
func (q *inquiry) judgeContent(s side) finding {
	if q.ref.Digest == "" && !s.resolves() {
		return q.judgeTag(s)
	}
	digests, err := q.digests()
	switch {
	case err != nil:
		return finding{outcome: CouldNotTell, reason: RuntimeFailed, detail: why(detailRuntimeFailed, err.Error())}
	case len(digests) == 0 && q.ref.Digest == "":
		return finding{outcome: Denied, reason: DigestMismatch, detail: detailTagElsewhere}
	case len(digests) == 0:
		return finding{outcome: Denied, reason: DigestMismatch, detail: detailDigestElsewhere}
	}
	return q.judgePolicies(s, digests)
}

func (s side) resolves() bool {
	for _, p := range s.policies {
		if p.resolve {
			return true
		}
	}
	return false
}

// judgeTag denies an image without a digest, and tells the digest to use if this node happens to know it.
func (q *inquiry) judgeTag(s side) finding {
	f := finding{outcome: Denied, reason: TagReference, detail: detailTag}
	if digests, err := q.digests(); err == nil && len(digests) > 0 {
		f.detail = why(detailTagKnown, string(digests[0]))
	}
	for _, p := range s.policies {
		f.record(PolicyResult{Namespace: p.namespace, Name: p.name, Floor: s.floor, Why: whyTag})
	}
	return f
}

// judgePolicies looks for one satisfied policy. That none is satisfied is certain only if none may be.
func (q *inquiry) judgePolicies(s side, digests []Digest) finding {
	f := finding{outcome: Denied, reason: NotAttested}
	unknown := false
	for _, p := range s.policies {
		result, state := q.askPolicy(p, digests)
		result.Floor = s.floor
		f.record(result)
		if state == attests {
			f.outcome, f.reason = Allowed, Attested
			return f
		}
		unknown = unknown || state == mayAttest
	}
	if unknown {
		f.outcome, f.reason = CouldNotTell, SourceFailed
		f.detail = why(detailSourceFailed, q.trouble())
		return f
	}
	f.detail = notAttestedDetail(f.policies)
	return f
}

// askPolicy asks every authority of a policy, so that the evidence is complete. All must attest.
func (q *inquiry) askPolicy(p *policy, digests []Digest) (PolicyResult, state) {
	result := PolicyResult{Namespace: p.namespace, Name: p.name}
	switch {
	case p.why != "":
		result.Why = p.why
		return result, doesNot
	case q.ref.Digest == "" && !p.resolve:
		result.Why = whyTag
		return result, doesNot
	}
	weakest, missing := attests, false
	for _, a := range p.authorities {
		r, state := q.askAuthority(a, digests)
		switch {
		case len(result.Authorities) < maxResults:
			result.Authorities = append(result.Authorities, r)
		case !missing && !r.Attested: // who is missing is what people have to know
			result.Authorities[maxResults-1] = r
			result.Omitted++
		default:
			result.Omitted++
		}
		missing = missing || !r.Attested
		weakest = min(weakest, state)
	}
	if len(p.authorities) == 0 {
		weakest = doesNot
	}
	result.Satisfied = weakest == attests
	return result, weakest
}
