package alicloud

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// Client asks the cloud. It is safe for concurrent use.
type Client struct {
	config      Config
	transport   *http.Transport
	limits      map[string]*rate.Limiter
	credentials credentials
	// closed ends calls and renewals.
	closed context.Context
	close  context.CancelFunc
}

// New returns a Client. It asks nobody yet: credentials are fetched with the first call.
func New(config Config) (*Client, error) {
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("alibaba cloud configuration: %w", err)
	}
	// The SDK reads this when the program starts, and then prints every request with its signature to standard output.
	if slices.Contains(strings.Split(os.Getenv("DEBUG"), ","), "sdk") {
		return nil, errors.New("DEBUG=sdk in the environment makes the SDK print credentials: unset it")
	}
	roots, err := roots(config.CAFile)
	if err != nil {
		return nil, fmt.Errorf("alibaba cloud configuration: caFile: %w", err)
	}
	c := &Client{config: config, transport: newTransport(roots), limits: map[string]*rate.Limiter{}}
	c.closed, c.close = context.WithCancel(context.Background())
	for s, n := range map[service]int{
		kms: config.CallsPerSecond.KMS, sas: config.CallsPerSecond.SAS, cr: config.CallsPerSecond.CR, sts: config.CallsPerSecond.STS, ecs: 0,
	} {
		if n == 0 {
			n = s.callsPerSecond
		}
		c.limits[s.name] = rate.NewLimiter(rate.Limit(n), max(1, n/4))
	}
	if c.credentials, err = c.credentialsOf(config.Credentials); err != nil {
		c.Close()
		return nil, fmt.Errorf("alibaba cloud credentials: %w", err)
	}
	return c, nil
}

// Close ends calls that are under way, and waits for renewals of credentials to end.
func (c *Client) Close() {
	c.close()
	if c.credentials != nil {
		c.credentials.wait()
	}
	c.transport.CloseIdleConnections()
}

// Format keeps what a Client holds out of logs.
func (Client) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "alicloud.Client") }

func roots(caFile string) (*x509.CertPool, error) {
	if caFile == "" {
		return nil, nil // the system's, or those linked in
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pem, err := readBounded(caFile, maxConfigFile)
	if err != nil {
		return nil, err
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM: correct it", caFile)
	}
	return pool, nil
}

func newTransport(roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    tryTimeout,
		ResponseHeaderTimeout:  tryTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConns:           16,
		MaxIdleConnsPerHost:    8,
		IdleConnTimeout:        30 * time.Second,
		// HTTP/1.1, as by default with a TLS configuration: a call that ends early closes its connection, so that no
		// later call waits for one that is dead.
	}
}
