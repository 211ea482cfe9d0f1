package securitycenter

import (
	"fmt"
	"maps"
	"slices"

	"github.com/kritis-node/kritis-node/policyagent/alicloud"
	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/verifier"
)

// state is what is in force: what objects there have to be, by namespace.
type state map[string]*space

// space is a namespace's part of it, by the names that Security Center uses.
type space struct {
	authorities map[string]*authority
	policies    map[string]*policy
}

type authority struct {
	alternative bool  // a user's object has the plain name
	keys        []key // the one that the witness names first; none: nothing attests
	condition   condition
}

type policy struct {
	alternative bool
	witnesses   []string // sorted
	condition   condition
}

func (s state) space(ns string) *space {
	if s[ns] == nil {
		s[ns] = &space{authorities: map[string]*authority{}, policies: map[string]*policy{}}
	}
	return s[ns]
}

// removed is an object that is no longer wanted.
type removed struct {
	namespace, kind, name string
}

// step is one listing, and the one directly before it.
type step struct {
	last *listing
	// before is nil unless the sync before was complete as well.
	before  *listing
	keys    map[alicloud.KeyReference]*entry
	keepOld bool
	cluster string
}

// agreed says whether something may be believed that both listings say.
func (st step) agreed() bool { return st.last.mayRemove() && st.before.mayRemove() }

// advance changes the state to what the listings say. What is added counts at once. What could loosen counts if two
// consecutive listings without a flaw agree on it; until then everything stays as it was, and the condition says so.
// It returns the policies and authorities that have to go.
func (s state) advance(st step) []removed {
	var gone []removed
	for ns := range st.last.rules {
		s.space(ns)
	}
	for ns, sp := range s {
		for name := range st.last.rules[ns] {
			if sp.policies[name] == nil {
				sp.policies[name] = &policy{witnesses: st.last.rules[ns][name]}
			}
		}
		for name, p := range sp.policies {
			if !p.advance(st, ns, name) {
				gone = append(gone, removed{ns, kindPolicy, nameOf(name, p.alternative)})
				delete(sp.policies, name)
			}
		}
		needed := map[string]bool{}
		for _, p := range sp.policies {
			for _, w := range p.witnesses {
				needed[w] = true
			}
		}
		for name, a := range sp.authorities {
			if !needed[name] {
				gone = append(gone, removed{ns, kindAuthority, nameOf(name, a.alternative)})
				delete(sp.authorities, name)
			}
		}
		for w := range needed {
			if sp.authorities[w] == nil {
				sp.authorities[w] = &authority{}
			}
			sp.authorities[w].advance(st, w)
		}
		if len(sp.policies) == 0 {
			delete(s, ns)
		}
	}
	return gone
}

// advance returns false if the policy has to go.
func (p *policy) advance(st step, ns, name string) bool {
	p.condition = inSync
	wanted, ok := st.last.rules[ns][name]
	if !ok {
		if _, was := st.before.rule(ns, name); st.agreed() && !was {
			return false
		}
		p.condition = held(st, fmt.Sprintf(textHeldPolicy, brief(name), st.cluster), ns)
		return true
	}
	earlier, was := st.before.rule(ns, name)
	var extra []string
	for _, w := range p.witnesses {
		left := st.agreed() && was && !slices.Contains(earlier, w)
		if !slices.Contains(wanted, w) && !left {
			extra = append(extra, w)
		}
	}
	p.witnesses = slices.Compact(slices.Sorted(slices.Values(slices.Concat(wanted, extra))))
	switch missing := st.last.missing(wanted); {
	case len(missing) > 0:
		p.condition = condition{ReasonWitnessMissing, fmt.Sprintf(textMissing, list(missing))}
	case len(extra) > 0:
		p.condition = held(st, fmt.Sprintf(textHeldWitness, list(extra)), ns)
	}
	return true
}

func (l *listing) rule(ns, policy string) ([]string, bool) {
	if l == nil {
		return nil, false
	}
	witnesses, ok := l.rules[ns][policy]
	return witnesses, ok
}

// missing are those witnesses that the listing lacks.
func (l *listing) missing(witnesses []string) []string {
	var missing []string
	for _, w := range witnesses {
		if !l.knows(w) {
			missing = append(missing, w)
		}
	}
	return missing
}

// advance gives an authority the key that its witness names. A key that is known is never given up for one that is not.
func (a *authority) advance(st step, witness string) {
	a.condition = inSync
	ref, ok := st.last.witnesses[witness]
	switch {
	case st.last.unreadable[witness] != nil:
		a.condition = condition{ReasonKeyUnfit, withKnown(a, v1beta1.Message(st.last.unreadable[witness].Error()))}
		return
	case !ok:
		a.condition = condition{ReasonWitnessMissing, withKnown(a, fmt.Sprintf(textMissing, list([]string{witness})))}
		return
	}
	e := st.keys[ref]
	if e == nil {
		e = &entry{}
	}
	switch {
	case e.known && (len(a.keys) == 0 || a.keys[0].ref == ref || a.keys[0].PEM == e.pub.PEM):
		a.take(key{ref, e.pub}, st.keepOld)
	case len(a.keys) == 0 || a.keys[0].ref == ref:
		// Nothing is known, or nothing new.
	case !st.agreed() || !st.before.named(witness, ref):
		a.condition = held(st, fmt.Sprintf(textHeldKey, brief(ref.ID)), "")
	case e.known:
		a.take(key{ref, e.pub}, st.keepOld)
	}
	if c, failing := e.condition(); failing && a.condition.reason != ReasonHeldBack {
		a.condition = condition{c.reason, withKnown(a, c.message)}
	}
}

func (l *listing) named(witness string, ref alicloud.KeyReference) bool {
	named, ok := l.witnesses[witness]
	return ok && named == ref
}

// take puts a key first. Of the others only versions of the same key stay, and only if wanted.
func (a *authority) take(k key, keepOld bool) {
	all := []key{k}
	for _, old := range a.keys {
		if keepOld && old.ID == k.ID && old.ref.Region == k.ref.Region && old.PEM != k.PEM {
			all = append(all, old)
		}
	}
	a.keys = all[:min(len(all), verifier.MaxKeys)]
}

func withKnown(a *authority, text string) string {
	if len(a.keys) == 0 {
		return text + textNoKey
	}
	return text + textKnownKey
}

// references are the keys that a listing's policies need.
func (l *listing) references() []alicloud.KeyReference {
	all := map[alicloud.KeyReference]bool{}
	for _, rules := range l.rules {
		for _, witnesses := range rules {
			for _, w := range witnesses {
				if ref, ok := l.witnesses[w]; ok {
					all[ref] = true
				}
			}
		}
	}
	return slices.Collect(maps.Keys(all))
}
