package acr

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/kritis-node/kritis-node/policyagent/alicloud"
)

const (
	// instancesFor is how long an instance counts as it was listed. After that, and for a name that was not listed, the region is listed
	// again, at most every againAfter: lists fail, and one that is empty may be so by mistake.
	instancesFor = 10 * time.Minute
	againAfter   = 10 * time.Second
	// keptFor is how long an instance is believed in that is no longer listed. Whoever asks one that is gone asks in vain.
	keptFor = time.Hour
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
	byName   map[string]listed
	err      error
	listedAt time.Time
}

// listed is an instance, and when it was listed last.
type listed struct {
	alicloud.Instance
	at time.Time
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
	instance, ok := known.byName[p.instance]
	switch {
	case ok:
		return instance.Instance, nil
	case known.err != nil:
		return alicloud.Instance{}, fmt.Errorf("listing the ACR instances of %s: %w", p.region, known.err)
	}
	return alicloud.Instance{}, fmt.Errorf("this account has no ACR instance %.64q in %s, or may not list it: allow cr:ListInstance; attestations in another account's cannot be read", p.instance, p.region)
}

// known returns what is known of a place's region, if that is fresh enough for the place.
func (i *instances) known(p place) (region, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	r, ok := i.regions[p.region]
	if instance, has := r.byName[p.instance]; has && within(instance.at, instancesFor) {
		return r, true
	}
	return r, ok && within(r.listedAt, againAfter)
}

// within says whether a time is less than so long ago. One in the future, by a clock that was set back, is not.
func within(at time.Time, d time.Duration) bool {
	age := time.Since(at)
	return age >= 0 && age < d
}

// ask lists a region's instances and remembers them, or the failure.
func (i *instances) ask(ctx context.Context, name string) (region, error) {
	list, err := i.list(ctx, name)
	fresh := region{byName: map[string]listed{}, err: err, listedAt: time.Now()}
	i.mu.Lock()
	defer i.mu.Unlock()
	for name, instance := range i.regions[name].byName {
		if within(instance.at, keptFor) {
			fresh.byName[name] = instance
		}
	}
	if err == nil {
		for _, instance := range list {
			fresh.byName[instance.Name] = listed{instance, fresh.listedAt}
		}
	}
	if _, ok := i.regions[name]; !ok && len(i.regions) >= maxRegions {
		maps.DeleteFunc(i.regions, func(_ string, r region) bool {
			return !within(r.listedAt, instancesFor) || len(r.byName) == 0 && !within(r.listedAt, againAfter)
		})
		if len(i.regions) >= maxRegions {
			return region{}, fmt.Errorf("images name more than %d regions: try again later", maxRegions)
		}
	}
	i.regions[name] = fresh
	return fresh, nil
}
