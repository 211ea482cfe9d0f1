package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// Node is a node of the cluster: a runtime with its kubelet and kube-proxy, and what is started beside them. Its methods
// may be called from any goroutine, those that start and stop something one at a time.
type Node struct {
	cluster    *Cluster
	index      int
	name       string
	staticPods string
	machine    *cluster.Machine // nil: the program's own namespaces
	runtime    *cluster.Node    // nil before it is started
	kubelet    *component
	proxy      *component

	mutex     sync.Mutex // guards processes
	processes []*cluster.Process
}

func (c *Cluster) makeNode(index int) (*Node, error) {
	n := &Node{cluster: c, index: index, name: fmt.Sprintf("node-%d", index+1)}
	if index == 0 {
		n.staticPods = c.options.StaticPodDir
	}
	n.staticPods = cmp.Or(n.staticPods, c.path("static-pods", n.name))
	return n, errors.Join(os.MkdirAll(c.path("static-pods", n.name), 0o755), os.Mkdir(c.path("machines", n.name), 0o755))
}

// startRuntime starts the node's containerd, with a network for its pods, on a machine of its own if that is wanted.
func (n *Node) startRuntime(ctx context.Context) error {
	c := n.cluster
	defer c.steps.begin("containerd of " + n.name)()
	options := c.options.Node
	var err error
	if options.CNI, err = cni(n.index, c.path("addresses", n.name)); err != nil {
		return err
	}
	if c.options.machines() {
		options.Dir = c.path("machines", n.name)
		// The control plane is in the program's network, where kube-proxy has to be: hence the first node as well.
		n.machine, err = cluster.StartMachine(ctx, cluster.MachineOptions{Dir: options.Dir, Network: n.index > 0, Shared: []string{c.dir}})
		if err != nil {
			return err
		}
		options.Machine = n.machine
		if err := n.connect(ctx); err != nil {
			return err
		}
	}
	if n.runtime, err = cluster.StartNode(ctx, options); err != nil {
		return err
	}
	for reference, image := range c.options.Images {
		if err := n.runtime.ImportImage(ctx, reference, image); err != nil {
			return err
		}
	}
	return nil
}

// connect connects the node's machine, if its network is its own.
func (n *Node) connect(ctx context.Context) error {
	if n.index == 0 {
		return nil
	}
	return joinNetwork(ctx, n.index, n.machine)
}

// start starts what runs beside the runtime, and returns when the node is ready.
func (n *Node) start(ctx context.Context) error {
	defer n.cluster.steps.begin(n.name)()
	var err error
	if n.kubelet, err = n.makeKubelet(); err != nil {
		return err
	}
	if n.proxy, err = n.makeProxy(); err != nil {
		return err
	}
	if err := n.kubelet.start(ctx); err != nil {
		return err
	}
	// kube-proxy asks for its node's address, and the pauses in which it asks again grow long.
	if err := n.cluster.await(ctx, "", "node/"+n.name, "create"); err != nil {
		return err
	}
	if err := n.proxy.start(ctx); err != nil {
		return err
	}
	return n.cluster.AwaitNode(ctx, n.name)
}

// stop stops what runs on the node, at last the runtime with all pods.
func (n *Node) stop(ctx context.Context) error {
	var failures []error
	for _, process := range n.running() {
		failures = append(failures, fmt.Errorf("%s still runs on %s: whoever started it stops it", process.Name(), n.name), process.Kill())
	}
	for _, k := range []*component{n.proxy, n.kubelet} {
		if k != nil {
			failures = append(failures, k.stop(ctx))
		}
	}
	if n.runtime != nil {
		failures = append(failures, n.runtime.Close())
	}
	if n.machine != nil {
		failures = append(failures, n.machine.Leaks(), n.machine.Halt(ctx))
	}
	return errors.Join(failures...)
}

// leaks returns an error that lists what runs or is mounted on the node.
func (n *Node) leaks() error {
	var failures []error
	if n.runtime != nil {
		failures = append(failures, n.runtime.Leaks())
	}
	if n.machine != nil {
		failures = append(failures, n.machine.Leaks())
	}
	return errors.Join(failures...)
}

