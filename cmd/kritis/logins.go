package main

import (
	"context"
	"errors"
	"slices"

	"github.com/spf13/pflag"

	"github.com/kritis-node/kritis-node/policyagent/alicloud"
	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/policyagent/attestations/acr"
	"github.com/kritis-node/kritis-node/policyagent/attestations/registry"
	"github.com/kritis-node/kritis-node/verifier"
)

// loginFlags say whether ACR instances are asked as their account: for temporary logins, so that signatures in private
// repositories can be read, and, where no cluster has anybody else who asks, for attestations.
type loginFlags struct {
	cloud cloudFlags
	hosts []string
}

func (l *loginFlags) add(f *pflag.FlagSet) {
	l.cloud.add(f)
	f.Lookup("alicloud-config").Usage = "YAML `file` that says how Alibaba Cloud is reached: then temporary logins at the account's ACR instances are used where other credentials do not suffice; with --policy-dir, ACR is asked for attestations, too (experimental)"
	f.StringArrayVar(&l.hosts, "acr-host", nil, "custom `domain` of an ACR instance, as images.example=cn-hangzhou/team, with region and instance's name; may be repeated")
}

// open returns the account, nil if none is named. Close it.
func (l *loginFlags) open() (*account, error) {
	var hosts []acr.Host
	for _, s := range l.hosts {
		h, err := acr.ParseHost(s)
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, h)
	}
	if l.cloud.file == "" {
		if hosts != nil {
			return nil, errors.New("--acr-host needs --alicloud-config: name the file that says as whom ACR is asked")
		}
		return nil, nil
	}
	client, err := l.cloud.client()
	if err != nil {
		return nil, err
	}
	a := &account{client: client, hosts: hosts}
	if a.logins, err = acr.NewKeychain(client, hosts); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// account is as whom ACR instances are asked. Of nil there is nothing to be had.
type account struct {
	client *alicloud.Client
	hosts  []acr.Host
	logins *acr.Keychain
}

// Close ends what is under way.
func (a *account) Close() {
	if a != nil {
		a.client.Close()
	}
}

// keychain returns temporary logins, nil if there is no account.
func (a *account) keychain() registry.Keychain {
	if a == nil {
		return nil
	}
	return a.logins
}

// attestations returns the attestations that ACR keeps under the notes, or under any if there are none.
func (a *account) attestations(notes []string) (attestations.Source, error) {
	return acr.New(acr.Config{Cloud: a.client, Hosts: a.hosts, Notes: func(context.Context) ([]string, error) { return notes, nil }})
}

// notesOf returns the notes of a folder's authorities, each once.
func notesOf(policies verifier.Document) []string {
	var notes []string
	for _, authority := range policies.Authorities {
		if note := authority.NoteReference; note != "" && !slices.Contains(notes, note) {
			notes = append(notes, note)
		}
	}
	return notes
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
