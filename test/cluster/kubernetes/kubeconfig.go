package kubernetes

import (
	"encoding/json"
	"fmt"
	"os"
)

// Users whom the API server knows by their certificates, with the names that RBAC's built-in roles are bound to.
const (
	adminUser     = "kubernetes-admin"
	adminGroup    = "system:masters"
	managerUser   = "system:kube-controller-manager"
	schedulerUser = "system:kube-scheduler"
	proxyUser     = "system:kube-proxy"
	nodeGroup     = "system:nodes"
)

// Kubeconfig is the path of the administrator's kubeconfig.
func (c *Cluster) Kubeconfig() string { return c.path("kubeconfigs", adminUser) }

// KubeconfigFor makes a kubeconfig for a user and its groups, for whom nothing is allowed yet, and returns its path.
func (c *Cluster) KubeconfigFor(user string, groups ...string) (string, error) {
	client, err := c.authority.client(user, groups...)
	if err != nil {
		return "", err
	}
	return c.writeKubeconfig(user, client)
}

// writeKubeconfig writes JSON, which YAML readers read; []byte becomes base64 there, as the format wants it.
func (c *Cluster) writeKubeconfig(user string, client *pair) (string, error) {
	type entry map[string]any
	content, err := json.MarshalIndent(entry{
		"apiVersion": "v1", "kind": "Config", "current-context": "test",
		"clusters": []entry{{"name": "test", "cluster": entry{
			"server": apiServerURL(), "certificate-authority-data": c.authority.certificatePEM,
		}}},
		"users": []entry{{"name": user, "user": entry{
			"client-certificate-data": client.certificatePEM, "client-key-data": client.keyPEM,
		}}},
		"contexts": []entry{{"name": "test", "context": entry{"cluster": "test", "user": user}}},
	}, "", "  ")
	if err != nil {
		return "", fmt.Errorf("encoding the kubeconfig of %s: %w", user, err)
	}
	path := c.path("kubeconfigs", user)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return "", fmt.Errorf("writing the kubeconfig of %s: %w", user, err)
	}
	return path, nil
}
