package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	// maxManifest is the size of a manifest, an index or a page of referrers in bytes: what registries accept.
	maxManifest  = 4 << 20
	maxRedirects = 5
)

// endpoint is one place where a repository is: a mirror, or the registry itself.
type endpoint struct {
	host string
	path string // of the repository, without the host
}

func (e endpoint) String() string { return e.host + "/" + e.path }

// session is an authenticated conversation with one endpoint about one repository.
type session struct {
	endpoint
	base    url.URL
	client  *http.Client
	secrets []string
}

// connect finds out how the endpoint wants to be talked to, and logs in.
func (s *Source) connect(ctx context.Context, e endpoint, as login) (*session, error) {
	scheme := "https"
	if s.transports.settings(e.host).PlainHTTP {
		scheme = "http"
	}
	repository, err := name.NewRepository(e.String(), name.StrictValidation)
	if err != nil {
		return nil, fmt.Errorf("%s is not the name of a repository: correct the image's name or the mirror", oneLine(e.String()))
	}
	inner := guard{s.transports, e.host, !as.anonymous()}
	rt, err := transport.NewWithContext(ctx, repository.Registry, as.authenticator(), inner, []string{repository.Scope(transport.PullScope)})
	if err != nil {
		return nil, redacted(err, as.secrets)
	}
	return &session{
		endpoint: e,
		base:     url.URL{Scheme: scheme, Host: repository.RegistryStr(), Path: "/v2/" + repository.RepositoryStr()},
		client:   &http.Client{Transport: rt, CheckRedirect: limitRedirects},
		secrets:  as.secrets,
	}, nil
}

func limitRedirects(_ *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	return nil
}

// answer is what a registry said, read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// get reads an answer of at most limit bytes. Statuses that are not among the accepted ones are errors.
func (s *session) get(ctx context.Context, u url.URL, limit int64, accept []types.MediaType, statuses ...int) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return answer{}, redacted(err, s.secrets)
	}
	for _, a := range accept {
		req.Header.Add("Accept", string(a))
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return answer{}, redacted(err, s.secrets)
	}
	defer resp.Body.Close()
	if err := transport.CheckError(resp, statuses...); err != nil {
		return answer{}, redacted(err, s.secrets)
	}
	if resp.StatusCode != http.StatusOK {
		return answer{status: resp.StatusCode}, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return answer{}, redacted(err, s.secrets)
	}
	if int64(len(body)) > limit {
		return answer{}, fmt.Errorf("the answer has more than %d bytes: it is not an attestation's", limit)
	}
	return answer{resp.StatusCode, resp.Header, body}, nil
}

// manifest reads a manifest by tag or digest, and checks a digest. A manifest that does not exist is nil.
func (s *session) manifest(ctx context.Context, reference string, accept ...types.MediaType) ([]byte, error) {
	u := s.base
	u.Path += "/manifests/" + reference
	a, err := s.get(ctx, u, maxManifest, accept, http.StatusOK, http.StatusNotFound)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", reference, err)
	}
	if a.status == http.StatusNotFound {
		return nil, nil
	}
	if h, err := v1.NewHash(reference); err == nil {
		if err := checkDigest(a.body, h); err != nil {
			return nil, fmt.Errorf("manifest %s: %w", reference, err)
		}
	}
	return a.body, nil
}

// blob reads a blob and checks size and digest.
func (s *session) blob(ctx context.Context, d v1.Descriptor, limit int64) ([]byte, error) {
	if d.Size < 0 || d.Size > limit {
		return nil, fmt.Errorf("blob %s: it has %d bytes and may have %d: it is not an attestation of an image", d.Digest, d.Size, limit)
	}
	u := s.base
	u.Path += "/blobs/" + d.Digest.String()
	a, err := s.get(ctx, u, limit, nil, http.StatusOK)
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", d.Digest, err)
	}
	if int64(len(a.body)) != d.Size {
		return nil, fmt.Errorf("blob %s: it has %d bytes where its manifest says %d; push it again", d.Digest, len(a.body), d.Size)
	}
	if err := checkDigest(a.body, d.Digest); err != nil {
		return nil, fmt.Errorf("blob %s: %w", d.Digest, err)
	}
	return a.body, nil
}

func checkDigest(data []byte, want v1.Hash) error {
	h, err := v1.Hasher(want.Algorithm)
	if err != nil {
		return fmt.Errorf("its digest algorithm is not known: push it again with sha256")
	}
	h.Write(data)
	if got := fmt.Sprintf("%x", h.Sum(nil)); got != want.Hex {
		return fmt.Errorf("what the registry sent has digest %s:%s; push it again", want.Algorithm, got)
	}
	return nil
}

// parseManifest and parseIndex read what was bounded before. Digests in them are well formed afterwards.
func parseManifest(data []byte) (*v1.Manifest, error) {
	m, err := v1.ParseManifest(bytes.NewReader(data))
	if err != nil {
		return nil, errors.New("it is not the JSON of a manifest; push it again")
	}
	if m.MediaType != "" && !slices.Contains([]types.MediaType{types.OCIManifestSchema1, types.DockerManifestSchema2}, m.MediaType) {
		return nil, fmt.Errorf("it has media type %s and is no image manifest; push it again", oneLine(string(m.MediaType)))
	}
	return m, nil
}

func parseIndex(data []byte) (*v1.IndexManifest, error) {
	m, err := v1.ParseIndexManifest(bytes.NewReader(data))
	if err != nil || !strings.HasPrefix(string(m.MediaType), string(types.OCIImageIndex)) {
		return nil, errors.New("it is not the JSON of an OCI index; see that the host is a registry")
	}
	return m, nil
}
