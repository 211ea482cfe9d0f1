package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// RegistryLogin is what a registry with RequireLogin asks for.
var RegistryLogin = Login{Username: "kritis", Password: "kritis-test"}

// htpasswd is the entry for RegistryLogin, made with bcrypt, the only scheme that distribution accepts.
const htpasswd = "kritis:$2y$05$kritisnodetestregistruK3L9/q2X2g4Pa/0wWIRrzE7fQGLyzyK\n"

// RegistryOptions say how a distribution registry is set up. The zero value is plain HTTP for everybody.
type RegistryOptions struct {
	// CertPEM and KeyPEM make the registry speak TLS. The certificate must hold for 127.0.0.1; CAPEM is what its clients
	// are to trust.
	CertPEM, KeyPEM, CAPEM []byte
	// RequireLogin makes the registry ask for [RegistryLogin], by HTTP basic authentication.
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
		host:       "127.0.0.1:0",
	}
	var config strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&config, format+"\n", args...) }
	files := map[string][]byte{}
	line("version: 0.1")
	line("storage: {delete: {enabled: true}, filesystem: {rootdirectory: %q}}", filepath.Join(dir, "data"))
	if options.CertPEM == nil {
		line("http: {addr: %q}", r.host)
	} else {
		line("http: {addr: %q, tls: {certificate: %q, key: %q}}", r.host, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
		files["cert.pem"], files["key.pem"] = options.CertPEM, options.KeyPEM
		r.ca = options.CAPEM
	}
	if options.RequireLogin {
		line("auth: {htpasswd: {realm: test, path: %q}}", filepath.Join(dir, "htpasswd"))
		files["htpasswd"] = []byte(htpasswd)
		r.login = &RegistryLogin
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
