package acr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/kritis-node/kritis-node/policyagent/alicloud"
)

const (
	// renewBefore is how long before its end a login is replaced, and maxLogins how many are kept.
	renewBefore = 5 * time.Minute
	maxLogins   = 64
	// loginTimeout bounds getting one, which several may wait for; refusedFor is how long a failure is the answer.
	loginTimeout = 30 * time.Second
	refusedFor   = 10 * time.Second
)

// LoginCloud is what a Keychain needs of Alibaba Cloud. *alicloud.Client is one.
type LoginCloud interface {
	Instances(ctx context.Context, region string) ([]alicloud.Instance, error)
	RegistryLogin(ctx context.Context, instance alicloud.Instance) (alicloud.Login, error)
}

// Keychain has temporary logins at the instances of the account: a registry.Keychain. A login is given for the host of the
// instance that it is of, and for no other. It may be used concurrently.
type Keychain struct {
	cloud     LoginCloud
	hosts     hosts
	instances *instances
	flights   singleflight.Group

	mu     sync.Mutex
	logins map[string]knownLogin // by instance's ID
}

type knownLogin struct {
	login alicloud.Login
	err   error
	until time.Time
}

// NewKeychain returns a keychain, or everything that is wrong with the hosts of custom domains.
func NewKeychain(cloud LoginCloud, custom []Host) (*Keychain, error) {
	if cloud == nil {
		return nil, errors.New("logins at ACR need a client of Alibaba Cloud")
	}
	h, err := newHosts(custom)
	if err != nil {
		return nil, err
	}
	return &Keychain{cloud: cloud, hosts: h, instances: newInstances(cloud.Instances), logins: map[string]knownLogin{}}, nil
}

// DockerConfigs implements registry.Keychain.
func (k *Keychain) DockerConfigs(ctx context.Context, repository string) ([][]byte, error) {
	where, ok := k.hosts.place(repository)
	if !ok {
		return nil, nil
	}
	instance, err := k.instances.find(ctx, where)
	if err != nil {
		return nil, err
	}
	login, err := k.login(ctx, instance)
	if err != nil {
		return nil, fmt.Errorf("a login at ACR instance %s: %w", instance.Name, err)
	}
	host, _, _ := strings.Cut(repository, "/")
	type auth struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}
	//nolint:gosec // it is for the registry client, which asked for a login
	config, err := json.Marshal(map[string]map[string]auth{"auths": {host: {login.User, login.Password}}})
	if err != nil {
		return nil, errors.New("a login at ACR cannot be encoded: is it text?")
	}
	return [][]byte{config}, nil
}

func (k *Keychain) login(ctx context.Context, instance alicloud.Instance) (alicloud.Login, error) {
	if known, ok := k.known(instance); ok {
		return known.login, known.err
	}
	ch := k.flights.DoChan(instance.ID, func() (any, error) {
		// Several wait for it, so it does not end with one of them.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loginTimeout)
		defer cancel()
		login, err := k.cloud.RegistryLogin(ctx, instance)
		k.keep(instance, login, err)
		return login, err
	})
	select {
	case <-ctx.Done():
		return alicloud.Login{}, context.Cause(ctx)
	case r := <-ch:
		if r.Err != nil {
			return alicloud.Login{}, r.Err
		}
		return r.Val.(alicloud.Login), nil
	}
}

func (k *Keychain) known(instance alicloud.Instance) (knownLogin, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	known, ok := k.logins[instance.ID]
	return known, ok && time.Now().Before(known.until)
}

// keep remembers a login until shortly before its end. No password stays in memory longer than until the next one is kept.
func (k *Keychain) keep(instance alicloud.Instance, login alicloud.Login, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	for id, known := range k.logins {
		if !now.Before(known.until) || len(k.logins) >= maxLogins {
			delete(k.logins, id)
		}
	}
	until := login.Expires.Add(-renewBefore)
	if err != nil {
		login, until = alicloud.Login{}, now.Add(refusedFor)
	}
	k.logins[instance.ID] = knownLogin{login, err, until}
}
