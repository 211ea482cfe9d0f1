package alicloudtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// State is what an emulator may begin with, as YAML. Keys may be asked for more versions than one.
type State struct {
	Users     []User     `yaml:"users"`
	Roles     []Role     `yaml:"roles"`
	Keys      []StateKey `yaml:"keys"`
	Witnesses []Witness  `yaml:"witnesses"`
	Policies  []Policy   `yaml:"policies"`
	Instances []Instance `yaml:"instances"`
	// Rules may name an instance by its name.
	Rules []SignatureRule `yaml:"rules"`
	// MetadataRole is the role of the instance whose metadata are emulated; empty: as it was.
	MetadataRole string `yaml:"metadataRole"`
}

// StateKey is a key of a [State].
type StateKey struct {
	NewKey `yaml:",inline"`
	// Versions is how many versions the key has, 1 if 0; State its state, Enabled if empty.
	Versions int    `yaml:"versions"`
	State    string `yaml:"state"`
}

// ReadState reads a State; unknown fields are errors.
func ReadState(data []byte) (State, error) {
	var s State
	if err := decode(data, &s); err != nil {
		return State{}, fmt.Errorf("state: %w", err)
	}
	return s, nil
}

// decode reads YAML, of which JSON is a part; unknown fields are errors.
func decode(data []byte, into any) error {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// Applied says what a State became where it left something to chance.
type Applied struct {
	Users     []User     `json:"users,omitempty"`
	Keys      []Key      `json:"keys,omitempty"`
	Instances []Instance `json:"instances,omitempty"`
}

// Apply adds a State to what is there, in its order, and stops at the first thing that cannot be.
func (e *Emulator) Apply(s State) (Applied, error) {
	var done Applied
	for _, user := range s.Users {
		done.Users = append(done.Users, e.AddUser(user))
	}
	for _, role := range s.Roles {
		e.AddRole(role)
	}
	for _, k := range s.Keys {
		made, err := e.applyKey(k)
		if err != nil {
			return done, err
		}
		done.Keys = append(done.Keys, made)
	}
	for _, witness := range s.Witnesses {
		e.PutWitness(witness)
	}
	for _, policy := range s.Policies {
		e.PutPolicy(policy)
	}
	for _, add := range s.Instances {
		if registry := e.RegistryHost(); registry != "" && len(s.Instances) == 1 && len(add.Hosts) == 0 {
			add.Hosts = []string{registry} // with one instance nobody needs to change name resolution
		}
		added, err := e.AddInstance(add)
		if err != nil {
			return done, err
		}
		done.Instances = append(done.Instances, added)
	}
	for _, rule := range s.Rules {
		rule.Instance = e.instanceNamed(rule.Instance)
		if err := e.AddSignatureRule(rule); err != nil {
			return done, err
		}
	}
	if s.MetadataRole != "" {
		e.SetMetadataRole(s.MetadataRole)
	}
	return done, nil
}

func (e *Emulator) applyKey(k StateKey) (Key, error) {
	made, err := e.CreateKey(k.NewKey)
	if err != nil {
		return Key{}, err
	}
	for range k.Versions - 1 {
		if _, err := e.AddKeyVersion(made.Region, made.ID); err != nil {
			return Key{}, err
		}
	}
	if k.State != "" {
		if err := e.SetKeyState(made.Region, made.ID, k.State); err != nil {
			return Key{}, err
		}
	}
	return e.Key(made.Region, made.ID)
}

// instanceNamed finds an instance's ID by its name; what is no name is an ID.
func (e *Emulator) instanceNamed(name string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, i := range e.instances {
		if i.Name == name {
			return i.ID
		}
	}
	return name
}

// ClientConfig is a configuration of the product's client for this emulator, as YAML. Source is AccessKey, RRSA or ECSRole.
func (e *Emulator) ClientConfig(source string) string {
	credentials := "{source: " + source + "}"
	if source == "ECSRole" {
		credentials = "{source: " + source + ", unsafeMetadataAddress: \"" + e.MetadataURL() + "\"}"
	}
	return fmt.Sprintf("region: %s\nnetwork: public\ncredentials: %s\nendpoints: {kms: %q, sas: %q, cr: %q, sts: %q}\ncaFile: %q\n",
		e.Region(), credentials, e.Host(), e.Host(), e.Host(), e.Host(), e.CAFile())
}

// Environment are the variables that a client with the user's AccessKey reads, as NAME=value.
func (u User) Environment() []string {
	return []string{"ALIBABA_CLOUD_ACCESS_KEY_ID=" + u.AccessKeyID, "ALIBABA_CLOUD_ACCESS_KEY_SECRET=" + u.AccessKeySecret}
}

// RRSAEnvironment are the variables that a pod with a role has, as NAME=value; the token is in a file.
func (e *Emulator) RRSAEnvironment(role, tokenFile string) []string {
	e.mu.Lock()
	provider := e.roles[role].OIDCProvider
	e.mu.Unlock()
	return []string{"ALIBABA_CLOUD_ROLE_ARN=" + e.RoleARN(role), "ALIBABA_CLOUD_OIDC_PROVIDER_ARN=" + e.OIDCProviderARN(provider),
		"ALIBABA_CLOUD_OIDC_TOKEN_FILE=" + tokenFile}
}

// Example is a state to try things with: a user who may do everything, a role for pods and instances, an instance "demo"
// where anybody may push and pull, and whose namespace "team" is signed with the key of witness "builder".
func Example() State {
	all := []string{"kms:*", "yundun-sas:*", "cr:*"}
	return State{
		Users:        []User{{Name: "alice", Allow: all}},
		Roles:        []Role{{Name: "kritis", Allow: all, OIDCProvider: "ack", JWT: &JWTTrust{Audience: "sts.aliyuncs.com"}}},
		Keys:         []StateKey{{NewKey: NewKey{ID: "key-example", Alias: "alias/images"}}},
		Witnesses:    []Witness{{Name: "builder", KeyID: "key-example", Remark: "signs what the namespace team holds"}},
		Instances:    []Instance{{Name: "demo", AnonymousPull: true, AnonymousPush: true}},
		Rules:        []SignatureRule{{Instance: "demo", Namespace: "team", Witness: "builder"}},
		MetadataRole: "kritis",
	}
}
