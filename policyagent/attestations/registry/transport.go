package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

// Limits of one HTTP exchange. The caller's context bounds its time.
const (
	maxHeaderBytes = 64 << 10
	// maxBody is more than anything that is read, by what shows that a limit was exceeded.
	maxBody = maxManifest + 64<<10
	// maxConnsPerHost also bounds what a hung registry holds of ours.
	maxConnsPerHost = 8
)

// transports holds the connections: one pool for each configured host, one for all others. A request goes by the
// settings of the host that it is sent to, so that a redirect carries no client certificate and no lenience elsewhere.
type transports struct {
	hosts  map[string]hostTransport
	others *http.Transport
}

type hostTransport struct {
	Host
	http *http.Transport
}

func newTransports(hosts []Host) (*transports, error) {
	t := &transports{hosts: map[string]hostTransport{}, others: newTransport(&tls.Config{MinVersion: tls.VersionTLS12})}
	for _, h := range hosts {
		config, err := tlsConfig(h)
		if err != nil {
			return nil, fmt.Errorf("settings of host %s: %w", h.Host, err)
		}
		t.hosts[canonicalHost(h.Host)] = hostTransport{h, newTransport(config)}
	}
	return t, nil
}

func newTransport(config *tls.Config) *http.Transport {
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: refuseMetadata}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    5 * time.Second,
		ResponseHeaderTimeout:  10 * time.Second,
		IdleConnTimeout:        30 * time.Second,
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    2,
		MaxConnsPerHost:        maxConnsPerHost,
		MaxResponseHeaderBytes: maxHeaderBytes,
		// What is read is measured as it came.
		DisableCompression: true,
	}
}

func tlsConfig(h Host) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	config.InsecureSkipVerify = h.InsecureSkipVerify //nolint:gosec // the operator says so, under that name, for this host
	if h.CAFile != "" {
		pem, err := readBounded(h.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading caFile: %w", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("caFile %s holds no PEM certificate: name a file that does", h.CAFile)
		}
		config.RootCAs = pool
	}
	if h.ClientCert != "" {
		load := func() (*tls.Certificate, error) {
			c, err := tls.LoadX509KeyPair(h.ClientCert, h.ClientKey)
			if err != nil {
				return nil, fmt.Errorf("loading clientCert and clientKey: %w", err)
			}
			return &c, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return config, nil
}

// metadataPrefixes are link-local addresses and the metadata services of clouds, which hand out credentials.
var metadataPrefixes = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("100.100.100.200/32"), netip.MustParsePrefix("fd00:ec2::254/128"),
}

// refuseMetadata looks at the address that is really connected to, whatever name led there.
func refuseMetadata(_, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%s is not an address: %w", address, err)
	}
	for _, p := range metadataPrefixes {
		if p.Contains(a.Addr().Unmap().WithZone("")) {
			return fmt.Errorf("%s is the address of a metadata service or link-local: no registry is there", a.Addr())
		}
	}
	return nil
}

func (t *transports) settings(host string) Host { return t.hosts[canonicalHost(host)].Host }

func (t *transports) close() {
	t.others.CloseIdleConnections()
	for _, h := range t.hosts {
		h.http.CloseIdleConnections()
	}
}

// guard is the transport under everything that is sent for one registry, tokens and redirects included.
type guard struct {
	*transports
	// host is the registry's. Its tokenHosts apply.
	host string
	// authenticated: there are credentials to lose.
	authenticated bool
}

func (g guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := g.check(req); err != nil {
		return nil, err
	}
	pool := g.others
	if h, ok := g.hosts[canonicalHost(req.URL.Host)]; ok {
		pool = h.http
		if h.PlainHTTP && req.URL.Scheme != "http" {
			// go-containerregistry always tries HTTPS first.
			req = req.Clone(req.Context())
			req.URL.Scheme = "http"
		}
	}
	resp, err := pool.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxBody}
	return resp, nil
}

func (g guard) check(req *http.Request) error {
	to := canonicalHost(req.URL.Host)
	settings := g.settings(to)
	if req.URL.Scheme != "https" && !settings.PlainHTTP {
		return fmt.Errorf("%s would be asked over plain HTTP: set plainHTTP for it if that is meant", req.URL.Host)
	}
	redirected := req.Response != nil
	if redirected && req.Method != http.MethodGet && req.Method != http.MethodHead {
		// Its body is a refresh token.
		return fmt.Errorf("the token server redirects a request that holds credentials to %s: it must answer itself", req.URL.Host)
	}
	if redirected && to != canonicalHost(req.Response.Request.URL.Host) && privateLiteral(req.URL.Hostname()) {
		if _, configured := g.hosts[to]; !configured {
			return fmt.Errorf("the registry redirects to the private address %s: list it among the hosts if that is meant", req.URL.Host)
		}
	}
	if redirected && g.authenticated && to != canonicalHost(g.host) && req.Response.Request.URL.Path == "/v2/" {
		// go-containerregistry would take the other host's challenge for the registry's and send the credentials
		// to the token server that it names.
		return fmt.Errorf("the registry redirects its whole API to %s: write that host in the image's name, or configure it as a mirror", req.URL.Host)
	}
	own := to == canonicalHost(g.host)
	carries := req.Header.Get("Authorization") != "" || req.Method == http.MethodPost
	if allowed := g.settings(g.host).TokenHosts; carries && !own && allowed != nil && !slices.ContainsFunc(allowed, func(h string) bool { return canonicalHost(h) == to }) {
		return fmt.Errorf("the registry sends its clients for a token to %s, which tokenHosts does not list: add it if it may have the credentials", req.URL.Host)
	}
	return nil
}

// privateLiteral says whether a host is an IP address of a network that the outside cannot reach.
func privateLiteral(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && (a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified())
}

// boundedBody ends bodies that never end, those that go-containerregistry discards included.
type boundedBody struct {
	io.ReadCloser
	left int64
}

var errBody = errors.New("the answer is too long")

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errBody
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
