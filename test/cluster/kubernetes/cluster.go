package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// Tool is what [cluster.Isolate] has to be told of.
const Tool = "kubernetes"

// closeLimit bounds the orderly part of [Cluster.Close].
const closeLimit = 2 * time.Minute

// Cluster is a running Kubernetes. Its methods may be called from any goroutine, those that start and stop a component
// one at a time.
type Cluster struct {
	options   Options
	steps     *steps
	dir       string
	tools     string // the folder of Kubernetes' programs
	authority *authority
	client    *http.Client // the administrator's
	shelter   *shelter
	network   bool // was made
	names     *names

	etcd, apiServer, manager, scheduler *component
	nodes                               []*Node

	close func() error
}

// Start starts a cluster and returns when its nodes are ready and pods can be made in the namespace "default". It must be
// called inside [cluster.Isolate], which must have been told of [Tool], and only while there is no other cluster.
func Start(ctx context.Context, options Options) (*Cluster, error) {
	if err := options.check(); err != nil {
		return nil, fmt.Errorf("starting Kubernetes: %w", err)
	}
	if !cluster.Isolated() {
		return nil, errors.New("a cluster would change this host: call cluster.Isolate first")
	}
	tools, err := cluster.Tool(ctx, Tool)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("/run", "kubernetes-")
	if err != nil {
		return nil, fmt.Errorf("creating the cluster's folder: %w", err)
	}
	c := &Cluster{options: options, steps: &steps{tell: options.Progress}, dir: dir, tools: tools}
	c.close = sync.OnceValue(c.end)
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("starting Kubernetes: %w", err), c.Close())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	if err := c.prepare(ctx); err != nil {
		return err
	}
	// The runtime needs nothing of the control plane.
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.startAPI(groupCtx) })
	for _, n := range c.nodes {
		group.Go(func() error { return n.startRuntime(groupCtx) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	group, groupCtx = errgroup.WithContext(ctx)
	group.Go(func() error { return c.startControllers(groupCtx) })
	for _, n := range c.nodes {
		group.Go(func() error { return n.start(groupCtx) })
	}
	return group.Wait()
}

// prepare makes what the processes find: folders, keys, mounts, addresses.
func (c *Cluster) prepare(ctx context.Context) error {
	for _, folder := range []string{"certificates", "kubeconfigs", "logs", "machines", "shelter"} {
		if err := os.Mkdir(c.path(folder), 0o755); err != nil {
			return err
		}
	}
	var err error
	for index := range max(1, c.options.Nodes) {
		n, err := c.makeNode(index)
		if err != nil {
			return err
		}
		c.nodes = append(c.nodes, n)
	}
	if c.authority, err = newAuthority(); err != nil {
		return err
	}
	if err := c.writeCertificates(); err != nil {
		return err
	}
	admin, err := c.authority.client(adminUser, adminGroup)
	if err != nil {
		return err
	}
	if _, err := c.writeKubeconfig(adminUser, admin); err != nil {
		return err
	}
	trust, err := c.authority.tlsConfig(admin)
	if err != nil {
		return err
	}
	c.client = &http.Client{Transport: &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true}, Timeout: 10 * time.Second}
	if c.shelter, err = newShelter(c.path("shelter")); err != nil {
		return err
	}
	if err := makeNetwork(ctx); err != nil {
		return fmt.Errorf("%w: is there another cluster?", err)
	}
	c.network = true
	if len(c.options.Names) > 0 {
		if c.names, err = serveNames(c.options.Names, c.NodeAddress()); err != nil {
			return err
		}
	}
	return c.writeResolvConf()
}

func (c *Cluster) startAPI(ctx context.Context) error {
	defer c.steps.begin("the API server")()
	var err error
	if c.etcd, err = c.makeEtcd(); err != nil {
		return err
	}
	if err := c.etcd.start(ctx); err != nil {
		return err
	}
	c.apiServer = c.makeAPIServer()
	return c.apiServer.start(ctx)
}

// startControllers returns when they have done for the namespace "default" what pods in it need.
func (c *Cluster) startControllers(ctx context.Context) error {
	defer c.steps.begin("the controllers")()
	var err error
	if c.manager, err = c.makeControllerManager(); err != nil {
		return err
	}
	if c.scheduler, err = c.makeScheduler(); err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.manager.start(groupCtx) })
	group.Go(func() error { return c.scheduler.start(groupCtx) })
	if err := group.Wait(); err != nil {
		return err
	}
	for _, object := range []string{"serviceaccount/default", "configmap/kube-root-ca.crt"} {
		if err := c.await(ctx, "default", object, "create"); err != nil {
			return err
		}
	}
	return nil
}

// Dir is the folder in which all but the nodes' runtimes lives.
func (c *Cluster) Dir() string { return c.dir }

// ImportImage gives every node an image under a name, without a registry. Pods must not ask for pulling it always.
func (c *Cluster) ImportImage(ctx context.Context, reference string, image v1.Image) error {
	for _, n := range c.nodes {
		if err := n.runtime.ImportImage(ctx, reference, image); err != nil {
			return err
		}
	}
	return nil
}

// AddRegistry makes every node take images whose references name host from the registry, see [cluster.Node.AddRegistry].
// Pods, and nodes after the first one, reach the registry if it listens on [Cluster.NodeAddress].
func (c *Cluster) AddRegistry(host string, registry *cluster.Registry) error {
	for _, n := range c.nodes {
		if err := n.runtime.AddRegistry(host, registry); err != nil {
			return err
		}
	}
	return nil
}

// Logs returns the ends of what the cluster's processes, its runtimes and its pods wrote, each file under its name: to
// be shown when a test fails.
func (c *Cluster) Logs() string {
	const most = 8000
	var b strings.Builder
	show := func(folder, pattern string) {
		files, _ := filepath.Glob(filepath.Join(folder, pattern))
		for _, file := range files {
			name, _ := filepath.Rel(folder, file)
			fmt.Fprintf(&b, "--- %s\n%s\n", name, strings.TrimRight(logTail(file, most), "\n"))
		}
	}
	show(c.path("logs"), "*.log")
	for _, n := range c.nodes {
		show(n.podLogs(), "*/*/*.log")
		if n.runtime == nil {
			continue
		}
		logs := n.runtime.Logs()
		fmt.Fprintf(&b, "--- %s\n%s\n", n.name, logs[max(0, len(logs)-most):])
	}
	return b.String()
}

func (c *Cluster) path(elements ...string) string {
	return filepath.Join(append([]string{c.dir}, elements...)...)
}
