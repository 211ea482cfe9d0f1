package alicloudtest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// maxListed bounds witnesses, policies and instances.
const maxListed = 60_000

// Witness is what the API calls an attestor: a name for a KMS key.
type Witness struct {
	Name      string `yaml:"name"`
	KeyID     string `yaml:"keyId"`
	KeyRegion string `yaml:"keyRegion"`
	// KeyVersion may be empty.
	KeyVersion string `yaml:"keyVersion"`
	Remark     string `yaml:"remark"`
}

// Policy is a binary security policy.
type Policy struct {
	Name     string   `yaml:"name"`
	Enabled  bool     `yaml:"enabled"`
	Required []string `yaml:"required"` // witnesses
	Scopes   []Scope  `yaml:"scopes"`
	Remark   string   `yaml:"remark"`
	// Mode is the policy mode; empty: requireAttestor.
	Mode string `yaml:"mode"`
	// Status overrides how Enabled is written, for spellings that nobody expects.
	Status string `yaml:"status"`
}

// Scope is where a policy applies.
type Scope struct {
	ClusterID  string   `yaml:"clusterId" json:"ClusterId"`
	Namespaces []string `yaml:"namespaces" json:"Namespaces"`
}

// PutWitness adds a witness or replaces the one of its name.
func (e *Emulator) PutWitness(w Witness) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if w.KeyRegion == "" {
		w.KeyRegion = e.options.Region
	}
	e.witnesses = put(e.witnesses, w, func(old Witness) bool { return old.Name == w.Name })
}

// DeleteWitness deletes a witness, if it is there.
func (e *Emulator) DeleteWitness(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.witnesses = slices.DeleteFunc(e.witnesses, func(old Witness) bool { return old.Name == name })
}

// PutPolicy adds a policy or replaces the one of its name.
func (e *Emulator) PutPolicy(p Policy) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p.Required, p.Scopes = slices.Clone(p.Required), slices.Clone(p.Scopes) // the caller's own stay theirs
	e.policies = put(e.policies, p, func(old Policy) bool { return old.Name == p.Name })
}

// DeletePolicy deletes a policy, if it is there.
func (e *Emulator) DeletePolicy(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.policies = slices.DeleteFunc(e.policies, func(old Policy) bool { return old.Name == name })
}

// EnablePolicy turns a policy's switch on or off.
func (e *Emulator) EnablePolicy(name string, on bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := slices.IndexFunc(e.policies, func(p Policy) bool { return p.Name == name })
	if i < 0 {
		return fmt.Errorf("there is no policy %q", name)
	}
	e.policies[i].Enabled, e.policies[i].Status = on, ""
	return nil
}

// Spell changes how policies are written from now on.
func (e *Emulator) Spell(s Spelling) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.spelling = s.withDefaults()
}

func put[T any](list []T, item T, same func(T) bool) []T {
	if i := slices.IndexFunc(list, same); i >= 0 {
		list[i] = item
		return list
	}
	return append(list, item)
}

// listed reads the paging parameters of Security Center, and answers a page.
func listed[T any](c *call, all []T, member string, write func(T) object) (object, *apiError) {
	number, refused := c.number("CurrentPage", 1, 1<<30)
	if refused != nil {
		return nil, refused
	}
	size, refused := c.number("PageSize", 20, 100)
	if refused != nil {
		return nil, refused
	}
	cut, total := page(c, all, number, size)
	items := []object{}
	for _, item := range cut {
		items = append(items, write(item))
	}
	return object{member: items, "PageInfo": object{"CurrentPage": number, "PageSize": size, "TotalCount": total, "Count": len(items)}}, nil
}

func describeAttestors(c *call) (object, *apiError) {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	found := slices.DeleteFunc(slices.Clone(c.e.witnesses), func(w Witness) bool { return c.param("Name") != "" && w.Name != c.param("Name") })
	return listed(c, found, "Attestors", func(w Witness) object {
		return object{"Name": w.Name, "KeyId": w.KeyID, "KeyRegionId": w.KeyRegion, "KeyVersionId": w.KeyVersion, "Remark": w.Remark}
	})
}

func (w *Witness) take(c *call) {
	for name, field := range map[string]*string{"KeyId": &w.KeyID, "KeyRegionId": &w.KeyRegion, "KeyVersionId": &w.KeyVersion, "Remark": &w.Remark} {
		if value := c.param(name); value != "" {
			*field = value
		}
	}
}

func exists(name string) *apiError {
	return failed(400, "DataExists", "%s exists already.", name)
}

