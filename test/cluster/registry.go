package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Registry is a registry process on loopback. Its methods may be called from any goroutine, those that start and stop
// it one at a time.
type Registry struct {
	command Command
	// setAddress makes the command listen on an address.
	setAddress func(*Command, string)
	host       string
	login      *Login
	ca         []byte // PEM; nil: plain HTTP
	process    *Process
}

// listening matches what both registries log once they listen, and where.
var listening = regexp.MustCompile(`listening on (127\.0\.0\.1:[0-9]+)`)

// Start starts the registry again after [Registry.Stop], under the same host and port. What a distribution registry
// held is still there, what a referrers registry held is not.
func (r *Registry) Start(ctx context.Context) error {
	r.setAddress(&r.command, r.host)
	process, err := StartProcess(ctx, r.command, func(ctx context.Context) error {
		log, err := os.ReadFile(r.command.Log)
		if err != nil {
			return err
		}
		found := listening.FindAllSubmatch(log, -1)
		if found == nil {
			return errors.New("it does not listen")
		}
		host := string(found[len(found)-1][1])
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", host)
		if err != nil {
			return err
		}
		r.host = host
		return connection.Close()
	})
	if err != nil {
		return fmt.Errorf("starting a registry: %w", err)
	}
	r.process = process
	return nil
}

// Host is the registry's name in references: 127.0.0.1 and a port.
func (r *Registry) Host() string { return r.host }

// Process is the running process, or the last one.
func (r *Registry) Process() *Process { return r.process }

// Pause makes the registry hang: connections are accepted, nothing is answered.
func (r *Registry) Pause(ctx context.Context) error { return r.process.Pause(ctx) }

// Resume lets a paused registry go on.
func (r *Registry) Resume() error { return r.process.Resume() }

// Stop ends the registry: connections are refused.
func (r *Registry) Stop(ctx context.Context) error { return r.process.Stop(ctx) }

// Logs returns what the registry logged.
func (r *Registry) Logs() string {
	log, err := os.ReadFile(r.command.Log)
	if err != nil {
		return err.Error()
	}
	return string(log)
}

// Request is a request that the registry answered.
type Request struct {
	Method, Path string
	Status       int
}

// accessLine matches a line of the common log format, which both registries write.
var accessLine = regexp.MustCompile(`"([A-Z]+) (/\S*) HTTP/[0-9.]+" ([0-9]{3}) `)

// Requests returns the requests answered so far, in order.
func (r *Registry) Requests() []Request {
	var requests []Request
	for _, match := range accessLine.FindAllStringSubmatch(r.Logs(), -1) {
		status, _ := strconv.Atoi(match[3]) // three digits
		requests = append(requests, Request{Method: match[1], Path: match[2], Status: status})
	}
	return requests
}

// Push uploads an image or index as "repository:tag" or "repository@digest" and returns its digest.
func (r *Registry) Push(ctx context.Context, reference string, content remote.Taggable) (string, error) {
	return Push(ctx, r.host+"/"+reference, content, r.RemoteOptions(ctx)...)
}

// RemoteOptions are what go-containerregistry needs to talk to the registry: its login, its certificate authority.
func (r *Registry) RemoteOptions(ctx context.Context) []remote.Option {
	options := []remote.Option{remote.WithContext(ctx), remote.WithTransport(r.Transport())}
	if r.login != nil {
		basic := &authn.Basic{Username: r.login.Username, Password: r.login.Password}
		options = append(options, remote.WithAuth(basic))
	}
	return options
}

// Transport returns a transport that trusts the registry's certificate authority. It keeps no connection open.
func (r *Registry) Transport() *http.Transport {
	transport := &http.Transport{DisableKeepAlives: true}
	if r.ca != nil {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(r.ca)
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return transport
}

// Push uploads an image or index under a full reference and returns its digest ("sha256:…").
func Push(ctx context.Context, reference string, content remote.Taggable, options ...remote.Option) (string, error) {
	target, err := name.ParseReference(reference)
	if err != nil {
		return "", fmt.Errorf("pushing: %w", err)
	}
	if len(options) == 0 {
		options = []remote.Option{remote.WithTransport(&http.Transport{DisableKeepAlives: true})}
	}
	options = append(options, remote.WithContext(ctx))
	if err := remote.Push(target, content, options...); err != nil {
		return "", fmt.Errorf("pushing %s: %w", reference, err)
	}
	descriptor, err := remote.Head(target, options...)
	if err != nil {
		return "", fmt.Errorf("asking for the digest of %s: %w", reference, err)
	}
	return descriptor.Digest.String(), nil
}

// AddRegistry makes containerd take images whose references name host from the registry, which may listen elsewhere:
// "registry.example.com" for names as users write them, or the registry's own [Registry.Host], which is needed only
// when it speaks TLS. It may be called at any time.
func (n *Node) AddRegistry(host string, registry *Registry) error {
	folder := n.path("hosts", host)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("adding registry %s: %w", host, err)
	}
	scheme, trust := "http", ""
	if registry.ca != nil {
		scheme = "https"
		authority := filepath.Join(folder, "ca.pem")
		if err := os.WriteFile(authority, registry.ca, 0o644); err != nil {
			return fmt.Errorf("adding registry %s: %w", host, err)
		}
		trust = fmt.Sprintf("ca = %q\n", authority)
	}
	url := scheme + "://" + registry.host
	content := fmt.Sprintf("server = %q\n[host.%q]\ncapabilities = [\"pull\", \"resolve\"]\n%s", url, url, trust)
	if err := os.WriteFile(filepath.Join(folder, "hosts.toml"), []byte(content), 0o644); err != nil {
		return fmt.Errorf("adding registry %s: %w", host, err)
	}
	return nil
}
