package kube

import (
	"context"
	"fmt"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

const (
	// maxObjects is how many objects of each kind there may be, maxBytes how large they may be together, as JSON. It is
	// as much as a snapshot holds.
	maxObjects = 10_000
	maxBytes   = nodestate.MaxPolicySize
	// maxProblems is how many problems are passed on.
	maxProblems = 1000
)

// Policies are the policies of a cluster, as a source for the policy agent.
type Policies struct {
	server                            *Server
	watcher                           *watcher
	authorities, policies, allowlists *store
	problems                          []verifier.Problem
}

// NewPolicies returns the policies of the cluster that the API server is of. Nothing is asked before Watch.
func NewPolicies(s *Server) *Policies {
	p := &Policies{server: s, watcher: newWatcher()}
	add := func(name, kind string, decode func(identity, []byte) any) *store {
		return p.watcher.add(&resource{
			client: s.client, name: name, group: v1beta1.Group, version: v1beta1.Version, kind: kind,
			limits: limits{maxObjects, maxBytes}, decode: decode,
		})
	}
	p.authorities = add("attestationauthorities", v1beta1.KindAuthority, decodeSpec[v1beta1.AuthoritySpec](v1beta1.KindAuthority))
	p.policies = add("genericattestationpolicies", v1beta1.KindPolicy, decodeSpec[v1beta1.PolicySpec](v1beta1.KindPolicy))
	p.allowlists = add("admissionallowlists", v1beta1.KindAllowlist, decodeSpec[v1beta1.AllowlistSpec](v1beta1.KindAllowlist))
	return p
}

// Name returns "cluster" and the API server's address.
func (p *Policies) Name() string { return "cluster " + p.server.Host() }

// Unsafe lists what loosens security in the way the API server is reached.
func (p *Policies) Unsafe() []string { return p.server.Unsafe() }

// Watch calls onChange with the cluster's policy once all of it is known, and after each change; or with why the API
// server cannot be asked, which changes nothing. It returns nil when the context ends. It may be called once.
func (p *Policies) Watch(ctx context.Context, onChange func(verifier.Document, []string, error)) error {
	p.watcher.run(ctx,
		func() {
			document, problems := p.document()
			p.problems = problems
			onChange(document, nil, nil)
		},
		func(err error) { onChange(verifier.Document{}, nil, err) })
	p.server.Close()
	return nil
}

// Problems returns what could not be understood in the policy that onChange is being called with.
func (p *Policies) Problems() []verifier.Problem { return p.problems }

// ConfirmedAt returns when the API server was last in touch about the kind of which it was heard least recently; zero
// before all were known.
func (p *Policies) ConfirmedAt() time.Time {
	oldest := p.authorities.contactAt()
	for _, s := range []*store{p.policies, p.allowlists} {
		if at := s.contactAt(); at.Before(oldest) {
			oldest = at
		}
	}
	return oldest
}

// document is what the objects say together.
func (p *Policies) document() (verifier.Document, []verifier.Problem) {
	o, problems := collect(p.authorities.values(), p.policies.values(), p.allowlists.values())
	document, more := v1beta1.Document(o)
	problems = append(problems, more...)
	if n := len(problems) - maxProblems; n > 0 {
		problems = append(problems[:maxProblems:maxProblems], verifier.Problem{
			Object: "cluster", Code: "MoreProblems", Text: fmt.Sprintf("and %d more problems: correct those above", n),
		})
	}
	return document, problems
}