// Run starts a program on the node, as a service of the node's would be, and waits until ready returns nil (nil: does
// not wait), see [cluster.StartProcess]. It must be stopped before the cluster is closed; a reboot ends it.
func (n *Node) Run(ctx context.Context, command cluster.Command, ready func(context.Context) error) (*cluster.Process, error) {
	command.Machine = n.machine
	command.Env = append(slices.Clone(command.Env), nodeVariable+"="+n.runtime.Dir())
	process, err := cluster.StartProcess(ctx, command, ready)
	if err != nil {
		return nil, fmt.Errorf("on %s: %w", n.name, err)
	}
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.processes = append(n.processes, process)
	return process, nil
}

// running returns what [Node.Run] started and still runs.
func (n *Node) running() []*cluster.Process {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.processes = slices.DeleteFunc(n.processes, func(process *cluster.Process) bool { return !process.Running() })
	return slices.Clone(n.processes)
}

// Name is the name under which the API server knows the node.
func (n *Node) Name() string { return n.name }

// Address is where pods, other nodes and the API server reach what listens on the node.
func (n *Node) Address() string { return nodeAddress(n.index) }

// Runtime is the node's containerd.
func (n *Node) Runtime() *cluster.Node { return n.runtime }

// StaticPodDir is where the node's kubelet finds static pods.
func (n *Node) StaticPodDir() string { return n.staticPods }

// Path is where the test finds what is at an absolute path on the node: see [cluster.Machine.Path]. It is the same path
// if the node is no machine.
func (n *Node) Path(path string) string {
	if n.machine == nil {
		return path
	}
	return n.machine.Path(path)
}

// StopKubelet stops the node's kubelet; pods go on.
func (n *Node) StopKubelet(ctx context.Context) error { return n.kubelet.stop(ctx) }

// StartKubelet starts kubelet after [Node.StopKubelet], with args after those of [Options], and waits until it is well.
// What the API server knows of the node may be older.
func (n *Node) StartKubelet(ctx context.Context, args ...string) error {
	return n.kubelet.start(ctx, args...)
}

// Kubelet is the running process, or the last one.
func (n *Node) Kubelet() *cluster.Process { return n.kubelet.current() }

// kubeletDir is kubelet's folder on the node.
func (n *Node) kubeletDir() string {
	if n.machine != nil {
		return "/var/lib/kubelet"
	}
	return n.cluster.path("kubelet")
}

// podLogsThere is where kubelet puts the pods' logs on the node, podLogs where the test finds them.
func (n *Node) podLogsThere() string {
	if n.machine != nil {
		return "/var/log/pods"
	}
	return n.cluster.path("logs", "pods")
}

func (n *Node) podLogs() string {
	if n.machine != nil && !n.machine.Running() {
		return filepath.Join(os.DevNull, "halted")
	}
	return n.Path(n.podLogsThere())
}

// Nodes are the cluster's nodes.
func (c *Cluster) Nodes() []*Node { return slices.Clone(c.nodes) }

// Node is the first node's runtime. This and the following are short for what the first of [Cluster.Nodes] says.
func (c *Cluster) Node() *cluster.Node { return c.nodes[0].runtime }

// NodeName is the first node's name.
func (c *Cluster) NodeName() string { return c.nodes[0].name }

// NodeAddress is the first node's address, which is the program's own.
func (c *Cluster) NodeAddress() string { return nodeAddress(0) }

// StaticPodDir is where the first node's kubelet finds static pods.
func (c *Cluster) StaticPodDir() string { return c.nodes[0].staticPods }

// StopKubelet is [Node.StopKubelet] of the first node.
func (c *Cluster) StopKubelet(ctx context.Context) error { return c.nodes[0].StopKubelet(ctx) }

// StartKubelet is [Node.StartKubelet] of the first node.
func (c *Cluster) StartKubelet(ctx context.Context, args ...string) error {
	return c.nodes[0].StartKubelet(ctx, args...)
}

// Kubelet is the first node's running process, or the last one.
func (c *Cluster) Kubelet() *cluster.Process { return c.nodes[0].Kubelet() }
