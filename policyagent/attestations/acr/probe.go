package acr

import (
	"context"
	"fmt"

	"github.com/kritis-node/kritis-node/policyagent/alicloud"
	"github.com/kritis-node/kritis-node/verifier"
)

// ProbeCloud is what Probe needs of Alibaba Cloud. *alicloud.Client is one.
type ProbeCloud interface {
	Instances(ctx context.Context, region string) ([]alicloud.Instance, error)
	RawOccurrences(ctx context.Context, instance alicloud.Instance, note, resourceURI string) ([]byte, error)
}

// Probed is what ACR said about an image.
type Probed struct {
	Instance alicloud.Instance
	// Resource is what was asked about: "https://host/namespace/repo@sha256:…".
	Resource string
	// Raw is the answer's first page as it came, JSON without secrets.
	Raw []byte
}

// Probe asks what a Source would ask, and shows the answer instead of reading it: for those who can tell what it should be.
func Probe(ctx context.Context, cloud ProbeCloud, custom []Host, note, repository string, d verifier.Digest) (Probed, error) {
	h, err := newHosts(custom)
	if err != nil {
		return Probed{}, err
	}
	where, ok := h.place(repository)
	if !ok {
		return Probed{}, fmt.Errorf("%s is not in an ACR Enterprise instance by its host: of a custom domain name instance and region", repository)
	}
	p := Probed{Resource: resourceURI(repository, d)}
	if p.Instance, err = newInstances(cloud.Instances).find(ctx, where); err != nil {
		return Probed{}, err
	}
	p.Raw, err = cloud.RawOccurrences(ctx, p.Instance, note, p.Resource)
	return p, err
}
