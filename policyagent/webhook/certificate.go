package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

const (
	// maxPEM bounds a certificate's and a key's file in bytes.
	maxPEM = 1 << 20
	// reloadEvery is how often the files are looked at. A mounted Secret takes a minute to change, and notifications
	// would miss what some file systems do.
	reloadEvery = 5 * time.Second
)

// certificate is a pair in files, read again when it changes. The last pair that was good stays in use.
type certificate struct {
	certFile, keyFile string
	pair              atomic.Pointer[pair]
}

type pair struct {
	certPEM, keyPEM []byte
	parsed          *tls.Certificate
}

func loadCertificate(certFile, keyFile string) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile}
	_, err := c.reload()
	return c, err
}

// reload reads the files and says whether the pair is another one.
func (c *certificate) reload() (bool, error) {
	next, err := c.read()
	if err != nil {
		return false, fmt.Errorf(textCertificate, c.certFile, c.keyFile, err)
	}
	if p := c.pair.Load(); p != nil && bytes.Equal(p.certPEM, next.certPEM) && bytes.Equal(p.keyPEM, next.keyPEM) {
		return false, nil
	}
	// It refuses a key that is not the certificate's, as there is when the files are replaced one after the other.
	parsed, err := tls.X509KeyPair(next.certPEM, next.keyPEM)
	if err != nil {
		return false, fmt.Errorf(textCertificate, c.certFile, c.keyFile, err)
	}
	next.parsed = &parsed
	c.pair.Store(next)
	return true, nil
}

func (c *certificate) read() (*pair, error) {
	certPEM, err := readBounded(c.certFile)
	if err != nil {
		return nil, err
	}
	keyPEM, err := readBounded(c.keyFile)
	return &pair{certPEM: certPEM, keyPEM: keyPEM}, err
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err == nil && len(data) > maxPEM {
		err = fmt.Errorf(textCertSize, path, maxPEM)
	}
	return data, err
}

// get is tls.Config.GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.pair.Load().parsed, nil
}

// leaf is the certificate in use.
func (c *certificate) leaf() *x509.Certificate { return c.pair.Load().parsed.Leaf }

// watch reloads until the context ends, and returns nil then. A failure is logged once, not at each look.
func (c *certificate) watch(ctx context.Context, log *slog.Logger) error {
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		changed, err := c.reload()
		switch {
		case err != nil && err.Error() != last:
			last = err.Error()
			log.ErrorContext(ctx, "the certificate cannot be read; the last good one stays in use", "error", err, "expires", c.leaf().NotAfter)
		case err == nil:
			last = ""
		}
		if changed {
			log.InfoContext(ctx, "certificate changed", "expires", c.leaf().NotAfter)
		}
	}
}
