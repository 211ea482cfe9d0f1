package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/kritis-node/kritis-node/policyagent/attestations/registry"
)

// registryFlags say how registries are reached.
type registryFlags struct {
	hosts, dockerConfig string
	unsafeHelpers       bool
}

func (r *registryFlags) add(f *pflag.FlagSet) {
	f.StringVar(&r.hosts, "registry-config", "", "YAML `file` with settings per registry host: plain HTTP, TLS, mirrors")
	f.StringVar(&r.dockerConfig, "docker-config", "", "Docker config `file` with credentials")
	f.BoolVar(&r.unsafeHelpers, "unsafe-credential-helpers", false, "run the programs that the Docker config names as credential helpers")
}

// addForUser is add for commands that a person runs, who has a Docker config in the usual place.
func (r *registryFlags) addForUser(f *pflag.FlagSet) {
	r.add(f)
	f.Lookup("docker-config").Usage += "; default: the one in DOCKER_CONFIG or ~/.docker, if there is one"
}

// useDefaults takes the user's own Docker config if none was named.
func (r *registryFlags) useDefaults() {
	if r.dockerConfig != "" {
		return
	}
	dir := os.Getenv("DOCKER_CONFIG")
	if home, err := os.UserHomeDir(); dir == "" && err == nil {
		dir = filepath.Join(home, ".docker")
	}
	path := filepath.Join(dir, "config.json")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		r.dockerConfig = path
	}
}

func (r *registryFlags) config() (registry.Config, error) {
	cfg := registry.Config{DockerConfig: r.dockerConfig, UnsafeCredentialHelpers: r.unsafeHelpers}
	if r.hosts == "" {
		return cfg, nil
	}
	var err error
	cfg.Hosts, err = registry.ReadHosts(r.hosts)
	return cfg, err
}
