package main

import (
	"context"
	"errors"

	"github.com/spf13/pflag"

	"github.com/kritis-node/kritis-node/policyagent/attestations/acr"
	"github.com/kritis-node/kritis-node/policyagent/attestations/registry"
)

// loginFlags say whether temporary logins at ACR instances are got, for signatures in private repositories.
type loginFlags struct {
	cloud cloudFlags
	hosts []string
}

func (l *loginFlags) add(f *pflag.FlagSet) {
	l.cloud.add(f)
	f.Lookup("alicloud-config").Usage = "YAML `file` that says how Alibaba Cloud is reached: then temporary logins at the account's ACR instances are used where other credentials do not suffice"
	f.StringArrayVar(&l.hosts, "acr-host", nil, "custom `domain` of an ACR instance, as images.example=cn-hangzhou/team, with region and instance's name; may be repeated")
}

// keychain returns the logins, nil if none are wanted; and what to call in the end.
func (l *loginFlags) keychain() (registry.Keychain, func(), error) {
	var hosts []acr.Host
	for _, s := range l.hosts {
		h, err := acr.ParseHost(s)
		if err != nil {
			return nil, nil, err
		}
		hosts = append(hosts, h)
	}
	if l.cloud.file == "" {
		if hosts != nil {
			return nil, nil, errors.New("--acr-host needs --alicloud-config: name the file that says as whom ACR is asked")
		}
		return nil, func() {}, nil
	}
	client, err := l.cloud.client()
	if err != nil {
		return nil, nil, err
	}
	k, err := acr.NewKeychain(client, hosts)
	if err != nil {
		client.Close()
		return nil, nil, err
	}
	return k, client.Close, nil
}

// keychains are several as one, in their order.
type keychains []registry.Keychain

// joined returns those that there are as one, nil if there is none.
func joined(all ...registry.Keychain) registry.Keychain {
	var some keychains
	for _, k := range all {
		if k != nil {
			some = append(some, k)
		}
	}
	if some == nil {
		return nil
	}
	return some
}

// DockerConfigs implements registry.Keychain.
func (all keychains) DockerConfigs(ctx context.Context, repository string) ([][]byte, error) {
	var configs [][]byte
	var errs []error
	for _, k := range all {
		some, err := k.DockerConfigs(ctx, repository)
		configs, errs = append(configs, some...), append(errs, err)
	}
	return configs, errors.Join(errs...)
}
