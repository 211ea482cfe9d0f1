package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	defaultContainerd = "2.4"
	defaultTool       = "containerd-" + defaultContainerd
)

// Options say how a node is set up. The zero value is containerd 2.4 with NRI on, as containerd ships it.
type Options struct {
	// Containerd is "2.4" (default), "2.3", "2.2" or "2.1": the tool containerd-… of test/tools.
	Containerd string
	// Dir is a folder in which the node makes its own, see [Node.Dir]; empty: /run, which is in memory and goes with
	// [Isolate]. A benchmark that wants a disk names another, with a short path, because sockets will live in it.
	Dir string
	// Machine is where the node lives; nil: in the program's own namespaces. On a machine, sockets are where containerd's
	// packages put them, as is the configuration; Dir must be in a folder that the machine shares.
	Machine *Machine
	// RequiredPlugins are names of NRI plugins without which containerd's default validator denies every container.
	RequiredPlugins []string
	// PluginRequestTimeout and PluginRegistrationTimeout are NRI's; zero leaves containerd's (2 s and 5 s).
	PluginRequestTimeout      time.Duration
	PluginRegistrationTimeout time.Duration
	// NRISocket is where plugins connect; empty: a path in Dir, in a folder of its own.
	NRISocket   string
	NRIDisabled bool
	// RuntimeHandlers are names, besides "runc", under which runc can be asked for.
	RuntimeHandlers []string
	// CNI is a CNI configuration list (JSON) for pods that have a network of their own; its plugins are Debian's. Empty:
	// all pods must use the node's network.
	CNI string
	// LogLevel is containerd's; empty: "info".
	LogLevel string
	// Config is added at the end of containerd's config.toml (version 3). It may hold new tables, or begin with lines
	// for NRI's default validator.
	Config string
}

// Node is a running containerd with its CRI and NRI sockets. Its methods may be called from any goroutine, those that
// start and stop containerd one at a time.
type Node struct {
	options Options
	dir     string
	tools   string // the folder of containerd's programs
	cgroup  string // parent of all its containers
	cri     *CRI

	mutex      sync.Mutex // guards what follows
	containerd *Process
	closed     bool
}

// StartNode starts containerd and waits until it serves CRI and NRI and has the pause image. It must be called inside
// [Isolate]; the version's tool must have been named there.
func StartNode(ctx context.Context, options Options) (*Node, error) {
	if !Isolated() {
		return nil, errors.New("a node would leave processes and mounts on this host: call cluster.Isolate first")
	}
	options.Containerd = cmp.Or(options.Containerd, defaultContainerd)
	options.LogLevel = cmp.Or(options.LogLevel, "info")
	tools, err := Tool(ctx, "containerd-"+options.Containerd)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(cmp.Or(options.Dir, "/run"), "node-")
	if err != nil {
		return nil, fmt.Errorf("creating the node's folder: %w", err)
	}
	n := &Node{options: options, dir: dir, tools: tools}
	n.cgroup = filepath.Join("/", cgroupPrefix, os.Getenv(runVariable), filepath.Base(dir))
	if err := n.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("starting a node: %w", err), n.Close())
	}
	return n, nil
}

func (n *Node) start(ctx context.Context) error {
	for _, folder := range []string{n.path("hosts"), n.path("cni"), n.path("logs"), n.NRIPluginDir(), n.path("nri", "conf.d")} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	config := n.path("config.toml")
	if m := n.options.Machine; m != nil {
		config = m.Path(n.ConfigFile())
		if err := os.MkdirAll(filepath.Dir(config), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(config, []byte(n.containerdConfig()), 0o644); err != nil {
		return err
	}
	if n.options.CNI != "" {
		if err := os.WriteFile(n.path("cni", "network.conflist"), []byte(n.options.CNI), 0o644); err != nil {
			return err
		}
	}
	var err error
	if n.cri, err = newCRI(n); err != nil {
		return err
	}
	if err := n.StartContainerd(ctx); err != nil {
		return err
	}
	image, err := BusyboxImage("pause")
	if err != nil {
		return err
	}
	return n.ImportImage(ctx, pauseImage, image)
}

// CRISocket is where CRI is served, which is also containerd's own API.
func (n *Node) CRISocket() string { return n.ContainerdSocket() }

// ContainerdSocket is where containerd serves its API; the TTRPC socket is the same path with ".ttrpc".
func (n *Node) ContainerdSocket() string {
	if m := n.options.Machine; m != nil {
		return filepath.Join(m.RunDir(), "containerd", "containerd.sock")
	}
	return n.path("containerd.sock")
}

// ConfigFile is the path of containerd's configuration on the node, which imports conf.d beside it on a machine.
func (n *Node) ConfigFile() string {
	if n.options.Machine != nil {
		return "/etc/containerd/config.toml"
	}
	return n.path("config.toml")
}

// NRISocket is where NRI plugins connect.
func (n *Node) NRISocket() string {
	if n.options.NRISocket != "" {
		return n.options.NRISocket
	}
	if m := n.options.Machine; m != nil {
		return filepath.Join(m.RunDir(), "nri", "nri.sock")
	}
	return n.path("nri", "sock", "nri.sock")
}

// NRIPluginDir is where containerd looks for pre-installed plugins, named "NN-name", when it starts.
func (n *Node) NRIPluginDir() string { return n.path("nri", "plugins") }

// NRIConfigDir is where containerd looks for the configuration of pre-installed plugins.
func (n *Node) NRIConfigDir() string { return n.path("nri", "conf.d") }

// StateDir is containerd's state folder.
func (n *Node) StateDir() string { return n.path("state") }

// RootDir is containerd's root folder: content, snapshots, metadata.
func (n *Node) RootDir() string { return n.path("root") }

// Dir is the folder in which the whole node lives.
func (n *Node) Dir() string { return n.dir }

// CRI is the client by which pods and containers are made.
func (n *Node) CRI() *CRI { return n.cri }

// Containerd is the running process, or the last one.
func (n *Node) Containerd() *Process {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	return n.containerd
}

// StartContainerd starts containerd after it was stopped or killed, and waits until CRI and NRI are served.
func (n *Node) StartContainerd(ctx context.Context) error {
	ready := func(ctx context.Context) error {
		if err := n.cri.ready(ctx); err != nil {
			return err
		}
		if n.options.NRIDisabled {
			return nil
		}
		return dial(ctx, n.NRISocket())
	}
	command := Command{
		Path: filepath.Join(n.tools, "containerd"),
		// The address is that of the configuration: its path tells whose process this is.
		Args: []string{"--config", n.ConfigFile(), "--address", n.ContainerdSocket()},
		// The shim is found next to containerd, runc where Debian puts it.
		Env: []string{"PATH=" + n.tools + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		Log: n.path("logs", "containerd.log"), Machine: n.options.Machine,
	}
	process, err := StartProcess(ctx, command, ready)
	if err != nil {
		return err
	}
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.containerd = process
	return nil
}

// StopContainerd ends containerd as an upgrade does: containers and shims go on.
func (n *Node) StopContainerd(ctx context.Context) error { return n.Containerd().Stop(ctx) }

// KillContainerd ends it as a crash does.
func (n *Node) KillContainerd() error { return n.Containerd().Kill() }

// RestartContainerd stops containerd and starts it again.
func (n *Node) RestartContainerd(ctx context.Context) error {
	if err := n.StopContainerd(ctx); err != nil {
		return err
	}
	return n.StartContainerd(ctx)
}

func dial(ctx context.Context, socket string) error {
	connection, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	return connection.Close()
}
