package acr

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/kritis-node/kritis-node/policyagent/alicloud"
)

const (
	// instancesFor is how long a region's instances count as they were listed; a name that is not among them is looked for
	// again after unknownFor, and after a failure after failedFor.
	instancesFor = 10 * time.Minute
	unknownFor   = time.Minute
	failedFor    = 10 * time.Second
	// maxRegions is how many regions are remembered. Images name regions, and whoever names images chooses them.
	maxRegions = 32
	// listTimeout bounds a list, which several may wait for.
	listTimeout = 30 * time.Second
)

// instances are those of the account, by region.
type instances struct {
	list    func(ctx context.Context, region string) ([]alicloud.Instance, error)
	flights singleflight.Group

	mu      sync.Mutex
	regions map[string]region
}

// region is what is known of one.
type region struct {
	byName   map[string]alicloud.Instance
	err      error
	listedAt time.Time
}

func newInstances(list func(context.Context, string) ([]alicloud.Instance, error)) *instances {
	return &instances{list: list, regions: map[string]region{}}
}

// find returns an instance of the account. One that is not there may be another account's, or one that we may not list:
// nobody can tell then.
func (i *instances) find(ctx context.Context, p place) (alicloud.Instance, error) {
	known, ok := i.known(p)
	if !ok {
		ch := i.flights.DoChan(p.region, func() (any, error) {
			// Several wait for it, so it does not end with one of them.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), listTimeout)
			defer cancel()
			return i.ask(ctx, p.region)
		})
		select {
		case <-ctx.Done():
			return alicloud.Instance{}, fmt.Errorf("listing the ACR instances of %s: %w", p.region, context.Cause(ctx))
		case r := <-ch:
			if r.Err != nil {
				return alicloud.Instance{}, r.Err
			}
			known = r.Val.(region)
		}
	}
	if known.err != nil {
		return alicloud.Instance{}, fmt.Errorf("listing the ACR instances of %s: %w", p.region, known.err)
	}
	instance, ok := known.byName[p.instance]
	if !ok {
		return alicloud.Instance{}, fmt.Errorf("this account has no ACR instance %.64q in %s, or may not list it: allow cr:ListInstance; attestations in another account's cannot be read", p.instance, p.region)
	}
	return instance, nil
}

// known returns what is known of a place's region, if that is fresh enough for the place.
func (i *instances) known(p place) (region, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	r, ok := i.regions[p.region]
	age := time.Since(r.listedAt)
	limit := unknownFor
	if _, has := r.byName[p.instance]; r.err != nil {
		limit = failedFor
	} else if has {
		limit = instancesFor
	}
	return r, ok && age >= 0 && age < limit
}

// ask lists a region's instances and remembers them, or the failure.
func (i *instances) ask(ctx context.Context, name string) (region, error) {
	list, err := i.list(ctx, name)
	fresh := region{byName: map[string]alicloud.Instance{}, err: err, listedAt: time.Now()}
	for _, instance := range list {
		fresh.byName[instance.Name] = instance
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, ok := i.regions[name]; !ok && len(i.regions) >= maxRegions {
		for other, r := range i.regions {
			if age := time.Since(r.listedAt); age >= unknownFor {
				delete(i.regions, other)
			}
		}
		if len(i.regions) >= maxRegions {
			return region{}, fmt.Errorf("images name more than %d regions within a minute: try again later", maxRegions)
		}
	}
	i.regions[name] = fresh
	return fresh, nil
}
