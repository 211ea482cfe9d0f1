package cluster

import (
	"fmt"
	"os"
	"path/filepath"
)

// AddRegistry makes containerd take images whose references name host from the registry, which may listen elsewhere:
// "registry.example.com" for names as users write them, or the registry's own [Registry.Host], which is needed only
// when it speaks TLS. It may be called at any time.
func (n *Node) AddRegistry(host string, registry *Registry) error {
	if registry.ca == nil {
		return n.AddPlainRegistry(host, registry.host)
	}
	authority := n.path("hosts", host, "ca.pem")
	if err := os.MkdirAll(filepath.Dir(authority), 0o755); err != nil {
		return fmt.Errorf("adding registry %s: %w", host, err)
	}
	if err := os.WriteFile(authority, registry.ca, 0o644); err != nil {
		return fmt.Errorf("adding registry %s: %w", host, err)
	}
	return n.addRegistry(host, "https://"+registry.host, fmt.Sprintf("ca = %q\n", authority))
}

// AddPlainRegistry is [Node.AddRegistry] for a registry that is no process of this package: it listens on an address, without TLS.
func (n *Node) AddPlainRegistry(host, address string) error {
	return n.addRegistry(host, "http://"+address, "")
}

func (n *Node) addRegistry(host, url, trust string) error {
	folder := n.path("hosts", host)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("adding registry %s: %w", host, err)
	}
	content := fmt.Sprintf("server = %q\n[host.%q]\ncapabilities = [\"pull\", \"resolve\"]\n%s", url, url, trust)
	if err := os.WriteFile(filepath.Join(folder, "hosts.toml"), []byte(content), 0o644); err != nil {
		return fmt.Errorf("adding registry %s: %w", host, err)
	}
	return nil
}
