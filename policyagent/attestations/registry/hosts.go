package registry

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"sigs.k8s.io/yaml"

	"github.com/kritis-node/kritis-node/verifier"
)

const (
	// maxSettings is the size in bytes of what operators give us: hosts file, Docker config, certificates.
	maxSettings = 1 << 20
	maxHosts    = 1000
	maxMirrors  = 8
)

// Host is what to know about one registry host, or mirror, or token server. The zero value of everything but Host
// is what unknown hosts get: HTTPS, the system's authorities, no mirrors.
type Host struct {
	// Host is "registry.example" or "registry.example:5000".
	Host string `json:"host"`
	// PlainHTTP sends everything, credentials too, readable by everybody on the way. Signatures still hold.
	PlainHTTP bool `json:"plainHTTP,omitempty"`
	// CAFile holds PEM certificates that are trusted for this host, besides the system's.
	CAFile string `json:"caFile,omitempty"`
	// ClientCert and ClientKey are PEM files. They are read at each connection.
	ClientCert string `json:"clientCert,omitempty"`
	ClientKey  string `json:"clientKey,omitempty"`
	// InsecureSkipVerify accepts whoever answers as the host, and sends them its credentials.
	InsecureSkipVerify bool `json:"insecureSkipVerify,omitempty"`
	// Mirrors are asked in order before the host: "mirror.example" or "mirror.example/prefix", to which the
	// repository's path is appended.
	Mirrors []string `json:"mirrors,omitempty"`
	// TokenHosts, if set, are the only other hosts that may exchange this host's credentials for a token.
	TokenHosts []string `json:"tokenHosts,omitempty"`
}

// ReadHosts reads a hosts file: YAML with the one member "hosts", a list of Host.
func ReadHosts(path string) ([]Host, error) {
	data, err := readBounded(path)
	if err != nil {
		return nil, fmt.Errorf("reading the hosts file: %w", err)
	}
	hosts, err := parseHosts(data)
	if err != nil {
		return nil, fmt.Errorf("hosts file %s: %w", path, err)
	}
	return hosts, nil
}

func parseHosts(data []byte) ([]Host, error) {
	var file struct {
		Hosts []Host `json:"hosts"`
	}
	if err := yaml.UnmarshalStrict(data, &file); err != nil {
		return nil, fmt.Errorf("%s: write it as the documentation shows", oneLine(err.Error()))
	}
	if err := checkHosts(file.Hosts); err != nil {
		return nil, err
	}
	return file.Hosts, nil
}

// checkHosts reports everything that is wrong with settings, joined.
func checkHosts(hosts []Host) error {
	if len(hosts) > maxHosts {
		return fmt.Errorf("there are %d hosts and may be %d: remove some", len(hosts), maxHosts)
	}
	var errs []error
	seen := map[string]bool{}
	for i, h := range hosts {
		refuse := func(field, format string, args ...any) {
			errs = append(errs, fmt.Errorf("hosts[%d].%s: %s", i, field, fmt.Sprintf(format, args...)))
		}
		if err := checkHost(h.Host); err != nil {
			refuse("host", "%v", err)
		}
		if key := canonicalHost(h.Host); seen[key] {
			refuse("host", "%q is there twice: keep one", h.Host)
		} else {
			seen[key] = true
		}
		if h.PlainHTTP && (h.CAFile != "" || h.ClientCert != "" || h.InsecureSkipVerify) {
			refuse("plainHTTP", "certificates mean nothing without TLS: remove one or the other")
		}
		if (h.ClientCert == "") != (h.ClientKey == "") {
			refuse("clientCert", "certificate and key belong together: set both or none")
		}
		if len(h.Mirrors) > maxMirrors {
			refuse("mirrors", "there are %d and may be %d: remove some", len(h.Mirrors), maxMirrors)
		}
		for j, m := range h.Mirrors {
			host, _, _ := strings.Cut(m, "/")
			ref, err := verifier.ParseReference(m + "/x/y")
			if checkHost(host) != nil || err != nil || !strings.HasSuffix(m+"/x/y", ref.Repository) {
				refuse(fmt.Sprintf("mirrors[%d]", j), `%q is not "host" or "host/prefix": write it without scheme and final slash`, m)
			}
		}
		for j, host := range h.TokenHosts {
			if err := checkHost(host); err != nil {
				refuse(fmt.Sprintf("tokenHosts[%d]", j), "%v", err)
			}
		}
	}
	return errors.Join(errs...)
}

func checkHost(host string) error {
	u, err := url.Parse("https://" + host)
	if err != nil || host == "" || strings.HasSuffix(host, ":") || u.Host != host || u.Hostname() == "" || strings.ToLower(host) != host {
		return fmt.Errorf(`%q is not "host" or "host:port" in lower case: write it without scheme and path`, host)
	}
	if _, err := name.NewRegistry(host, name.StrictValidation); err != nil {
		return fmt.Errorf(`%q is not a registry's host: write it as in the names of its images`, host)
	}
	return nil
}

// canonicalHost makes one spelling of the several that Docker Hub goes by, and of the default port.
func canonicalHost(host string) string {
	host = strings.TrimSuffix(strings.ToLower(host), ":443")
	if slices.Contains([]string{"index.docker.io", "registry-1.docker.io"}, host) {
		return "docker.io"
	}
	return host
}

// readBounded reads a file whose owner we trust: symbolic links are welcome, Kubernetes mounts secrets by them.
func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSettings+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxSettings {
		return nil, fmt.Errorf("%s has more than %d bytes: make it smaller", path, maxSettings)
	}
	return data, nil
}
