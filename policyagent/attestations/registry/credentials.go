package registry

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// maxHelperOutput is the size of what a credential helper prints in bytes.
const maxHelperOutput = 1 << 20

// dockerConfig is the part of ~/.docker/config.json that concerns us. Other members are other programs'.
// https://docs.docker.com/reference/cli/docker/login/#credential-stores
type dockerConfig struct {
	Auths       map[string]dockerAuth `json:"auths"`
	CredsStore  string                `json:"credsStore"`
	CredHelpers map[string]string     `json:"credHelpers"`
}

type dockerAuth struct {
	Auth          string `json:"auth"`
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// credentials finds the credentials of a registry.
type credentials struct {
	// path is that of the Docker config file; empty means none.
	path string
	// helpers allows credential helpers.
	helpers bool
}

// login is as whom a registry is asked. The zero value is nobody in particular.
type login struct {
	auth authn.Authenticator
	// secrets are those in auth, to be kept out of texts.
	secrets []string
}

func (l login) anonymous() bool { return l.auth == nil }

func (l login) authenticator() authn.Authenticator {
	if l.anonymous() {
		return authn.Anonymous
	}
	return l.auth
}

// resolve returns the login for a host and repository path. The file is read each time: tokens in it change every few
// hours. Errors say nothing of its content.
func (c credentials) resolve(ctx context.Context, host, path string) (login, error) {
	if c.path == "" {
		return login{}, nil
	}
	data, err := readBounded(c.path)
	if err != nil {
		return login{}, fmt.Errorf("reading the Docker config: %w", err)
	}
	config, err := parseDockerConfig(data)
	if err != nil {
		return login{}, fmt.Errorf("docker config %s: %w", c.path, err)
	}
	auth, helper := config.lookup(host, path)
	if helper != "" {
		if !c.helpers {
			return login{}, fmt.Errorf("docker config %s: the credentials of %s are with a credential helper, which is a program: put them into the file's auths, or allow helpers", c.path, host)
		}
		if auth, err = runHelper(ctx, helper, host); err != nil {
			return login{}, fmt.Errorf("credential helper for %s: %w", host, err)
		}
	}
	return auth.login(), nil
}

func (a dockerAuth) login() login {
	if a == (dockerAuth{}) {
		return login{}
	}
	secrets := []string{a.Password, a.IdentityToken, a.RegistryToken}
	if a.Password != "" {
		secrets = append(secrets, base64.StdEncoding.EncodeToString([]byte(a.Username+":"+a.Password)))
	}
	return login{authn.FromConfig(authn.AuthConfig{
		Username: a.Username, Password: a.Password,
		IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken,
	}), secrets}
}

func parseDockerConfig(data []byte) (dockerConfig, error) {
	var config dockerConfig
	if err := json.Unmarshal(data, &config); err != nil {
		return dockerConfig{}, errors.New("it is not the JSON of a Docker config: write it with docker login")
	}
	for key, auth := range config.Auths {
		if auth.Auth != "" {
			user, password, ok := decodeAuth(auth.Auth)
			if !ok {
				return dockerConfig{}, fmt.Errorf("the auth of %q is not the base64 of user:password: write it with docker login", oneLine(key))
			}
			auth.Username, auth.Password, auth.Auth = user, password, ""
		}
		config.Auths[key] = auth
	}
	return config, nil
}

func decodeAuth(s string) (user, password string, ok bool) {
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
	if err != nil {
		return "", "", false
	}
	// Docker pads what it keeps with zeros.
	return strings.Cut(strings.TrimRight(string(b), "\x00"), ":")
}

// lookup returns the credentials of the longest key that is the host or a prefix of host/path, or the helper that
// has them.
func (c dockerConfig) lookup(host, path string) (auth dockerAuth, helper string) {
	for _, key := range slices.Sorted(maps.Keys(c.CredHelpers)) {
		if configHost, rest := splitKey(key); configHost == canonicalHost(host) && rest == "" {
			return dockerAuth{}, c.CredHelpers[key]
		}
	}
	longest := -1
	// In order, so that of two spellings of one host always the same counts.
	for _, key := range slices.Sorted(maps.Keys(c.Auths)) {
		configHost, prefix := splitKey(key)
		if configHost == canonicalHost(host) && len(prefix) > longest && (prefix == "" || path == prefix || strings.HasPrefix(path, prefix+"/")) {
			auth, longest = c.Auths[key], len(prefix)
		}
	}
	if longest >= 0 && auth == (dockerAuth{}) {
		// docker login leaves an empty entry behind for what it gave to the store.
		return auth, c.CredsStore
	}
	return auth, ""
}

// splitKey takes a key of auths apart: "registry.example", "registry.example/team", "https://index.docker.io/v1/".
func splitKey(key string) (host, path string) {
	_, rest, ok := strings.Cut(key, "://")
	if !ok {
		rest = key
	}
	host, path, _ = strings.Cut(rest, "/")
	path = strings.TrimSuffix(path, "/")
	if ok && (path == "v1" || path == "v2") {
		path = ""
	}
	return canonicalHost(host), path
}

var helperName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)

// runHelper asks docker-credential-<name>: https://github.com/docker/docker-credential-helpers
func runHelper(ctx context.Context, name, host string) (dockerAuth, error) {
	if !helperName.MatchString(name) {
		return dockerAuth{}, fmt.Errorf("%q is not the name of a helper: correct it", oneLine(name))
	}
	if canonicalHost(host) == "docker.io" {
		host = authn.DefaultAuthKey
	}
	cmd := exec.CommandContext(ctx, "docker-credential-"+name, "get")
	cmd.Stdin = strings.NewReader(host)
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout = &limitedWriter{w: &out, left: maxHelperOutput}
	if err := cmd.Run(); err != nil {
		// Its output may hold what it should not.
		return dockerAuth{}, fmt.Errorf("docker-credential-%s get failed: %w; run it by hand", name, err)
	}
	var answer struct{ Username, Secret string }
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
		return dockerAuth{}, fmt.Errorf("docker-credential-%s printed no JSON; run it by hand", name)
	}
	if answer.Username == "<token>" {
		return dockerAuth{IdentityToken: answer.Secret}, nil
	}
	return dockerAuth{Username: answer.Username, Password: answer.Secret}, nil
}

type limitedWriter struct {
	w    io.Writer
	left int
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	if len(p) > l.left {
		return 0, errors.New("it printed too much")
	}
	l.left -= len(p)
	return l.w.Write(p)
}
