package alicloudtest

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxOccurrences bounds the occurrences of an instance, maxLogins its temporary logins.
const (
	maxOccurrences = 100_000
	maxLogins      = 10_000
)

// Instance is a Container Registry Enterprise Edition instance.
type Instance struct {
	// ID is the instance's; empty: one that looks like the cloud's ("cri-…").
	ID   string `yaml:"id"`
	Name string `yaml:"name"`
	// Region is where it is; empty: the emulator's.
	Region string `yaml:"region"`
	// Hosts are names of the registry besides the cloud's own, such as the address of the emulator's registry.
	Hosts []string `yaml:"hosts"`
	// AnonymousPull and AnonymousPush let anybody do so.
	AnonymousPull bool `yaml:"anonymousPull"`
	AnonymousPush bool `yaml:"anonymousPush"`
	// Logins are users and passwords that last.
	Logins map[string]string `yaml:"logins"`
	// Status is the instance's; empty: RUNNING.
	Status string `yaml:"status"`
}

// Occurrence is an attestation as the registry holds it.
type Occurrence struct {
	NoteName    string
	ResourceURI string
	Payload     []byte
	Signatures  []OccurrenceSignature
}

// OccurrenceSignature is a detached signature over an Occurrence's payload.
type OccurrenceSignature struct {
	KeyID string
	Value []byte
}

// instance is the state of an instance.
type instance struct {
	Instance
	created     time.Time
	temporary   map[string]time.Time // passwords, and when they end
	occurrences []Occurrence
}

// temporaryUser is the user of all temporary logins.
const temporaryUser = "cr_temp_user"

// AddInstance adds an instance and returns it as it is, with its ID and all its hosts.
func (e *Emulator) AddInstance(add Instance) (Instance, error) {
	if add.Name == "" {
		return Instance{}, fmt.Errorf("an instance needs a name")
	}
	if add.ID == "" {
		add.ID = "cri-" + strings.ToLower(newText(16))
	}
	if add.Region == "" {
		add.Region = e.options.Region
	}
	if add.Status == "" {
		add.Status = "RUNNING"
	}
	domain := "." + add.Region + ".cr.aliyuncs.com"
	add.Hosts = slices.Compact(append([]string{add.Name + "-registry" + domain, add.Name + "-registry-vpc" + domain, add.Name + domain}, add.Hosts...))
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.instances) >= maxListed || slices.ContainsFunc(e.instances, func(i *instance) bool { return i.ID == add.ID }) {
		return Instance{}, fmt.Errorf("there is an instance %s already, or too many", add.ID)
	}
	e.instances = append(e.instances, &instance{Instance: add, created: e.now(), temporary: map[string]time.Time{}})
	return add, nil
}

// AddOccurrence adds an occurrence to an instance, true or forged.
func (e *Emulator) AddOccurrence(instanceID string, o Occurrence) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	i, refused := e.findInstance(instanceID)
	if refused != nil {
		return refused
	}
	if len(i.occurrences) >= maxOccurrences {
		return fmt.Errorf("there are %d occurrences already", maxOccurrences)
	}
	i.occurrences = append(i.occurrences, o)
	return nil
}

// Occurrences are an instance's, the oldest first.
func (e *Emulator) Occurrences(instanceID string) []Occurrence {
	e.mu.Lock()
	defer e.mu.Unlock()
	i, refused := e.findInstance(instanceID)
	if refused != nil {
		return nil
	}
	return slices.Clone(i.occurrences)
}

// ForgetOccurrences removes all occurrences of an instance.
func (e *Emulator) ForgetOccurrences(instanceID string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if i, refused := e.findInstance(instanceID); refused == nil {
		i.occurrences = nil
	}
}

func (e *Emulator) findInstance(id string) (*instance, *apiError) {
	for _, i := range e.instances {
		if i.ID == id {
			return i, nil
		}
	}
	return nil, failed(404, "INSTANCE_NOT_EXIST", "instance %s does not exist", id)
}

