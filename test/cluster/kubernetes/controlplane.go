package kubernetes

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// Where the control plane listens; the API server also on the node's address, the others only on loopback.
const (
	etcdURL      = "http://127.0.0.1:2379"
	etcdPeerURL  = "http://127.0.0.1:2380"
	apiPort      = "6443"
	managerURL   = "https://127.0.0.1:10257"
	schedulerURL = "https://127.0.0.1:10259"
)

// apiServerURL is where nodes, controllers and kubectl find the API server.
func apiServerURL() string { return "https://" + nodeAddress(0) + ":" + apiPort }

// writeCertificates makes what the control plane's servers and their clients present.
func (c *Cluster) writeCertificates() error {
	server, err := c.authority.server([]string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost",
	}, "127.0.0.1", nodeAddress(0), apiService)
	if err != nil {
		return err
	}
	// What the API server is to kubelets; it may do everything there.
	kubeletClient, err := c.authority.client("kube-apiserver-kubelet-client", adminGroup)
	if err != nil {
		return err
	}
	// Only the key matters: it signs the tokens of service accounts, and its public part checks them.
	accounts, err := c.authority.client("service-accounts")
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(accounts.key.Public())
	if err != nil {
		return fmt.Errorf("encoding a key: %w", err)
	}
	return c.writeFiles("certificates", map[string][]byte{
		"ca.pem": c.authority.certificatePEM, "ca-key.pem": c.authority.keyPEM,
		"server.pem": server.certificatePEM, "server-key.pem": server.keyPEM,
		"kubelet-client.pem": kubeletClient.certificatePEM, "kubelet-client-key.pem": kubeletClient.keyPEM,
		"accounts.pem": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), "accounts-key.pem": accounts.keyPEM,
	})
}

// writeFiles writes files that may hold keys.
func (c *Cluster) writeFiles(folder string, files map[string][]byte) error {
	for name, content := range files {
		if err := os.WriteFile(c.path(folder, name), content, 0o600); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	return nil
}

func (c *Cluster) certificate(name string) string { return c.path("certificates", name) }

// command returns how to start a program of Kubernetes.
func (c *Cluster) command(program string, args ...string) cluster.Command {
	return cluster.Command{
		Path: filepath.Join(c.tools, program), Args: args, Dir: c.dir, Log: c.path("logs", program+".log"),
	}
}

func (c *Cluster) makeEtcd() (*component, error) {
	program, err := exec.LookPath("etcd")
	if err != nil {
		return nil, fmt.Errorf("%w: run test/tools/install packages", err)
	}
	command := cluster.Command{
		Path: program, Dir: c.dir, Log: c.path("logs", "etcd.log"),
		Args: []string{
			"--data-dir=" + c.path("etcd"),
			"--listen-client-urls=" + etcdURL, "--advertise-client-urls=" + etcdURL,
			"--listen-peer-urls=" + etcdPeerURL, "--initial-advertise-peer-urls=" + etcdPeerURL,
			"--initial-cluster=default=" + etcdPeerURL,
		},
	}
	return &component{command: command, ready: c.healthy(etcdURL + "/health")}, nil
}

func (c *Cluster) makeAPIServer() *component {
	args := []string{
		"--etcd-servers=" + etcdURL,
		"--bind-address=0.0.0.0", "--secure-port=" + apiPort, "--advertise-address=" + nodeAddress(0),
		"--service-cluster-ip-range=" + services,
		"--tls-cert-file=" + c.certificate("server.pem"), "--tls-private-key-file=" + c.certificate("server-key.pem"),
		"--client-ca-file=" + c.certificate("ca.pem"),
		"--kubelet-certificate-authority=" + c.certificate("ca.pem"),
		"--kubelet-client-certificate=" + c.certificate("kubelet-client.pem"),
		"--kubelet-client-key=" + c.certificate("kubelet-client-key.pem"),
		// By their names it could not find nodes: there is no DNS.
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + c.certificate("accounts.pem"),
		"--service-account-signing-key-file=" + c.certificate("accounts-key.pem"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true", "--profiling=false",
		// Else it would wait, when it is stopped, a minute for those that watch.
		"--shutdown-send-retry-after=true",
	}
	return &component{
		command: c.command("kube-apiserver", append(args, c.options.APIServerArgs...)...),
		ready:   c.healthy(apiServerURL() + "/readyz"),
	}
}

// serving are the arguments of a controller that answers whether it is well, to whom the cluster knows.
func (c *Cluster) serving(kubeconfig string) []string {
	return []string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--tls-cert-file=" + c.certificate("server.pem"), "--tls-private-key-file=" + c.certificate("server-key.pem"),
		"--bind-address=127.0.0.1", "--leader-elect=false", "--profiling=false",
	}
}

func (c *Cluster) makeControllerManager() (*component, error) {
	kubeconfig, err := c.KubeconfigFor(managerUser)
	if err != nil {
		return nil, err
	}
	args := append(c.serving(kubeconfig),
		"--use-service-account-credentials=true",
		"--service-account-private-key-file="+c.certificate("accounts-key.pem"),
		"--root-ca-file="+c.certificate("ca.pem"),
		"--cluster-signing-cert-file="+c.certificate("ca.pem"), "--cluster-signing-key-file="+c.certificate("ca-key.pem"))
	return &component{
		command: c.command("kube-controller-manager", args...),
		ready:   c.healthy(managerURL + "/healthz"),
	}, nil
}

func (c *Cluster) makeScheduler() (*component, error) {
	kubeconfig, err := c.KubeconfigFor(schedulerUser)
	if err != nil {
		return nil, err
	}
	return &component{
		command: c.command("kube-scheduler", c.serving(kubeconfig)...),
		ready:   c.healthy(schedulerURL + "/healthz"),
	}, nil
}

// StopAPIServer stops the API server; everything else goes on.
func (c *Cluster) StopAPIServer(ctx context.Context) error { return c.apiServer.stop(ctx) }

// StartAPIServer starts the API server after [Cluster.StopAPIServer] and waits until it is ready.
func (c *Cluster) StartAPIServer(ctx context.Context) error { return c.apiServer.start(ctx) }

// APIServer is the running process, or the last one: to be paused, for example.
func (c *Cluster) APIServer() *cluster.Process { return c.apiServer.current() }
