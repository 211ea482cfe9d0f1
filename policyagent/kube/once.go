package kube

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/verifier"
)

// Read is the policy of a cluster at one moment.
type Read struct {
	Document verifier.Document
	// Problems are what could not be understood.
	Problems []verifier.Problem
	// Missing are the kinds that are not installed, by the name of the resource.
	Missing []string
}

// ReadPolicies reads the policy of a cluster once, as Policies does: all of it, or what applies in one namespace.
func ReadPolicies(ctx context.Context, s *Server, namespace string) (Read, error) {
	p := NewPolicies(s)
	var r Read
	for _, kind := range p.watcher.resources {
		if kind.name != "admissionallowlists" { // which has no namespace
			kind.namespace = namespace
		}
		all, err := (&lister{kind, ctx}).ListWithContext(ctx, metav1.ListOptions{})
		if err != nil {
			return Read{}, s.explain(err, "list", Objects{Group: kind.group, Version: kind.version, Resource: kind.name, Namespace: kind.namespace})
		}
		if kind.store.absent() {
			r.Missing = append(r.Missing, kind.name)
		}
		listed, ok := all.(*list)
		if !ok {
			return Read{}, errors.New("bug of this program, please report it: a list of another type")
		}
		items := make([]any, len(listed.Items))
		for i, item := range listed.Items {
			items[i] = item
		}
		if err := kind.store.Replace(items, listed.ResourceVersion); err != nil {
			return Read{}, fmt.Errorf("reading %s.%s: %w", kind.name, v1beta1.Group, err)
		}
	}
	r.Document, r.Problems = p.document()
	return r, nil
}
