package alicloudtest

import (
	"fmt"
	"strings"
	"time"
)

// User is a RAM user with an access key.
type User struct {
	Name string `yaml:"name"`
	// AccessKeyID and AccessKeySecret are made up if they are empty.
	AccessKeyID     string `yaml:"accessKeyId"`
	AccessKeySecret string `yaml:"accessKeySecret"`
	// Allow lists RAM actions, such as "kms:GetPublicKey"; one * at the end is a wildcard. Empty: nothing.
	Allow []string `yaml:"allow"`
}

// Role is a RAM role that workloads assume by OIDC, and instances by their metadata.
type Role struct {
	Name  string   `yaml:"name"`
	Allow []string `yaml:"allow"`
	// OIDCProvider is the name of the OIDC provider that may assume the role; empty: none may.
	OIDCProvider string `yaml:"oidcProvider"`
	// Tokens are opaque tokens that the provider vouches for, and when they end (the zero time: never).
	Tokens map[string]time.Time `yaml:"tokens"`
	// JWT, if set, accepts JSON Web Tokens, too. Their signature is not checked.
	JWT *JWTTrust `yaml:"jwt"`
}

// JWTTrust is what a JSON Web Token must say; empty fields may be anything. Its exp must be in the future.
type JWTTrust struct {
	Issuer   string `yaml:"issuer"`
	Audience string `yaml:"audience"`
	Subject  string `yaml:"subject"`
}

// Credentials are temporary credentials of a role.
type Credentials struct {
	AccessKeyID, AccessKeySecret, SecurityToken string
	Expires                                     time.Time
}

// maxTemporary bounds the temporary credentials that are remembered.
const maxTemporary = 1 << 16

// principal is who an access key belongs to.
type principal struct {
	name      string // of the user or role, "user/…" or "role/…"
	accessKey string
	secret    string
	token     string    // temporary credentials only
	expires   time.Time // temporary credentials only
	disabled  bool
}

// identities are RAM's part of the state, guarded by Emulator.mu.
type identities struct {
	users       map[string]User
	roles       map[string]Role
	byAccessKey map[string]*principal
}

func newIdentities() identities {
	return identities{users: map[string]User{}, roles: map[string]Role{}, byAccessKey: map[string]*principal{}}
}

// checkToken checks the security token of temporary credentials.
func (p *principal) checkToken(token string, now time.Time) *apiError {
	switch {
	case p.disabled:
		return failed(400, "InvalidAccessKeyId.Inactive", "Specified access key is disabled.")
	case p.token == "" && token == "":
		return nil
	case p.token == "":
		return failed(400, "InvalidSecurityToken.MismatchWithAccessKey", "Specified SecurityToken mismatch with the AccessKey.")
	case token == "":
		return failed(400, "MissingSecurityToken", "SecurityToken is mandatory for this action.")
	case token != p.token:
		return failed(400, "InvalidSecurityToken.MismatchWithAccessKey", "Specified SecurityToken mismatch with the AccessKey.")
	case !now.Before(p.expires):
		return failed(400, "InvalidSecurityToken.Expired", "Specified SecurityToken is expired.")
	}
	return nil
}

// allowed tells whether RAM lets a principal do an action.
func (e *Emulator) allowed(p *principal, action string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	kind, name, _ := strings.Cut(p.name, "/")
	list := e.users[name].Allow
	if kind == "role" {
		list = e.roles[name].Allow
	}
	for _, pattern := range list {
		if prefix, wild := strings.CutSuffix(pattern, "*"); pattern == action || wild && strings.HasPrefix(action, prefix) {
			return true
		}
	}
	return false
}

// AddUser adds a user, or replaces the one of that name, and returns it with its access key.
func (e *Emulator) AddUser(user User) User {
	if user.AccessKeyID == "" {
		user.AccessKeyID = "LTAI5t" + newText(18)
	}
	if user.AccessKeySecret == "" {
		user.AccessKeySecret = newText(30)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if old, ok := e.users[user.Name]; ok {
		delete(e.byAccessKey, old.AccessKeyID)
	}
	e.users[user.Name] = user
	e.byAccessKey[user.AccessKeyID] = &principal{name: "user/" + user.Name, accessKey: user.AccessKeyID, secret: user.AccessKeySecret}
	return user
}

// DisableAccessKey makes an access key, also a temporary one, be refused.
func (e *Emulator) DisableAccessKey(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.byAccessKey[id]; p != nil {
		p.disabled = true
	}
}

// AddRole adds a role, or replaces the one of that name.
func (e *Emulator) AddRole(role Role) {
	e.mu.Lock()
	defer e.mu.Unlock()
	tokens := map[string]time.Time{}
	for token, expires := range role.Tokens {
		tokens[token] = expires
	}
	role.Tokens = tokens
	e.roles[role.Name] = role
}

// TrustToken lets the holder of an opaque token assume a role until the token ends; the zero time: for ever.
func (e *Emulator) TrustToken(role, token string, expires time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	known, ok := e.roles[role]
	if !ok {
		return fmt.Errorf("there is no role %q", role)
	}
	known.Tokens[token] = expires
	return nil
}

// Allow replaces what a user or a role, by name, is allowed to do. It takes effect at once, also for credentials given out.
func (e *Emulator) Allow(name string, actions ...string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	user, isUser := e.users[name]
	role, isRole := e.roles[name]
	if !isUser && !isRole {
		return fmt.Errorf("there is no user and no role %q", name)
	}
	if isUser {
		user.Allow = actions
		e.users[name] = user
	}
	if isRole {
		role.Allow = actions
		e.roles[name] = role
	}
	return nil
}

// RoleARN is the ARN of a role.
func (e *Emulator) RoleARN(role string) string {
	return "acs:ram::" + e.options.Account + ":role/" + role
}

// OIDCProviderARN is the ARN of an OIDC provider.
func (e *Emulator) OIDCProviderARN(provider string) string {
	return "acs:ram::" + e.options.Account + ":oidc-provider/" + provider
}

// IssueCredentials gives temporary credentials of a role, as STS does.
func (e *Emulator) IssueCredentials(role string, life time.Duration) (Credentials, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.roles[role]; !ok {
		return Credentials{}, fmt.Errorf("there is no role %q", role)
	}
	return e.issueCredentials(role, life)
}

func (e *Emulator) issueCredentials(role string, life time.Duration) (Credentials, error) {
	if len(e.byAccessKey) >= maxTemporary {
		return Credentials{}, fmt.Errorf("%d credentials were given out already", maxTemporary)
	}
	given := Credentials{
		AccessKeyID: "STS." + newText(24), AccessKeySecret: newText(44), SecurityToken: "CAIS" + newText(60) + "+/=" + newText(60),
		Expires: e.now().Add(life).UTC().Truncate(time.Second),
	}
	e.byAccessKey[given.AccessKeyID] = &principal{
		name: "role/" + role, accessKey: given.AccessKeyID, secret: given.AccessKeySecret, token: given.SecurityToken, expires: given.Expires,
	}
	return given, nil
}
