package alicloudtest

import (
	"cmp"
	"slices"
)

// maxCounted bounds the different calls that are counted apart; beyond it keys and URIs are forgotten.
const maxCounted = 100_000

// Call is what one request was about. Requests are counted by all of it.
type Call struct {
	// Service is "kms", "sas", "cr", "sts", "metadata" or "registry"; Action the action's name ("token", "roles", "credentials" of the
	// metadata; "GET", "PUT", … of the registry).
	Service string `json:"service,omitempty"`
	Action  string `json:"action,omitempty"`
	Region  string `json:"region,omitempty"`
	// KeyID is the key's ID, whatever alias or ARN it was asked by; what was sent, if there is no such key.
	KeyID       string `json:"keyId,omitempty"`
	ResourceURI string `json:"resourceUri,omitempty"`
	AccessKeyID string `json:"accessKeyId,omitempty"`
	// Status and Code are the answer's: 200 and "", or an error's, or a fault's name.
	Status int    `json:"status,omitempty"`
	Code   string `json:"code,omitempty"`
}

// Counted is a Call and how often it was made.
type Counted struct {
	Call
	Times int `json:"times"`
}

// describe says what a request is about, before it is answered.
func (e *Emulator) describe(c *call) Call {
	e.mu.Lock()
	defer e.mu.Unlock()
	counted := Call{
		Service: string(c.service), Action: c.action, Region: c.region, KeyID: c.param("KeyId"), ResourceURI: c.param("ResourceUri"),
		AccessKeyID: c.param("AccessKeyId"),
	}
	if known, refused := e.findKey(c.region, counted.KeyID); refused == nil && c.service == kms {
		counted.KeyID = known.ID
	}
	return counted
}

func (e *Emulator) count(counted Call) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, known := e.counted[counted]; !known && len(e.counted) >= maxCounted {
		counted = Call{Service: counted.Service, Action: counted.Action, Status: counted.Status}
	}
	e.counted[counted]++
}

// Calls counts the requests that match a filter in all fields that it sets; Calls(Call{}) counts all.
func (e *Emulator) Calls(filter Call) int {
	sum := 0
	for _, counted := range e.CallList(filter) {
		sum += counted.Times
	}
	return sum
}

// CallList lists those requests, sorted.
func (e *Emulator) CallList(filter Call) []Counted {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := []Counted{}
	for counted, times := range e.counted {
		if filter.matches(counted) {
			list = append(list, Counted{counted, times})
		}
	}
	slices.SortFunc(list, func(a, b Counted) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Action, b.Action), cmp.Compare(a.KeyID, b.KeyID),
			cmp.Compare(a.ResourceURI, b.ResourceURI), cmp.Compare(a.Status, b.Status), cmp.Compare(a.Code, b.Code),
			cmp.Compare(a.Region, b.Region), cmp.Compare(a.AccessKeyID, b.AccessKeyID))
	})
	return list
}

// ForgetCalls starts all counters again.
func (e *Emulator) ForgetCalls() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.counted)
}

func (filter Call) matches(c Call) bool {
	text := func(want, is string) bool { return want == "" || want == is }
	return text(filter.Service, c.Service) && text(filter.Action, c.Action) && text(filter.Region, c.Region) && text(filter.KeyID, c.KeyID) &&
		text(filter.ResourceURI, c.ResourceURI) && text(filter.AccessKeyID, c.AccessKeyID) && text(filter.Code, c.Code) &&
		(filter.Status == 0 || filter.Status == c.Status)
}
