package kube

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
)

// maxDiscovery bounds a document of discovery, in bytes.
const maxDiscovery = 4 << 20

// listAbsent returns the empty list of a kind that is not installed, if that is certain.
func (r *resource) listAbsent(ctx context.Context, cause error) (*list, error) {
	absent, err := r.isAbsent(ctx)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w, and whether the kind is installed cannot be told: %w", cause, err)
	case !absent:
		return nil, fmt.Errorf("%w, although the kind is installed", cause)
	}
	return &list{ListMeta: metav1.ListMeta{ResourceVersion: "0"}}, nil
}

// isAbsent asks discovery whether the kind does not exist. A server that is starting does not know its kinds yet, so it
// must call itself ready first.
func (r *resource) isAbsent(ctx context.Context) (bool, error) {
	if _, err := read(ctx, r.client.Get().AbsPath("/readyz"), maxDiscovery); err != nil {
		return false, fmt.Errorf("the API server is not ready: %w", err)
	}
	var resources metav1.APIResourceList
	err := r.discover(ctx, "/apis/"+r.apiVersion(), &resources)
	if err == nil {
		if resources.Kind != "APIResourceList" || resources.GroupVersion != r.apiVersion() {
			return false, fmt.Errorf("discovery answers with a %.40q of %.40q", resources.Kind, resources.GroupVersion)
		}
		return !slices.ContainsFunc(resources.APIResources, func(a metav1.APIResource) bool { return a.Name == r.name }), nil
	}
	if !apierrors.IsNotFound(err) {
		return false, err
	}
	var groups metav1.APIGroupList
	if err := r.discover(ctx, "/apis", &groups); err != nil {
		return false, err
	}
	if groups.Kind != "APIGroupList" || len(groups.Groups) == 0 {
		return false, fmt.Errorf("discovery answers with a %.40q of %d groups", groups.Kind, len(groups.Groups))
	}
	for _, g := range groups.Groups {
		if g.Name == r.group {
			// There may be objects, in a version that means something else.
			return false, fmt.Errorf("group %s has no version %s: install this version's CRDs", r.group, r.version)
		}
	}
	return true, nil
}

func (r *resource) discover(ctx context.Context, path string, into any) error {
	data, err := read(ctx, r.client.Get().AbsPath(path).SetHeader("Accept", "application/json"), maxDiscovery)
	if err != nil {
		return err
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, into); err != nil {
		return fmt.Errorf("discovery at %s is not JSON: %w", path, err)
	}
	return nil
}