// of finds the instance that a request names; instances of other regions are not there.
func (c *call) instance() (*instance, *apiError) {
	i, refused := c.e.findInstance(c.param("InstanceId"))
	if refused == nil && i.Region != c.region {
		return nil, failed(404, "INSTANCE_NOT_EXIST", "instance %s does not exist", i.ID)
	}
	return i, refused
}

// success adds what all answers of this service carry.
func success(o object) object {
	o["Code"], o["IsSuccess"] = "success", true
	return o
}

func (c *call) paging() (number, size int, refused *apiError) {
	if number, refused = c.number("PageNo", 1, 1<<30); refused == nil {
		size, refused = c.number("PageSize", 30, 100)
	}
	return number, size, refused
}

func listInstance(c *call) (object, *apiError) {
	number, size, refused := c.paging()
	if refused != nil {
		return nil, refused
	}
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	found := slices.DeleteFunc(slices.Clone(c.e.instances), func(i *instance) bool {
		return i.Region != c.region || c.param("InstanceName") != "" && i.Name != c.param("InstanceName") ||
			c.param("InstanceStatus") != "" && i.Status != c.param("InstanceStatus")
	})
	cut, total := page(c, found, number, size)
	items := []object{}
	for _, i := range cut {
		at := strconv.FormatInt(i.created.UnixMilli(), 10)
		items = append(items, object{"InstanceId": i.ID, "InstanceName": i.Name, "RegionId": i.Region, "InstanceStatus": i.Status,
			"InstanceSpecification": "Enterprise_Advanced", "CreateTime": at, "ModifiedTime": at, "ResourceGroupId": "rg-acfm" + i.Region})
	}
	return success(object{"Instances": items, "PageNo": number, "PageSize": size, "TotalCount": total}), nil
}

func getInstance(c *call) (object, *apiError) {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	i, refused := c.instance()
	if refused != nil {
		return nil, refused
	}
	return success(object{"InstanceId": i.ID, "InstanceName": i.Name, "InstanceStatus": i.Status, "InstanceSpecification": "Enterprise_Advanced",
		"CreateTime": i.created.UnixMilli(), "ModifiedTime": i.created.UnixMilli()}), nil
}

func getAuthorizationToken(c *call) (object, *apiError) {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	i, refused := c.instance()
	if refused != nil {
		return nil, refused
	}
	now := c.e.now()
	for password, expires := range i.temporary {
		if len(i.temporary) >= maxLogins && now.After(expires) {
			delete(i.temporary, password)
		}
	}
	if len(i.temporary) >= maxLogins {
		return nil, failed(400, "Throttling.User", "Request was denied due to user flow control.")
	}
	password, expires := newText(80), now.Add(c.e.options.LoginLife)
	i.temporary[password] = expires
	return success(object{"TempUsername": temporaryUser, "AuthorizationToken": password, "ExpireTime": expires.UnixMilli()}), nil
}

// listOccurrences is a guess from beginning to end: only the action's name is public.
func listOccurrences(c *call) (object, *apiError) {
	number, size, refused := c.paging()
	if refused != nil {
		return nil, refused
	}
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	i, refused := c.instance()
	if refused != nil {
		return nil, refused
	}
	found := []Occurrence{}
	for _, o := range i.occurrences {
		fits := func(name, is string) bool { return c.param(name) == "" || c.param(name) == is }
		if fits("NoteName", o.NoteName) && fits("ResourceUri", o.ResourceURI) && fits("Kind", "ATTESTATION") {
			found = append(found, o)
		}
	}
	cut, total := page(c, found, number, size)
	items := []object{}
	for _, o := range cut {
		signatures := []object{}
		for _, s := range o.Signatures {
			signatures = append(signatures, object{"PublicKeyId": s.KeyID, "Signature": base64.StdEncoding.EncodeToString(s.Value)})
		}
		items = append(items, object{"NoteName": o.NoteName, "Kind": "ATTESTATION", "Resource": object{"Uri": o.ResourceURI},
			"Attestation": object{"SerializedPayload": base64.StdEncoding.EncodeToString(o.Payload), "Signatures": signatures}})
	}
	return success(object{"Occurrences": items, "PageNo": number, "PageSize": size, "TotalCount": total}), nil
}
