package alicloud

import (
	"context"
	"net/http"
	"strconv"
	"strings"
)

const (
	metadataAddress = "http://100.100.100.200"
	metadataAction  = "metadata"
	rolePath        = "/latest/meta-data/ram/security-credentials/"
	// tokenLife is how long the token for the metadata is asked for, in seconds. It is used at once.
	tokenLife = 60
)

// metadata takes the credentials of an ECS instance's role, with a token only: without one, whatever can make a pod send
// a GET request could have them. The SDK falls back to that unless the environment forbids it.
// https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata
type metadata struct {
	client        *Client
	address, role string
	// transport goes straight to the address: a proxy would see the credentials.
	transport *http.Transport
}

func newMetadata(c *Client, config Credentials) *metadata {
	m := &metadata{client: c, address: metadataAddress, role: config.RoleName,
		transport: &http.Transport{DisableKeepAlives: true, ResponseHeaderTimeout: tryTimeout, MaxResponseHeaderBytes: 64 << 10}}
	if config.UnsafeMetadataAddress != "" {
		m.address = config.UnsafeMetadataAddress
	}
	return m
}

func (m *metadata) fetch(ctx context.Context) (credential, *Error) {
	var got credential
	err := m.client.persist(ctx, ecs, metadataAction, func(ctx context.Context) *failure {
		var f *failure
		got, f = m.try(ctx)
		return f
	})
	return got, asUnauthenticated(err)
}

func (m *metadata) try(ctx context.Context) (credential, *failure) {
	token, f := m.read(ctx, http.MethodPut, "/latest/api/token", "X-aliyun-ecs-metadata-token-ttl-seconds", strconv.Itoa(tokenLife))
	if f != nil {
		return credential{}, f
	}
	const header = "X-aliyun-ecs-metadata-token"
	role := m.role
	if role == "" {
		list, f := m.read(ctx, http.MethodGet, rolePath, header, token)
		if f != nil {
			return credential{}, f
		}
		if role, _, _ = strings.Cut(list, "\n"); !isRole(role) {
			return credential{}, &failure{err: ecs.unauthenticated(metadataAction, "the instance has no RAM role: bind one to it")}
		}
	}
	text, f := m.read(ctx, http.MethodGet, rolePath+role, header, token)
	if f != nil {
		return credential{}, f
	}
	o, err := parseObject([]byte(text))
	if err != nil || o["Code"] != nil && o.said("Code") != "Success" {
		return credential{}, &failure{err: ecs.unauthenticated(metadataAction, "the metadata service gives no credentials of role "+quoted(role)+": check the role"), again: true}
	}
	c, e := expiring(ecs, metadataAction, o)
	if e != nil {
		return credential{}, &failure{err: e}
	}
	return c, nil
}

// read asks for one path.
func (m *metadata) read(ctx context.Context, method, path, header, value string) (string, *failure) {
	r, err := http.NewRequestWithContext(ctx, method, m.address+path, nil)
	if err != nil {
		return "", &failure{err: ecs.unauthenticated(metadataAction, "the request could not be built: check unsafeMetadataAddress")}
	}
	r.Header.Set(header, value)
	within, cancel := context.WithTimeout(ctx, tryTimeout/2)
	defer cancel()
	a, err := exchange(within, m.transport, r)
	switch {
	case err != nil:
		return "", ecs.unreachable(within, metadataAction, err, func(s string) string { return strings.ReplaceAll(s, value, "REDACTED") })
	case a.status == http.StatusOK && len(a.body) > 0 && len(a.body) <= maxSecretFile:
		return strings.TrimSpace(string(a.body)), nil
	case a.status == http.StatusNotFound:
		return "", &failure{err: ecs.unauthenticated(metadataAction, "the instance has no such RAM role: bind one to it, and check credentials.roleName")}
	default:
		return "", &failure{err: ecs.unauthenticated(metadataAction, "the metadata service answered with status "+strconv.Itoa(a.status)+" and no credentials"), again: a.status >= 500 || a.status == http.StatusTooManyRequests}
	}
}
