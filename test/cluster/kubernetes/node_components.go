package kubernetes

import (
	"encoding/json"
	"fmt"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// command returns how to start a program of Kubernetes on the node, with a log of the node's own.
func (n *Node) command(program string, args ...string) cluster.Command {
	command := n.cluster.command(program, args...)
	command.Machine = n.machine
	if n.index > 0 {
		command.Log = n.cluster.path("logs", n.name+"-"+program+".log")
	}
	return command
}

func (n *Node) makeKubelet() (*component, error) {
	c := n.cluster
	kubeconfig, err := c.KubeconfigFor("system:node:"+n.name, nodeGroup)
	if err != nil {
		return nil, err
	}
	server, err := c.authority.server([]string{n.name}, n.Address(), "127.0.0.1")
	if err != nil {
		return nil, err
	}
	err = c.writeFiles("certificates", map[string][]byte{
		n.name + ".pem": server.certificatePEM, n.name + "-key.pem": server.keyPEM,
	})
	if err != nil {
		return nil, err
	}
	config, err := n.kubeletConfig()
	if err != nil {
		return nil, err
	}
	if err := c.writeFiles("", map[string][]byte{n.name + "-kubelet.json": config}); err != nil {
		return nil, err
	}
	args := []string{
		"--config=" + c.path(n.name+"-kubelet.json"), "--kubeconfig=" + kubeconfig, "--root-dir=" + n.kubeletDir(),
		"--cert-dir=" + c.path("certificates"), "--hostname-override=" + n.name, "--node-ip=" + n.Address(),
	}
	return &component{
		command: n.command("kubelet", append(args, c.options.KubeletArgs...)...),
		ready:   c.healthy("http://" + n.Address() + ":10248/healthz"),
	}, nil
}

// kubeletConfig returns a KubeletConfiguration.
func (n *Node) kubeletConfig() ([]byte, error) {
	c := n.cluster
	cgroup, err := n.runtime.MakeCgroup()
	if err != nil {
		return nil, err
	}
	type object map[string]any
	config, err := json.MarshalIndent(object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"containerRuntimeEndpoint": "unix://" + n.runtime.CRISocket(),
		"staticPodPath":            n.staticPods,
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
		"podLogsDir":             n.podLogsThere(),
		"volumePluginDir":        c.path("volume-plugins"),
		// Loopback is another one on each machine.
		"healthzBindAddress": "0.0.0.0",
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding kubelet's configuration: %w", err)
	}
	return config, nil
}

func (n *Node) makeProxy() (*component, error) {
	c := n.cluster
	kubeconfig, err := c.KubeconfigFor(proxyUser)
	if err != nil {
		return nil, err
	}
	return &component{
		command: n.command("kube-proxy",
			"--kubeconfig="+kubeconfig, "--hostname-override="+n.name, "--cluster-cidr="+podNetwork,
			// The other modes need what not every kernel has.
			"--proxy-mode=nftables",
			// Limits of connection tracking are the whole machine's.
			"--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
			"--oom-score-adj=0",
			"--healthz-bind-address=0.0.0.0:10256", "--metrics-bind-address=127.0.0.1:10249"),
		ready: c.healthy("http://" + n.Address() + ":10256/healthz"),
	}, nil
}
