package verifier

import "slices"

// Rules are what applies on a node: what its owner demands, and what the cluster does.
type Rules struct {
	// Floor is the owner's minimum. Nil demands nothing but the usual runtime handlers, and exempts kube-system while
	// no policy has arrived.
	Floor *Floor
	// Cluster is nil if no snapshot of the cluster's policies has ever arrived on this node.
	Cluster *PolicySet
}

// Decide says whether an image may run. It asks content and attestations only what the policies make necessary, and
// nothing twice. It never fails: what goes wrong is CouldNotTell.
func (r Rules) Decide(req Request, content Content, attestations Attestations) (v Verdict) {
	defer func() {
		// A bug here, or in a source, must not become a hole or take the plugin down.
		if recover() != nil {
			v = Verdict{Outcome: CouldNotTell, Reason: Internal, Detail: detailInternal}
		}
	}()
	floor := r.Floor
	if floor == nil {
		floor = defaultFloor()
	}
	listed := slices.Contains(floor.handlers, req.RuntimeHandler)
	if !listed && !floor.handlersByDefault {
		return Verdict{Outcome: Denied, Reason: RuntimeHandler, Detail: why(detailRuntimeHandler, req.RuntimeHandler)}
	}
	q := newInquiry(req, content, attestations)
	q.handlerRefused = !listed
	var findings []finding
	if s := floor.side(req.Namespace); len(s.policies) > 0 {
		findings = append(findings, q.judge(s))
	}
	if r.Cluster == nil || !r.Cluster.compiled {
		findings = append(findings, noSnapshot(floor, req.Namespace))
	} else if s := floor.clusterSide(r.Cluster, req.Namespace); len(s.policies) > 0 {
		findings = append(findings, q.judge(s))
	}
	if len(findings) == 0 {
		return noPolicy(floor, req.Namespace)
	}
	return combine(findings)
}

func noSnapshot(floor *Floor, namespace string) finding {
	if floor.Exempts(namespace) {
		return finding{outcome: Allowed, reason: Bootstrapping}
	}
	return finding{outcome: CouldNotTell, reason: NoSnapshot, detail: detailNoSnapshot}
}

func noPolicy(floor *Floor, namespace string) Verdict {
	if floor.denyWithoutPolicy {
		return Verdict{Outcome: Denied, Reason: NoPolicyDenied, Detail: why(detailNoPolicyDenied, namespace)}
	}
	return Verdict{Outcome: Allowed, Reason: NoPolicy}
}

// combine joins the floor's finding and the cluster's: both must allow. Of several failures the one that decides is
// told: one that dry run does not soften before one that it does, then a denial before a doubt, then the floor's.
func combine(findings []finding) Verdict {
	var v Verdict
	var evidence []PolicyResult
	omitted := 0
	worst := -1
	for i, f := range findings {
		evidence = append(evidence, f.policies...)
		omitted += f.omitted
		if f.outcome != Allowed && (worst < 0 || f.weight() > findings[worst].weight()) {
			worst = i
		}
	}
	if worst >= 0 {
		f := findings[worst]
		v = Verdict{Outcome: f.outcome, Reason: f.reason, Detail: f.detail, DryRun: f.soft}
	} else {
		v = combineAllowed(findings)
	}
	v.Policies, v.Omitted = evidence, omitted
	return v
}

// combineAllowed tells the weakest of the reasons, the one that a reader must know of, and of two allow-lists the entry that ends
// first: with it the verdict does.
func combineAllowed(findings []finding) Verdict {
	v := Verdict{Outcome: Allowed, Reason: Attested}
	for _, f := range findings {
		if f.reason == AllowListed && (v.AllowedBy == nil || f.allowedBy.endsBefore(v.AllowedBy)) {
			v.AllowedBy = f.allowedBy
		}
		if f.reason == Bootstrapping || f.reason == AllowListed && v.Reason == Attested {
			v.Reason = f.reason
		}
	}
	return v
}

// finding is what one side, the floor or the cluster, says. The zero value denies.
type finding struct {
	outcome   Outcome
	reason    Reason
	detail    string
	soft      bool
	policies  []PolicyResult
	allowedBy *AllowMatch
	// evidence is the number of results and attempts in policies, omitted the number of policies that had no room.
	evidence, omitted int
}

// record adds a policy to the evidence, as far as there is room: a namespace may have ten thousand of them, and each
// decision goes to logs and memories.
func (f *finding) record(r PolicyResult) {
	if r.Satisfied {
		f.policies = append(f.policies, r)
		return
	}
	if f.evidence >= MaxEvidence {
		f.omitted++
		return
	}
	f.evidence++
	for i, a := range r.Authorities {
		if f.evidence+1+len(a.Attempts) > MaxEvidence && (i > 0 || len(f.policies) > 0) {
			r.Omitted += len(r.Authorities) - i
			r.Authorities = r.Authorities[:i:i]
			break
		}
		f.evidence += 1 + len(a.Attempts)
	}
	f.policies = append(f.policies, r)
}

func (f finding) weight() int {
	w := 0
	if !f.soft {
		w += 2
	}
	if f.outcome == Denied {
		w++
	}
	return w
}
