package kube

import (
	"fmt"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/verifier"
)

// Object is one object of the three kinds as the API server has it.
type Object struct {
	// Kind is v1beta1.KindAuthority, KindPolicy or KindAllowlist.
	Kind, Namespace, Name string
	JSON                  []byte
}

// Understand returns what a node makes of objects, and every problem that it has with them, those of verifier.Compile
// included. It is the code that Policies runs on: what is said of an object elsewhere cannot differ from what nodes do.
func Understand(objects []Object) (v1beta1.Objects, []verifier.Problem, error) {
	var authorities, policies, allowlists []any
	for _, o := range objects {
		id := identity{Namespace: o.Namespace, Name: o.Name}
		switch o.Kind {
		case v1beta1.KindAuthority:
			authorities = append(authorities, decodeSpec[v1beta1.AuthoritySpec](o.Kind)(id, o.JSON))
		case v1beta1.KindPolicy:
			policies = append(policies, decodeSpec[v1beta1.PolicySpec](o.Kind)(id, o.JSON))
		case v1beta1.KindAllowlist:
			allowlists = append(allowlists, decodeSpec[v1beta1.AllowlistSpec](o.Kind)(id, o.JSON))
		default:
			return v1beta1.Objects{}, nil, fmt.Errorf("%q is none of the kinds of %s", o.Kind, v1beta1.Group)
		}
	}
	all, problems := collect(authorities, policies, allowlists)
	document, more := v1beta1.Document(all)
	problems = append(problems, more...)
	_, more = verifier.Compile(document)
	return all, append(problems, more...), nil
}

// collect returns objects that decodeSpec has read, and what it could not read.
func collect(authorities, policies, allowlists []any) (v1beta1.Objects, []verifier.Problem) {
	var o v1beta1.Objects
	var problems []verifier.Problem
	for _, v := range authorities {
		a := v.(policyObject[v1beta1.AuthoritySpec])
		o.Authorities = append(o.Authorities, v1beta1.AttestationAuthority{ObjectMeta: a.meta, Spec: a.spec})
		problems = append(problems, a.problems...)
	}
	for _, v := range policies {
		g := v.(policyObject[v1beta1.PolicySpec])
		o.Policies = append(o.Policies, v1beta1.GenericAttestationPolicy{ObjectMeta: g.meta, Spec: g.spec})
		problems = append(problems, g.problems...)
	}
	for _, v := range allowlists {
		l := v.(policyObject[v1beta1.AllowlistSpec])
		o.Allowlists = append(o.Allowlists, v1beta1.AdmissionAllowlist{ObjectMeta: l.meta, Spec: l.spec})
		problems = append(problems, l.problems...)
	}
	return o, problems
}
