package verifier

import (
	"errors"
	"fmt"
	"slices"
)

// FloorSpec is the minimum that the owner of a node demands, in plain strings: see docs/floor.md. The cluster's
// policies can add to it and never take away. The zero value demands nothing of its own.
type FloorSpec struct {
	// Document holds authorities, policies and allow-lists that always apply. Its policies' and allow-lists' Namespace
	// may be a pattern (exact, or with "*" for any run of characters); its authorities have no namespace and serve
	// every policy of the floor; its allow-lists and its dry run concern the floor's policies only.
	Document
	// DenyWithoutPolicy denies namespaces for which neither the floor nor the cluster has a policy.
	DenyWithoutPolicy bool
	// BootstrapExempt are namespace patterns whose containers run although no policy snapshot has ever arrived.
	// Nil means kube-system; a list without entries means none.
	BootstrapExempt []string
	// RuntimeHandlers may run, in every namespace. Empty means that where a policy applies only the runtime's default
	// handler ("") and "runc" may, and elsewhere any.
	RuntimeHandlers []string
	// IgnoreClusterDryRun makes the cluster's dry run have no effect on this node.
	IgnoreClusterDryRun bool
	// IgnoreClusterAllowlists makes the cluster's allow-lists, and the patterns of its policies, admit nothing on this
	// node.
	IgnoreClusterAllowlists bool
}

// Floor is a compiled FloorSpec. It does not change. The zero value lists no runtime handler and so lets nothing run.
type Floor struct {
	policies          []*policy
	allow             []allowEntry
	dryRun            bool
	denyWithoutPolicy bool
	bootstrapExempt   []string
	handlers          []string
	// handlersByDefault: nobody wrote the list of handlers. It then binds only namespaces that a policy protects, so
	// that installing the product stops nothing that nobody asked to protect.
	handlersByDefault bool
	ignoreDryRun      bool
	ignoreAllow       bool
}

// defaultFloor is in force where the owner of the node wrote none.
func defaultFloor() *Floor {
	return &Floor{bootstrapExempt: []string{"kube-system"}, handlers: []string{"", "runc"}, handlersByDefault: true}
}

// CompileFloor checks a floor. Unlike Compile it is strict: its author sits at the node and can correct it, so any
// problem is an error. All problems are reported, each with its field.
func CompileFloor(spec FloorSpec) (*Floor, error) {
	c := compiler{floor: true}
	floor := defaultFloor()
	floor.policies = c.compilePolicies(spec.Policies, c.compileAuthorities(spec.Authorities))
	floor.allow = c.compileAllowlist(spec.Allowlist)
	floor.dryRun = spec.DryRun
	floor.denyWithoutPolicy = spec.DenyWithoutPolicy
	floor.ignoreDryRun, floor.ignoreAllow = spec.IgnoreClusterDryRun, spec.IgnoreClusterAllowlists
	if spec.BootstrapExempt != nil {
		floor.bootstrapExempt = slices.Clone(spec.BootstrapExempt)
	}
	if len(spec.RuntimeHandlers) > 0 {
		floor.handlers, floor.handlersByDefault = slices.Clone(spec.RuntimeHandlers), false
	}
	var problems []error
	for _, p := range c.problems {
		problems = append(problems, p.asError())
	}
	for i, pattern := range spec.BootstrapExempt {
		if err := checkNamespacePattern(pattern); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", index("bootstrapExempt", i, ""), err))
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return floor, nil
}

// Exempts says whether a namespace is one of BootstrapExempt.
func (f *Floor) Exempts(namespace string) bool {
	return slices.ContainsFunc(f.bootstrapExempt, func(pattern string) bool { return MatchNamespace(pattern, namespace) })
}

// side returns what the floor demands of a namespace.
func (f *Floor) side(namespace string) side {
	s := side{floor: true, allow: f.allow, dryRun: f.dryRun}
	for _, p := range f.policies {
		if MatchNamespace(p.namespace, namespace) {
			s.policies = append(s.policies, p)
		}
	}
	return s
}

// clusterSide returns what the cluster demands of a namespace, as far as the floor lets it.
func (f *Floor) clusterSide(set *PolicySet, namespace string) side {
	s := side{
		policies:     set.policies[namespace],
		allow:        set.allow,
		ignoreAllow:  f.ignoreAllow,
		ignoreDryRun: f.ignoreDryRun,
		dryRun:       set.dryRun,
	}
	if s.ignoreAllow {
		s.allow = nil
	}
	return s
}
