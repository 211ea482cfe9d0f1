package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kritis-node/kritis-node/daemonset/image"
	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
	"github.com/kritis-node/kritis-node/test/cluster/systemd"
	"github.com/kritis-node/kritis-node/test/stack"
)

const (
	// Release is what the chart is installed as.
	Release = "kritis"
	// Namespace is where it is installed.
	Namespace = "kritis-system"
	// repository and tag name the image that every node has.
	repository = "kritis.test/kritis-node"
	tag        = "test"
	// helmTool is that of test/tools.
	helmTool = "helm"
	// packer makes images. In this process the race detector may be on, under which packing takes a minute of a processor.
	packer = "./daemonset/image/makeimage"
)

// Needs is what [cluster.Isolate] has to be told of.
func Needs() []string {
	return append([]string{kubernetes.Tool, helmTool, packer}, image.Packages()...)
}

// Options say how a site is set up.
type Options struct {
	// Kubernetes is what the cluster is like. Its nodes always are machines, so that the chart's own paths fit.
	Kubernetes kubernetes.Options
	// Bare: the image is not made. The chart cannot be installed then.
	Bare bool
	// Systemd gives every node what stands in for systemd there: placement host needs it.
	Systemd bool
	// Build makes the image's programs, given as [cluster.Build] takes them; nil: cluster.Build.
	Build func(ctx context.Context, pkg string) (string, error)
}

// Site is a running cluster with a registry and the product's image. Its methods may be called from any goroutine, those
// that install, upgrade and uninstall one at a time.
type Site struct {
	*kubernetes.Cluster
	Registry *cluster.Registry
	// Key is what [Site.Require] requires and [Site.Sign] signs with.
	Key stack.Key
	// Program is the kritis command.
	Program string

	programs          []string // the product's, as they are in its image
	systemd           []*systemd.Manager
	dir, helm, module string
	images            atomic.Int64
}

// Start starts a cluster and a registry, and gives every node the image. It must be called inside [cluster.Isolate], which
// must have been told of [Needs].
func Start(ctx context.Context, o Options) (s *Site, err error) {
	if !cluster.Isolated() {
		return nil, errors.New("a site would change this host: call cluster.Isolate first")
	}
	s = &Site{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("starting a site: %w", err), s.Close())
		}
	}()
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	o.Kubernetes.Machines = true
	if s.Cluster, err = kubernetes.Start(ctx, o.Kubernetes); err != nil {
		return nil, err
	}
	if s.Registry, err = cluster.StartDistribution(ctx, s.path("registry"), cluster.RegistryOptions{Address: s.NodeAddress()}); err != nil {
		return nil, err
	}
	if err := s.AddRegistry(s.Registry.Host(), s.Registry); err != nil {
		return nil, err
	}
	registries := "hosts:\n- host: " + s.Registry.Host() + "\n  plainHTTP: true\n"
	if err := os.WriteFile(s.RegistryConfig(), []byte(registries), 0o644); err != nil {
		return nil, err
	}
	if o.Systemd {
		if err := s.startSystemd(); err != nil {
			return nil, err
		}
	}
	if o.Bare {
		return s, nil
	}
	if o.Build == nil {
		o.Build = cluster.Build
	}
	return s, s.importImage(ctx, o.Build)
}

// prepare makes what does not need a cluster.
func (s *Site) prepare(ctx context.Context) error {
	output, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("finding the module: %w", err)
	}
	s.module = strings.TrimSpace(string(output))
	tools, err := cluster.Tool(ctx, helmTool)
	if err != nil {
		return err
	}
	s.helm = filepath.Join(tools, "helm")
	if s.dir, err = os.MkdirTemp("/run", "site-"); err != nil {
		return err
	}
	for _, dir := range []string{"registry", "helm"} {
		if err := os.Mkdir(s.path(dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(s.path("docker.json"), []byte("{}"), 0o644); err != nil {
		return err
	}
	if s.Key, err = stack.WriteKey(s.path("team")); err != nil {
		return err
	}
	s.Program, err = cluster.Build(ctx, "./cmd/kritis")
	return err
}

// importImage gives every node the product's image, of this machine's architecture, as `make image` would write it.
func (s *Site) importImage(ctx context.Context, build func(context.Context, string) (string, error)) error {
	for _, pkg := range image.Packages() {
		program, err := build(ctx, pkg)
		if err != nil {
			return err
		}
		s.programs = append(s.programs, program)
	}
	archive := s.path("image.tar")
	if _, err := s.pack(ctx, "-output", archive, "-reference", repository+":"+tag); err != nil {
		return err
	}
	for _, node := range s.Nodes() {
		if _, err := node.Runtime().Ctr(ctx, "images", "import", "--local", archive); err != nil {
			return err
		}
		err := cluster.Await(ctx, "CRI to know the image", func(ctx context.Context) error {
			_, err := node.Runtime().CRI().ImageID(ctx, repository+":"+tag)
			return err
		})
		if err != nil {
			return err
		}
	}
	return os.Remove(archive)
}

// pack runs makeimage for the product's image, and returns its digest.
func (s *Site) pack(ctx context.Context, args ...string) (digest string, err error) {
	program, err := cluster.Build(ctx, packer)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, program, append([]string{"-version", tag, "-architectures", runtime.GOARCH, "-programs", strings.Join(s.programs, ",")}, args...)...)
	cmd.Dir = s.module
	var complaints strings.Builder
	cmd.Stderr = &complaints
	output, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("packing the product's image: %w: %s", err, complaints.String())
	}
	return strings.TrimSpace(string(output)), nil
}

func (s *Site) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// RegistryConfig is a file for --registry-config that knows the site's registry.
func (s *Site) RegistryConfig() string { return s.path("registries.yaml") }

// Status is what `kritis status` says on a node, counted from zero.
func (s *Site) Status(ctx context.Context, node int) (plugin.Status, error) {
	return status(ctx, s.Program, s.Nodes()[node].Path(plugin.DefaultSocket))
}

// Close stops everything.
func (s *Site) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var errs []error
	for _, m := range s.systemd {
		errs = append(errs, m.Close())
	}
	if s.Cluster != nil {
		errs = append(errs, s.Cluster.Close())
	}
	if s.Registry != nil {
		errs = append(errs, s.Registry.Stop(ctx))
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}
