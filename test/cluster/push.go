package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

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
