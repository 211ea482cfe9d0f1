package main

import (
	"context"
	"errors"

	"github.com/spf13/pflag"

	"github.com/kritis-node/kritis-node/policyagent/alicloud"
	"github.com/kritis-node/kritis-node/policyagent/attestations/acr"
	"github.com/kritis-node/kritis-node/policyagent/controller"
)

// acrFlags say whether attestations are fetched from Alibaba Cloud's Container Registry for all nodes.
type acrFlags struct {
	fetch bool
	hosts []string
}

func (f *acrFlags) add(fs *pflag.FlagSet) {
	fs.BoolVar(&f.fetch, "acr-attestations", true, "with --alicloud-config, fetch attestations of ACR Enterprise instances once for all nodes (experimental)")
	fs.StringArrayVar(&f.hosts, "acr-host", nil, "custom `domain` of an ACR instance, as images.example=cn-hangzhou/team, with region and instance's name; may be repeated")
}

// source returns what makes the source, nil if there is none.
func (f *acrFlags) source(client *alicloud.Client) (controller.NewAttestationSource, error) {
	var hosts []acr.Host
	for _, s := range f.hosts {
		h, err := acr.ParseHost(s)
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, h)
	}
	if client == nil && len(hosts) > 0 {
		return nil, errors.New("--acr-host needs --alicloud-config: name the file that says as whom ACR is asked")
	}
	if client == nil || !f.fetch {
		return nil, nil
	}
	return func(notes func(context.Context) ([]string, error)) (controller.AttestationSource, error) {
		return acr.New(acr.Config{Cloud: client, Hosts: hosts, Notes: notes})
	}, nil
}
