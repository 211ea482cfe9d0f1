package cluster

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// What a registry with RequireLogin asks for, and the entry that makes it do so. That is a bcrypt hash, the only scheme
// that distribution accepts.
const (
	registryUsername = "kritis"
	registryPassword = "kritis-test"
	htpasswd         = "kritis:$2y$05$kritisnodetestregistruK3L9/q2X2g4Pa/0wWIRrzE7fQGLyzyK\n"
)

// RegistryOptions say how a distribution registry is set up. The zero value is plain HTTP for everybody.
type RegistryOptions struct {
	// Address is the IPv4 address to listen on; empty: 127.0.0.1. Pods with a network of their own reach a registry on
	// their node's address only.
	Address string
	// TLS makes the registry speak TLS; see [NewCertificate].
	TLS *Certificate
	// RequireLogin makes the registry ask for [Registry.Login], by HTTP basic authentication.
	RequireLogin bool
}

// StartDistribution starts Debian's docker-registry with its data in dir. It has no referrers API, so clients fall back
// to tags; manifests can be deleted.
func StartDistribution(ctx context.Context, dir string, options RegistryOptions) (*Registry, error) {
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		return nil, fmt.Errorf("%w: run test/tools/install packages", err)
	}
	r := &Registry{
		command: Command{
			Path: program,
			Args: []string{"serve", filepath.Join(dir, "config.yml")},
			Log:  filepath.Join(dir, "registry.log"),
		},
		setAddress: func(command *Command, host string) { command.Env = []string{"REGISTRY_HTTP_ADDR=" + host} },
		host:       net.JoinHostPort(cmp.Or(options.Address, "127.0.0.1"), "0"),
	}
	var config strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&config, format+"\n", args...) }
	files := map[string][]byte{}
	line("version: 0.1")
	line("storage: {delete: {enabled: true}, filesystem: {rootdirectory: %q}}", filepath.Join(dir, "data"))
	if options.TLS == nil {
		line("http: {addr: %q}", r.host)
	} else {
		line("http: {addr: %q, tls: {certificate: %q, key: %q}}", r.host, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
		files["cert.pem"], files["key.pem"] = options.TLS.CertPEM, options.TLS.KeyPEM
		r.ca = options.TLS.CAPEM
	}
	if options.RequireLogin {
		line("auth: {htpasswd: {realm: test, path: %q}}", filepath.Join(dir, "htpasswd"))
		files["htpasswd"] = []byte(htpasswd)
		r.login = &Login{Username: registryUsername, Password: registryPassword}
	}
	files["config.yml"] = []byte(config.String())
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return nil, fmt.Errorf("writing a registry's configuration: %w", err)
		}
	}
	if err := r.Start(ctx); err != nil {
		return nil, err
	}
	return r, nil
}
