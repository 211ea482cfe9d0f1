package plugin

import (
	"strings"
	"time"

	"github.com/containerd/nri/pkg/api"
	"golang.org/x/mod/semver"
)

// NRI versions that brought what we build on. containerd 2.2.0 has NRI 0.10, 2.4.0 has 0.12.3.
const (
	nriValidators    = "v0.10.0"
	nriImageField    = "v0.12.2"
	nriFailurePolicy = "v0.12.4"
)

// runtimeInfo is the runtime that we are registered with and what it can promise. The zero value promises nothing.
type runtimeInfo struct {
	Name           string        `json:"name"`
	Version        string        `json:"version"`
	NRI            string        `json:"nri"`
	RequestTimeout time.Duration `json:"requestTimeout"`
	// Validators: a plugin that does not answer denies.
	Validators bool `json:"validators"`
	// ImageField: a create call says which image the runtime binds.
	ImageField    bool `json:"imageField"`
	FailurePolicy bool `json:"failurePolicy"`
}

func newRuntimeInfo(name, version, nri string, timeout time.Duration) runtimeInfo {
	if !strings.HasPrefix(nri, "v") {
		nri = "v" + nri
	}
	atLeast := func(v string) bool { return semver.IsValid(nri) && semver.Compare(nri, v) >= 0 }
	return runtimeInfo{
		Name: name, Version: version, NRI: nri, RequestTimeout: timeout,
		Validators: atLeast(nriValidators), ImageField: atLeast(nriImageField), FailurePolicy: atLeast(nriFailurePolicy),
	}
}

// events are what we subscribe to. Every further event costs every container some time, so CreateContainer is
// handled only where nothing better exists.
func (r runtimeInfo) events() api.EventMask {
	var mask api.EventMask
	if r.Validators {
		return *mask.Set(api.Event_VALIDATE_CONTAINER_ADJUSTMENT, api.Event_START_CONTAINER)
	}
	return *mask.Set(api.Event_CREATE_CONTAINER, api.Event_START_CONTAINER)
}

// decisionTime is how long a decision may take: well below the runtime's own timeout, because waiting for the
// deadline itself is a race that is sometimes lost.
func (r runtimeInfo) decisionTime() time.Duration {
	const fallback = 2 * time.Second // NRI's default
	t := r.RequestTimeout
	if t <= 0 {
		t = fallback
	}
	return t * 6 / 10
}
