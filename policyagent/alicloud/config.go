package alicloud

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"sigs.k8s.io/yaml"
)

// maxConfigFile bounds the configuration and the file of certificate authorities in bytes.
const maxConfigFile = 1 << 20

// Sources of credentials. There is no chain and no guess: the one that is named is asked, or the call fails.
const (
	// SourceAccessKey takes an AccessKey, or STS credentials that somebody else renews, from a folder or the environment.
	SourceAccessKey = "AccessKey"
	// SourceRRSA exchanges the pod's OIDC token for a role's credentials (RAM Roles for Service Accounts).
	SourceRRSA = "RRSA"
	// SourceECSRole takes the credentials of the role that is bound to the ECS instance, from its metadata.
	SourceECSRole = "ECSRole"
)

// Config says as whom and where to ask. It holds no secret: those are read where Credentials says.
type Config struct {
	// Region is where the account's keys and instances are unless a call says otherwise, such as "cn-hangzhou".
	Region string `json:"region"`
	// Network is "public" or "vpc"; empty means public.
	Network     string      `json:"network,omitempty"`
	Credentials Credentials `json:"credentials"`
	Endpoints   Endpoints   `json:"endpoints,omitempty"`
	// CAFile holds certificates in PEM that are trusted besides the system's; empty means none.
	CAFile         string         `json:"caFile,omitempty"`
	CallsPerSecond CallsPerSecond `json:"callsPerSecond,omitempty"`
}

// Credentials names the source of credentials.
type Credentials struct {
	// Source is one of the constants above, and has no default.
	Source string `json:"source"`
	// Dir is a folder with the files accessKeyId, accessKeySecret and, for STS, securityToken; they are read at each call.
	// Empty means the environment: ALIBABA_CLOUD_ACCESS_KEY_ID, ALIBABA_CLOUD_ACCESS_KEY_SECRET, ALIBABA_CLOUD_SECURITY_TOKEN.
	// Only for SourceAccessKey.
	Dir string `json:"dir,omitempty"`
	// RoleName is the instance's role; empty means asking the metadata service. Only for SourceECSRole.
	RoleName string `json:"roleName,omitempty"`
	// UnsafeMetadataAddress stands in for http://100.100.100.200. Whoever answers there decides as whom we act.
	UnsafeMetadataAddress string `json:"unsafeMetadataAddress,omitempty"`
}

// Endpoints are hosts, with a port if it is not 443, that stand in for the documented ones. "{region}" in one of them is
// replaced by the region that is asked.
type Endpoints struct {
	KMS string `json:"kms,omitempty"`
	SAS string `json:"sas,omitempty"`
	CR  string `json:"cr,omitempty"`
	STS string `json:"sts,omitempty"`
}

// CallsPerSecond are limits of this process for each service; 0 means the default. The default for KMS (20) is far below
// KMS' own quota of 50 for an account and region, because several processes share that.
type CallsPerSecond struct {
	KMS int `json:"kms,omitempty"`
	SAS int `json:"sas,omitempty"`
	CR  int `json:"cr,omitempty"`
	STS int `json:"sts,omitempty"`
}

// ReadConfig reads a configuration in YAML. Unknown fields are errors, and errors name the field.
func ReadConfig(path string) (Config, error) {
	data, err := readBounded(path, maxConfigFile)
	if err != nil {
		return Config{}, fmt.Errorf("alibaba cloud configuration: %w", err)
	}
	var c Config
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		return Config{}, fmt.Errorf("alibaba cloud configuration %s: %s", path, bounded(err.Error()))
	}
	if err := c.check(); err != nil {
		return Config{}, fmt.Errorf("alibaba cloud configuration %s: %w", path, err)
	}
	return c, nil
}

// Unsafe returns the names of settings that loosen security, to be logged at start.
func (c Config) Unsafe() []string {
	if c.Credentials.UnsafeMetadataAddress != "" {
		return []string{"credentials.unsafeMetadataAddress"}
	}
	return nil
}

// check reports everything that is wrong, joined.
func (c Config) check() error {
	var errs []error
	refuse := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if !isRegion(c.Region) {
		refuse("region", "is %q, name the region of your keys, such as cn-hangzhou", c.Region)
	}
	if c.Network != "" && c.Network != "public" && c.Network != "vpc" {
		refuse("network", "is %q, must be public or vpc", c.Network)
	}
	c.Credentials.check(refuse)
	for _, e := range []struct{ field, value string }{
		{"kms", c.Endpoints.KMS}, {"sas", c.Endpoints.SAS}, {"cr", c.Endpoints.CR}, {"sts", c.Endpoints.STS},
	} {
		if e.value != "" && !isEndpoint(e.value) {
			refuse("endpoints."+e.field, "is %q, must be a host or host:port without https://", e.value)
		}
	}
	for _, l := range []struct {
		field      string
		value, max int
	}{
		{"kms", c.CallsPerSecond.KMS, 50}, {"sas", c.CallsPerSecond.SAS, 100}, {"cr", c.CallsPerSecond.CR, 100}, {"sts", c.CallsPerSecond.STS, 100},
	} {
		if l.value < 0 || l.value > l.max {
			refuse("callsPerSecond."+l.field, "is %d, must be 1 to %d", l.value, l.max)
		}
	}
	return joined(errs)
}

func (c Credentials) check(refuse func(field, format string, args ...any)) {
	switch c.Source {
	case SourceAccessKey, SourceRRSA, SourceECSRole:
	default:
		refuse("credentials.source", "is %q, must be AccessKey, RRSA or ECSRole", c.Source)
	}
	if c.Dir != "" && c.Source != SourceAccessKey {
		refuse("credentials.dir", "is for source AccessKey only: remove it")
	}
	if c.RoleName != "" && c.Source != SourceECSRole {
		refuse("credentials.roleName", "is for source ECSRole only: remove it")
	} else if c.RoleName != "" && !isRole(c.RoleName) {
		refuse("credentials.roleName", "is %q, must be the name of a RAM role", c.RoleName)
	}
	if a := c.UnsafeMetadataAddress; a != "" && c.Source != SourceECSRole {
		refuse("credentials.unsafeMetadataAddress", "is for source ECSRole only: remove it")
	} else if host, ok := strings.CutPrefix(a, "http://"); a != "" && (!ok || !isEndpoint(host)) {
		refuse("credentials.unsafeMetadataAddress", "is %q, must be http://HOST:PORT", a)
	}
}

// joined returns one error of one line.
func joined(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = err.Error()
	}
	return errors.New(strings.Join(texts, "; "))
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes: make it smaller", path, limit)
	}
	return data, nil
}