func missing(name string) *apiError {
	return failed(400, "DataNotExists", "%s does not exist.", name)
}

func createAttestor(c *call) (object, *apiError) {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	made := Witness{Name: c.param("Name")}
	made.take(c)
	if len(c.e.witnesses) >= maxListed || slices.ContainsFunc(c.e.witnesses, func(w Witness) bool { return w.Name == made.Name }) {
		return nil, exists(made.Name)
	}
	c.e.witnesses = append(c.e.witnesses, made)
	return object{}, nil
}

func modifyAttestor(c *call) (object, *apiError) {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	i := slices.IndexFunc(c.e.witnesses, func(w Witness) bool { return w.Name == c.param("Name") })
	if i < 0 {
		return nil, missing(c.param("Name"))
	}
	c.e.witnesses[i].take(c)
	return object{}, nil
}

func deleteAttestor(c *call) (object, *apiError) {
	c.e.DeleteWitness(c.param("Name"))
	return object{}, nil
}

func describePolicies(c *call) (object, *apiError) {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	found := slices.DeleteFunc(slices.Clone(c.e.policies), func(p Policy) bool {
		on, asked := strings.HasPrefix(c.param("Status"), "enable"), c.param("Status") != ""
		return c.param("Name") != "" && p.Name != c.param("Name") || asked && on != p.Enabled
	})
	return listed(c, found, "BinarySecurityPolicies", func(p Policy) object { return p.write(c.e.spelling) })
}

func (p Policy) write(s Spelling) object {
	status, mode := p.Status, p.Mode
	if status == "" {
		status = s.Off
		if p.Enabled {
			status = s.On
		}
	}
	if mode == "" {
		mode = "requireAttestor"
	}
	required, scopes := append([]string{}, p.Required...), append([]Scope{}, p.Scopes...)
	var policy, clusters any = object{"PolicyMode": mode, "RequiredAttestors": required}, scopes
	if s.LowerKeys {
		policy = object{"policyMode": mode, "requiredAttestors": required}
	}
	if s.PolicyAsString {
		policy = string(jsonResponse(200, policy).body)
	}
	if s.ClustersAsString {
		clusters = string(jsonResponse(200, clusters).body)
	}
	return object{"Name": p.Name, "Status": status, "Remark": p.Remark, "Policy": policy, "Clusters": clusters}
}

// take reads the parameters of Create and Modify; both spellings of the keys are known there, too.
func (p *Policy) take(c *call) *apiError {
	if text := c.param("Policy"); text != "" {
		// encoding/json matches names without regard to case.
		var said struct {
			PolicyMode        string
			RequiredAttestors []string
		}
		if err := json.Unmarshal([]byte(text), &said); err != nil || said.RequiredAttestors == nil {
			return failed(400, "InvalidPolicy", "Specified parameter Policy is not valid.")
		}
		p.Mode, p.Required = said.PolicyMode, said.RequiredAttestors
	}
	if text := c.param("Clusters"); text != "" {
		scopes := []Scope{}
		if err := json.Unmarshal([]byte(text), &scopes); err != nil {
			return failed(400, "InvalidClusters", "Specified parameter Clusters is not valid.")
		}
		p.Scopes = scopes
	}
	switch status := c.param("Status"); status {
	case "":
	case "enable", "disable":
		p.Enabled, p.Status = status == "enable", ""
	default:
		return failed(400, "InvalidStatus", "Specified parameter Status is not valid.")
	}
	if remark := c.param("Remark"); remark != "" {
		p.Remark = remark
	}
	return nil
}

func createPolicy(c *call) (object, *apiError) {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	made := Policy{Name: c.param("Name")}
	if refused := made.take(c); refused != nil {
		return nil, refused
	}
	if len(c.e.policies) >= maxListed || slices.ContainsFunc(c.e.policies, func(p Policy) bool { return p.Name == made.Name }) {
		return nil, exists(made.Name)
	}
	c.e.policies = append(c.e.policies, made)
	return object{}, nil
}

func modifyPolicy(c *call) (object, *apiError) {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	i := slices.IndexFunc(c.e.policies, func(p Policy) bool { return p.Name == c.param("Name") })
	if i < 0 {
		return nil, missing(c.param("Name"))
	}
	changed := c.e.policies[i]
	if refused := changed.take(c); refused != nil {
		return nil, refused
	}
	c.e.policies[i] = changed
	return object{}, nil
}

func deletePolicy(c *call) (object, *apiError) {
	c.e.DeletePolicy(c.param("Name"))
	return object{}, nil
}
