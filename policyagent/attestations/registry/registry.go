package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/verifier"
)

// Config says how registries are talked to. The zero value works: HTTPS, no credentials, no mirrors.
type Config struct {
	Hosts []Host
	// DockerConfig is the path of a Docker config file, such as a mounted image pull secret. Empty: no credentials.
	DockerConfig string
	// UnsafeCredentialHelpers runs the programs that the Docker config names as credential helpers.
	UnsafeCredentialHelpers bool
}

// Source reads attestations from registries. It may be used concurrently.
type Source struct {
	config      Config
	credentials credentials
	transports  *transports
}

var _ attestations.Source = (*Source)(nil)

// New returns a source, or everything that is wrong with its settings.
func New(config Config) (*Source, error) {
	if err := checkHosts(config.Hosts); err != nil {
		return nil, fmt.Errorf("settings of registries: %w", err)
	}
	t, err := newTransports(config.Hosts)
	if err != nil {
		return nil, err
	}
	s := &Source{config, credentials{config.DockerConfig, config.UnsafeCredentialHelpers}, t}
	if config.DockerConfig != "" {
		// A file that cannot be read at start is a mistake; later it is a failure of each fetch.
		data, err := readBounded(config.DockerConfig)
		if err != nil {
			return nil, fmt.Errorf("reading the Docker config: %w", err)
		}
		if _, err := parseDockerConfig(data); err != nil {
			return nil, fmt.Errorf("docker config %s: %w", config.DockerConfig, err)
		}
	}
	return s, nil
}

// Name returns "registry".
func (s *Source) Name() string { return "registry" }

// Close closes idle connections.
func (s *Source) Close() error {
	s.transports.close()
	return nil
}

// Unsafe lists the settings that loosen security, for logs and status.
func (s *Source) Unsafe() []string {
	var unsafe []string
	for _, h := range s.config.Hosts {
		if h.PlainHTTP {
			unsafe = append(unsafe, "plainHTTP for "+h.Host)
		}
		if h.InsecureSkipVerify {
			unsafe = append(unsafe, "insecureSkipVerify for "+h.Host)
		}
	}
	if s.config.UnsafeCredentialHelpers {
		unsafe = append(unsafe, "credential helpers")
	}
	return unsafe
}

// Attestations asks the mirrors of the repository's host in order, then the host. The first that has any
// attestation and nothing to complain about is the answer; a mirror that has none may just not know yet. What is found
// on the way is returned in any case, and only the host's own failure makes the answer incomplete.
func (s *Source) Attestations(ctx context.Context, repository string, d verifier.Digest) ([]verifier.Attestation, error) {
	endpoints, err := s.endpoints(repository)
	if err != nil {
		return nil, err
	}
	var all attestations.List
	var errs []error
	for i, e := range endpoints {
		found, err := s.ask(ctx, e, d, len(endpoints)-i)
		if err != nil {
			err = fmt.Errorf("%s: %w", e, err)
			errs = append(errs, err)
		}
		for _, a := range found {
			if err := all.Add(a); err != nil {
				return all.Items(), fmt.Errorf("%s: %w", e, err)
			}
		}
		host := i == len(endpoints)-1
		if err == nil && (host || len(found) > 0) {
			return all.Items(), nil
		}
	}
	return all.Items(), singleLine(errors.Join(errs...))
}

// endpoints are the places of a repository in the order in which they are asked.
func (s *Source) endpoints(repository string) ([]endpoint, error) {
	host, path, ok := strings.Cut(repository, "/")
	ref, err := verifier.ParseReference(repository)
	if err != nil || !ok || ref.Repository != repository {
		return nil, fmt.Errorf("%q is not a normalised repository: write registry and path", oneLine(repository))
	}
	var all []endpoint
	for _, m := range s.transports.settings(host).Mirrors {
		mirror, prefix, _ := strings.Cut(m, "/")
		all = append(all, endpoint{mirror, strings.TrimPrefix(prefix+"/"+path, "/")})
	}
	return append(all, endpoint{host, path}), nil
}

// ask asks one endpoint, which gets its share of the time that is left.
func (s *Source) ask(ctx context.Context, e endpoint, d verifier.Digest, left int) ([]verifier.Attestation, error) {
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
		defer cancel()
	}
	session, err := s.connect(ctx, e)
	if err != nil {
		return nil, err
	}
	var bundles attestations.List
	done := make(chan error, 1)
	go func() { done <- survive(func() error { return session.bundles(ctx, d, &bundles) }) }()
	var classic attestations.List
	err = errors.Join(session.classic(ctx, d, &classic), <-done)
	return slices.Concat(classic.Items(), bundles.Items()), singleLine(err)
}

// singleLine joins joined errors in one line.
func singleLine(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
}

// survive turns a panic into an error: bytes from a registry must not end the agent.
func survive(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a bug of this program, please report it: %v", p)
		}
	}()
	return f()
}
