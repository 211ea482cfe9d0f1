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
	// Further is asked for credentials where those of DockerConfig do not suffice. It may be nil.
	Further Keychain
}

// Keychain has credentials that come and go, such as the image pull secrets of pods.
type Keychain interface {
	// DockerConfigs returns contents of Docker config files that may hold credentials for a normalised repository, in the
	// order in which they are to be tried, and beside them why there may be more. Programs that they name are not run.
	DockerConfigs(ctx context.Context, repository string) ([][]byte, error)
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
		found, err := s.ask(ctx, repository, e, d, len(endpoints)-i)
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
func (s *Source) ask(ctx context.Context, repository string, e endpoint, d verifier.Digest, left int) ([]verifier.Attestation, error) {
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
		defer cancel()
	}
	own, err := s.credentials.resolve(ctx, e.host, e.path)
	if err != nil {
		return nil, err
	}
	if s.config.Further == nil {
		found, err := s.askAs(ctx, e, d, own)
		return found, singleLine(err)
	}
	return s.askAsAny(ctx, repository, e, d, own)
}

// maxLogins is how many of a Keychain's are tried at one endpoint.
const maxLogins = 8

// askAsAny tries its own login, if there is one, then those of the Keychain for this very host, then nobody's. Only a
// refusal leads to the next.
func (s *Source) askAsAny(ctx context.Context, repository string, e endpoint, d verifier.Digest, own login) ([]verifier.Attestation, error) {
	var found []verifier.Attestation
	var refused, incomplete error
	try := func(l login) (done bool) {
		var err error
		found, err = s.askAs(ctx, e, d, l)
		_, again := errors.AsType[refusedError](err)
		if refused == nil || !again {
			refused = err // of refusals the first is told: that of the credentials that were meant
		}
		return !again
	}
	if !own.anonymous() && try(own) {
		return found, singleLine(refused)
	}
	configs, incomplete := s.config.Further.DockerConfigs(ctx, repository)
	for _, data := range configs[:min(len(configs), maxLogins)] {
		config, err := parseDockerConfig(data)
		if err != nil {
			incomplete = errors.Join(incomplete, fmt.Errorf("an image pull secret: %w", err))
			continue
		}
		if auth, _ := config.lookup(e.host, e.path); auth != (dockerAuth{}) && try(auth.login()) {
			return found, singleLine(refused)
		}
	}
	if own.anonymous() && try(login{}) {
		return found, singleLine(refused)
	}
	return found, singleLine(errors.Join(refused, incomplete))
}

// askAs asks one endpoint with one login.
func (s *Source) askAs(ctx context.Context, e endpoint, d verifier.Digest, as login) ([]verifier.Attestation, error) {
	session, err := s.connect(ctx, e, as)
	if err != nil {
		return nil, err
	}
	var bundles attestations.List
	done := make(chan error, 1)
	go func() { done <- survive(func() error { return session.bundles(ctx, d, &bundles) }) }()
	var classic attestations.List
	err = errors.Join(session.classic(ctx, d, &classic), <-done)
	return slices.Concat(classic.Items(), bundles.Items()), err
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
