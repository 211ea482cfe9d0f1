package stack

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strings"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/test/cluster"
)

// Key is a key pair in files, PEM.
type Key struct{ Private, Public string }

// NewKey makes an RSA-2048 key pair.
func (s *Stack) NewKey(name string) (Key, error) { return WriteKey(s.path("keys", name)) }

// WriteKey makes an RSA-2048 key pair in two files whose names begin with prefix.
func WriteKey(prefix string) (Key, error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return Key{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return Key{}, err
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return Key{}, err
	}
	k := Key{Private: prefix + ".pem", Public: prefix + ".pub"}
	if err := os.WriteFile(k.Private, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return Key{}, err
	}
	return k, os.WriteFile(k.Public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o644)
}

// Authority returns the YAML of an AttestationAuthority with these keys; extra lines go into its spec.
func Authority(namespace, name string, extra string, keys ...Key) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: kritis.grafeas.io/v1beta1\nkind: AttestationAuthority\nmetadata: {namespace: %s, name: %s}\nspec:\n", namespace, name)
	fmt.Fprintf(&b, "  noteReference: namespaces/%s\n", name)
	if extra != "" {
		fmt.Fprintf(&b, "  %s\n", extra)
	}
	b.WriteString("  publicKeys:\n")
	for _, k := range keys {
		data, err := os.ReadFile(k.Public)
		if err != nil {
			return "", err
		}
		b.WriteString("  - keyType: PKIX\n    pkixPublicKey:\n      publicKeyPem: |\n")
		for line := range strings.Lines(string(data)) {
			b.WriteString("        " + line)
		}
	}
	return b.String(), nil
}

// Policy returns the YAML of a GenericAttestationPolicy; extra lines go into its spec.
func Policy(namespace, name, extra string, authorities ...string) string {
	text := fmt.Sprintf("apiVersion: kritis.grafeas.io/v1beta1\nkind: GenericAttestationPolicy\nmetadata: {namespace: %s, name: %s}\nspec:\n  attestationAuthorityNames: [%s]\n",
		namespace, name, strings.Join(authorities, ", "))
	if extra != "" {
		text += "  " + extra + "\n"
	}
	return text
}

// Allowlist returns the YAML of an AdmissionAllowlist.
func Allowlist(name string, patterns ...string) string {
	text := fmt.Sprintf("apiVersion: kritis.grafeas.io/v1beta1\nkind: AdmissionAllowlist\nmetadata: {name: %s}\nspec:\n  patterns:\n", name)
	for _, p := range patterns {
		text += fmt.Sprintf("  - namePattern: %q\n", p)
	}
	return text
}

// Require makes the namespace require an authority with the key, and waits until that is in the node's state.
func (s *Stack) Require(ctx context.Context, namespace string, keys ...Key) error {
	authority, err := Authority(namespace, "team", "", keys...)
	if err != nil {
		return err
	}
	return s.WritePolicies(ctx, namespace+".yaml", authority, Policy(namespace, "only-team", "", "team"))
}

// WritePolicies writes objects into a file of the policy folder and, if an agent runs, waits until it has written them
// to the node's state, and if a plugin runs, that it enforces them.
func (s *Stack) WritePolicies(ctx context.Context, file string, objects ...string) error {
	before := s.generation()
	// Renamed into place: the agent would rightly complain about half a file.
	tmp := s.path("policies-" + file)
	if err := os.WriteFile(tmp, []byte(strings.Join(objects, "---\n")), 0o644); err != nil {
		return err
	}
	if err := os.Rename(tmp, s.path("policies", file)); err != nil {
		return err
	}
	if s.Agent == nil || !s.Agent.Running() {
		return nil
	}
	err := cluster.Await(ctx, "the agent to take policy "+file, func(context.Context) error {
		if s.generation() == before {
			return fmt.Errorf("the node's state still has generation %d", before)
		}
		return nil
	})
	if err != nil || s.Plugin == nil || !s.Plugin.Running() {
		return err
	}
	return cluster.Await(ctx, "the plugin to take policy "+file, func(ctx context.Context) error {
		status, err := s.Status(ctx)
		if now := s.generation(); err == nil && status.Policy.Generation != now {
			err = fmt.Errorf("it has generation %d, the node's state %d", status.Policy.Generation, now)
		}
		return err
	})
}

// generation is that of the policy in the node's state.
func (s *Stack) generation() uint64 {
	reader, err := nodestate.Open(s.StateDir())
	if err != nil {
		return 0
	}
	p, err := reader.Policy()
	if err != nil {
		return 0
	}
	return p.Generation
}
