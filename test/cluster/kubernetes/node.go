package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// node is a node of the cluster: a runtime with its kubelet and kube-proxy.
type node struct {
	index   int
	name    string
	runtime *cluster.Node
	kubelet *component
	proxy   *component
}

// startRuntime starts a node's containerd, with a network for its pods.
func (c *Cluster) startRuntime(ctx context.Context, index int) (*node, error) {
	n := &node{index: index, name: fmt.Sprintf("node-%d", index+1)}
	options := c.options.Node
	var err error
	if options.CNI, err = cni(index, c.path("addresses", n.name)); err != nil {
		return nil, err
	}
	if n.runtime, err = cluster.StartNode(ctx, options); err != nil {
		return nil, err
	}
	for reference, image := range c.options.Images {
		if err := n.runtime.ImportImage(ctx, reference, image); err != nil {
			return nil, errors.Join(err, n.runtime.Close())
		}
	}
	return n, nil
}

func (c *Cluster) makeKubelet(n *node) (*component, error) {
	kubeconfig, err := c.KubeconfigFor("system:node:"+n.name, nodeGroup)
	if err != nil {
		return nil, err
	}
	server, err := c.authority.server([]string{n.name}, nodeAddress(n.index), "127.0.0.1")
	if err != nil {
		return nil, err
	}
	err = c.writeFiles("certificates", map[string][]byte{
		n.name + ".pem": server.certificatePEM, n.name + "-key.pem": server.keyPEM,
	})
	if err != nil {
		return nil, err
	}
	// A pod that resolves a name is refused at once, instead of waiting for a server that cannot be reached.
	if err := os.WriteFile(c.path("resolv.conf"), []byte("nameserver 127.0.0.1\n"), 0o644); err != nil {
		return nil, fmt.Errorf("writing the configuration of pods' resolvers: %w", err)
	}
	config, err := c.kubeletConfig(n)
	if err != nil {
		return nil, err
	}
	if err := c.writeFiles("", map[string][]byte{n.name + "-kubelet.json": config}); err != nil {
		return nil, err
	}
	args := []string{
		"--config=" + c.path(n.name+"-kubelet.json"), "--kubeconfig=" + kubeconfig, "--root-dir=" + c.path("kubelet"),
		"--cert-dir=" + c.path("certificates"), "--hostname-override=" + n.name, "--node-ip=" + nodeAddress(n.index),
	}
	return &component{
		command: c.command("kubelet", append(args, c.options.KubeletArgs...)...),
		ready:   c.healthy("http://127.0.0.1:10248/healthz"),
	}, nil
}

// kubeletConfig returns a KubeletConfiguration.
func (c *Cluster) kubeletConfig(n *node) ([]byte, error) {
	cgroup, err := n.runtime.MakeCgroup()
	if err != nil {
		return nil, err
	}
	type object map[string]any
	config, err := json.MarshalIndent(object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"containerRuntimeEndpoint": "unix://" + n.runtime.CRISocket(),
		"staticPodPath":            c.staticPods,
		"authentication": object{
			"anonymous": object{"enabled": false}, "webhook": object{"enabled": true},
			"x509": object{"clientCAFile": c.certificate("ca.pem")},
		},
		"authorization":     object{"mode": "Webhook"},
		"tlsCertFile":       c.certificate(n.name + ".pem"),
		"tlsPrivateKeyFile": c.certificate(n.name + "-key.pem"),
		// All that runs is in the node's cgroup, which goes with the program's run.
		"cgroupDriver": "cgroupfs", "cgroupRoot": cgroup, "enforceNodeAllocatable": []string{}, "failCgroupV1": false,
		// See kernelSettings: kubelet finds what it wants, and would rather end than change anything.
		"protectKernelDefaults": true,
		"oomScoreAdj":           0, // a lower one takes CAP_SYS_RESOURCE
		"failSwapOn":            false,
		// The host's disk may be as full as it likes.
		"localStorageCapacityIsolation": false,
		"imageGCHighThresholdPercent":   100,
		"evictionHard": object{
			"memory.available": "1Mi", "nodefs.available": "1Mi", "imagefs.available": "1Mi",
			"nodefs.inodesFree": "1", "imagefs.inodesFree": "1",
		},
		"makeIPTablesUtilChains": false,
		"resolvConf":             c.path("resolv.conf"),
		"podLogsDir":             c.path("logs", "pods"),
		"volumePluginDir":        c.path("volume-plugins"),
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding kubelet's configuration: %w", err)
	}
	return config, nil
}

func (c *Cluster) makeProxy(n *node) (*component, error) {
	kubeconfig, err := c.KubeconfigFor(proxyUser)
	if err != nil {
		return nil, err
	}
	return &component{
		command: c.command("kube-proxy",
			"--kubeconfig="+kubeconfig, "--hostname-override="+n.name, "--cluster-cidr="+podNetwork,
			// The other modes need what not every kernel has.
			"--proxy-mode=nftables",
			// Limits of connection tracking are the whole machine's.
			"--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
			"--oom-score-adj=0",
			"--healthz-bind-address=127.0.0.1:10256", "--metrics-bind-address=127.0.0.1:10249"),
		ready: c.healthy("http://127.0.0.1:10256/healthz"),
	}, nil
}

// Node is the first node's runtime.
func (c *Cluster) Node() *cluster.Node { return c.nodes[0].runtime }

// NodeName is the name under which the API server knows the first node.
func (c *Cluster) NodeName() string { return c.nodes[0].name }

// NodeAddress is the first node's address, where pods and the API server reach what listens on it.
func (c *Cluster) NodeAddress() string { return nodeAddress(0) }

// StaticPodDir is where kubelet finds static pods.
func (c *Cluster) StaticPodDir() string { return c.staticPods }

// StopKubelet stops the first node's kubelet; pods go on.
func (c *Cluster) StopKubelet(ctx context.Context) error { return c.nodes[0].kubelet.stop(ctx) }

// StartKubelet starts kubelet after [Cluster.StopKubelet], with args after those of [Options], and waits until it is
// well. What the API server knows of the node may be older.
func (c *Cluster) StartKubelet(ctx context.Context, args ...string) error {
	return c.nodes[0].kubelet.start(ctx, args...)
}

// Kubelet is the first node's running process, or the last one.
func (c *Cluster) Kubelet() *cluster.Process { return c.nodes[0].kubelet.current() }
