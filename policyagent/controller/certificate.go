package controller

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/open-policy-agent/cert-controller/pkg/rotator"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
)

// Keys of the Secret. tls.crt and tls.key are what the webhook needs; ca.key is nothing for it.
const (
	keyServerCert = "tls.crt"
	keyServerKey  = "tls.key"
	keyCACert     = "ca.crt"
	keyCAKey      = "ca.key"
)

const (
	caLifetime     = 10 * 365 * 24 * time.Hour
	serverLifetime = 365 * 24 * time.Hour
	// renewBefore is how long before its end a certificate is replaced: as long as the controller may be away.
	renewBefore = 90 * 24 * time.Hour
	// backdated is how much earlier than now certificates begin, for machines whose clocks are late.
	backdated = time.Hour
	// overlap is for how long the authority before the present one is still trusted: webhooks go on with a certificate of
	// it until the kubelet has brought them the new one, which takes a minute or two.
	overlap = 15 * time.Minute
	// maxTrusted is how many authorities are trusted at once, and maxBundle how long what is there may be, in bytes.
	maxTrusted = 3
	maxBundle  = 64 << 10

	caName         = "kritis-webhook-ca"
	caOrganization = "kritis-node"
)

// chain is an authority's certificate and key, and a server's that it signed, all PEM.
type chain struct{ caCert, caKey, cert, key []byte }

func chainOf(data map[string][]byte) chain {
	return chain{data[keyCACert], data[keyCAKey], data[keyServerCert], data[keyServerKey]}
}

func (c chain) data() map[string][]byte {
	return map[string][]byte{keyCACert: c.caCert, keyCAKey: c.caKey, keyServerCert: c.cert, keyServerKey: c.key}
}

// issuer makes and judges certificates for one DNS name. cert-controller does both; of it nothing else is used, see
// docs/decisions/0007-a-program-for-the-controller.md.
type issuer struct {
	maker *rotator.CertRotator
}

func newIssuer(dnsName string) *issuer {
	return &issuer{&rotator.CertRotator{
		CAName: caName, CAOrganization: caOrganization, DNSName: dnsName, ExtKeyUsages: &[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}}
}

// renew returns a chain that is good for renewBefore more, and why it is another one; or the one that was given.
func (i *issuer) renew(old chain, now time.Time) (next chain, why string, err error) {
	at := now.Add(renewBefore)
	if ok, err := rotator.ValidCert(old.caCert, old.caCert, old.caKey, caName, nil, at); !ok {
		authority, failure := i.maker.CreateCACert(now.Add(-backdated), now.Add(caLifetime))
		if failure != nil {
			return chain{}, "", fmt.Errorf("making the webhook's authority: %w", failure)
		}
		next, failure := i.sign(authority, now)
		return next, "authority: " + v1beta1.Message(err.Error()), failure
	}
	ok, err := rotator.ValidCert(old.caCert, old.cert, old.key, i.maker.DNSName, i.maker.ExtKeyUsages, at)
	if ok {
		return old, "", nil
	}
	authority, failure := parseAuthority(old)
	if failure != nil {
		return chain{}, "", failure
	}
	next, failure = i.sign(authority, now)
	return next, "certificate: " + v1beta1.Message(err.Error()), failure
}

func (i *issuer) sign(authority *rotator.KeyPairArtifacts, now time.Time) (chain, error) {
	cert, key, err := i.maker.CreateCertPEM(authority, now.Add(-backdated), now.Add(serverLifetime))
	if err != nil {
		return chain{}, fmt.Errorf("making the webhook's certificate: %w", err)
	}
	return chain{authority.CertPEM, authority.KeyPEM, cert, key}, nil
}

// parseAuthority reads what ValidCert has accepted, so it fails only if the key is not of the kind that is made here.
func parseAuthority(c chain) (*rotator.KeyPairArtifacts, error) {
	cert, err := first(c.caCert)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(c.caKey)
	if block == nil {
		return nil, errors.New("the key of the webhook's authority is no PEM: delete the Secret, and another will be made")
	}
	var key *rsa.PrivateKey
	if key, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
		return nil, fmt.Errorf("reading the key of the webhook's authority: %w; delete the Secret, and another will be made", err)
	}
	return &rotator.KeyPairArtifacts{Cert: cert, Key: key, CertPEM: c.caCert, KeyPEM: c.caKey}, nil
}

// first returns the first certificate of a PEM.
func first(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("a certificate is no PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading a certificate: %w", err)
	}
	return cert, nil
}

// trust returns what the API server is to trust in: the authority, and for a while after it was made those that were
// trusted before. until is when those have to go; zero if there are none.
func trust(authority []byte, before [][]byte, now time.Time) (bundle []byte, until time.Time, err error) {
	present, err := first(authority)
	if err != nil {
		return nil, time.Time{}, err
	}
	bundle = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: present.Raw})
	end := present.NotBefore.Add(backdated + overlap)
	if !now.Before(end) {
		return bundle, time.Time{}, nil
	}
	n := 1
	for _, old := range before {
		for rest := old[:min(len(old), maxBundle)]; n < maxTrusted; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			cert, err := x509.ParseCertificate(block.Bytes)
			// Only authorities that were made here: somebody else's has no reason to be trusted any longer.
			if err != nil || cert.Subject.CommonName != caName || now.After(cert.NotAfter) {
				continue
			}
			again := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
			if bytes.Contains(bundle, again) {
				continue
			}
			bundle, until = append(bundle, again...), end
			n++
		}
	}
	return bundle, until, nil
}
