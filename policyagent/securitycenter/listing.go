package securitycenter

import (
	"fmt"
	"slices"

	"github.com/kritis-node/kritis-node/policyagent/alicloud"
)

// maxRules bounds how many policies there may be in namespaces, together: each is an object.
const maxRules = 5000

// listing is what Security Center said at one moment, as far as this cluster is concerned.
type listing struct {
	rules     map[string]map[string][]string // witnesses by namespace and policy, sorted
	witnesses map[string]alicloud.KeyReference
	// unreadable are witnesses whose key cannot even be named.
	unreadable map[string]error
	// flaw is why nothing may be removed on this listing's account; empty: there is nothing amiss with it.
	flaw string
}

// newListing reads a complete listing. It fails if that says nothing certain at all.
func newListing(cluster string, policies []alicloud.SecurityPolicy, witnesses []alicloud.Witness) (*listing, error) {
	l := &listing{rules: map[string]map[string][]string{}, witnesses: map[string]alicloud.KeyReference{}, unreadable: map[string]error{}}
	for _, w := range witnesses {
		if l.knows(w.Name) || w.Name == "" {
			return nil, fmt.Errorf(textTwice, "witness", brief(w.Name))
		}
		ref, err := keyReference(w)
		if err != nil {
			l.unreadable[w.Name] = err
			continue
		}
		l.witnesses[w.Name] = ref
	}
	seen := map[string]bool{}
	for _, p := range policies {
		if seen[p.Name] || p.Name == "" {
			return nil, fmt.Errorf(textTwice, "policy", brief(p.Name))
		}
		seen[p.Name] = true
		if p.Enabled {
			l.add(cluster, p)
		}
	}
	count := 0
	for _, rules := range l.rules {
		count += len(rules)
	}
	switch {
	case count > maxRules:
		return nil, fmt.Errorf(textTooMany, count, maxRules)
	case len(policies) == 0:
		l.flaw = textNoPolicies
	case len(witnesses) == 0:
		l.flaw = textNoWitnesses
	}
	return l, nil
}

func (l *listing) knows(witness string) bool {
	_, readable := l.witnesses[witness]
	return readable || l.unreadable[witness] != nil
}

// add takes an enabled policy in. What it does not say as expected is a flaw: it must not be taken for a no.
func (l *listing) add(cluster string, p alicloud.SecurityPolicy) {
	witnesses := slices.Compact(slices.Sorted(slices.Values(p.Witnesses)))
	for _, scope := range p.Scopes {
		if scope.ClusterID != cluster {
			continue
		}
		if len(scope.Namespaces) == 0 {
			l.flaw = fmt.Sprintf(textNoNamespaces, brief(p.Name))
		}
		if len(witnesses) == 0 {
			l.flaw = fmt.Sprintf(textNoWitness, brief(p.Name))
		}
		for _, ns := range scope.Namespaces {
			if !namespace.MatchString(ns) {
				l.flaw = fmt.Sprintf(textNamespaceName, brief(p.Name), brief(ns))
				continue
			}
			if l.rules[ns] == nil {
				l.rules[ns] = map[string][]string{}
			}
			l.rules[ns][p.Name] = witnesses
		}
		for _, w := range witnesses {
			if !l.knows(w) {
				l.flaw = fmt.Sprintf(textWitnessUnlisted, brief(p.Name), brief(w))
			}
		}
	}
	if len(p.Scopes) == 0 {
		l.flaw = fmt.Sprintf(textNoClusters, brief(p.Name))
	}
}

// mayRemove says whether what a listing lacks may be believed to be gone.
func (l *listing) mayRemove() bool { return l != nil && l.flaw == "" }

// keyReference says which key a witness names. The region of an ARN is part of the key's name, so it counts before the
// witness' own.
func keyReference(w alicloud.Witness) (alicloud.KeyReference, error) {
	ref, err := alicloud.ParseKeyReference(w.KeyID)
	if err != nil {
		return ref, err
	}
	if ref.Region == "" {
		ref.Region = w.KeyRegion
	}
	if w.KeyVersion != "" {
		ref.Version = w.KeyVersion
	}
	return ref, nil
}

func brief(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}
