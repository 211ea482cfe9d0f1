package securitycenter

import "time"

// wanted is what one namespace has to have, and what has to go from it.
type wanted struct {
	objects []want
	gone    []removed
}

// wanted returns what has to be done in a namespace, nil before anything is known.
func (e *engine) wanted(ns string) (*wanted, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.loaded {
		return nil, nil
	}
	w := &wanted{}
	if sp := e.state[ns]; sp != nil {
		var err error
		if w.objects, err = sp.wants(ns); err != nil {
			return nil, err
		}
	}
	outage := e.failing && time.Since(e.listed) >= outageShown*e.Interval
	there := map[removed]bool{}
	for i := range w.objects {
		o := &w.objects[i]
		there[removed{o.namespace, o.kind, o.name}] = true
		if outage && (o.condition.reason == "" || o.condition.reason == ReasonInSync || o.condition.reason == ReasonHeldBack) {
			o.condition = e.failure
		}
	}
	for _, kind := range []string{kindPolicy, kindAuthority} { // a policy goes before its authorities
		for r := range e.removed {
			switch {
			case r.namespace != ns || r.kind != kind:
			case there[r]:
				delete(e.removed, r) // it is wanted again
			default:
				w.gone = append(w.gone, r)
			}
		}
	}
	return w, nil
}

// isGone notes that an object is no longer there.
func (e *engine) isGone(r removed) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.removed, r)
}

// takeAlternative gives an object the other name, because a user's object has the plain one. It returns false if it has
// the other one already.
func (e *engine) takeAlternative(w *want) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	sp := e.state[w.namespace]
	if sp == nil {
		return true // nothing is wanted any more
	}
	if a := sp.authorities[w.cloud]; w.kind == kindAuthority && a != nil && !a.alternative {
		a.alternative = true
		return true
	}
	if p := sp.policies[w.cloud]; w.kind == kindPolicy && p != nil && !p.alternative {
		p.alternative = true
		return true
	}
	return false
}

// confirmed notes that somebody deleted a policy's object. That confirms a removal that is held back, so the policy is
// given up and true returned; one that Security Center still has on is made again.
func (e *engine) confirmed(ns, policy string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	sp := e.state[ns]
	if sp == nil || sp.policies[policy] == nil || e.last == nil {
		return false
	}
	if _, on := e.last.rule(ns, policy); on {
		return false
	}
	delete(sp.policies, policy)
	needed := map[string]bool{}
	for _, p := range sp.policies {
		for _, w := range p.witnesses {
			needed[w] = true
		}
	}
	for w, a := range sp.authorities {
		if !needed[w] {
			e.removed[removed{ns, kindAuthority, nameOf(w, a.alternative)}] = true
			delete(sp.authorities, w)
		}
	}
	if len(sp.policies) == 0 {
		delete(e.state, ns)
	}
	e.metrics.count(e.state)
	return true
}
