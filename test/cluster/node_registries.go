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
