package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
	"github.com/kritis-node/kritis-node/test/cluster/systemd"
	"github.com/kritis-node/kritis-node/test/site"
)

// inCluster is a cluster whose only node has what stands in for systemd.
type inCluster struct {
	*site.Site
	node             *kubernetes.Node
	systemd          *systemd.Manager
	signed, unsigned string
}

func startCluster(t *testing.T) *inCluster {
	t.Helper()
	running, err := site.Start(t.Context(), site.Options{Systemd: true, Kubernetes: kubernetes.Options{Progress: func(line string) { t.Log(line) }}})
	check(t, err)
	c := &inCluster{Site: running, node: running.Nodes()[0], systemd: running.Systemd(0)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Describe(context.Background()))
			t.Log(c.Logs())
			t.Log(c.systemd.Logs())
		}
		logs := c.node.Runtime().Logs()
		if err := c.Close(); err != nil {
			t.Errorf("%v\n%s", err, logs)
		}
	})
	c.signed, err = c.PushSigned(t.Context(), "team/signed")
	check(t, err)
	c.unsigned, err = c.Push(t.Context(), "team/unsigned")
	check(t, err)
	return c
}

// onHost are the values of placement host. Without the webhook, whose word is the earlier one, the node's is seen.
var onHost = site.Values{"plugin": site.Values{"placement": "host"}, "webhook": site.Values{"enabled": false}}

func (c *inCluster) run(t *testing.T, name, image string) {
	t.Helper()
	_, err := c.KubectlOutput(t.Context(), "--namespace", prod, "run", name, "--image="+image, "--", "sleep", "10000")
	check(t, err)
}

// enforces expects that the node tells signed from unsigned.
func (c *inCluster) enforces(t *testing.T, name string) {
	t.Helper()
	c.run(t, name+"-signed", c.signed)
	c.run(t, name+"-unsigned", c.unsigned)
	check(t, c.AwaitPodReady(t.Context(), prod, name+"-signed"))
	check(t, c.AwaitDenied(t.Context(), prod, name+"-unsigned", c.unsigned))
}

func (c *inCluster) status(t *testing.T, want func(plugin.Status) error) {
	t.Helper()
	check(t, cluster.Await(t.Context(), "the plugin's status", func(ctx context.Context) error {
		status, err := c.Status(ctx, 0)
		if err == nil {
			err = want(status)
		}
		return err
	}))
}

// service is nil if the plugin's service runs and is installed.
func (c *inCluster) service() error {
	state, _, _ := c.systemd.State(pluginUnit)
	if _, err := os.Stat(c.node.Path("/etc/systemd/system/" + pluginUnit)); err != nil || state != "active" {
		return fmt.Errorf("the service is %s: %w", state, err)
	}
	return nil
}

// noService is nil if nothing of the service is left.
func (c *inCluster) noService() error {
	if state, _, _ := c.systemd.State(pluginUnit); state != "inactive" {
		return fmt.Errorf("the service is %s", state)
	}
	for _, path := range []string{"/etc/systemd/system/" + pluginUnit, "/etc/systemd/system/multi-user.target.wants/" + pluginUnit, "/etc/containerd/conf.d/90-kritis-required.toml"} {
		if !gone(c.node.Path(path)) {
			return fmt.Errorf("%s is left", path)
		}
	}
	if left, err := os.ReadDir(c.node.Path("/opt/kritis/bin")); err == nil && len(left) > 0 {
		return fmt.Errorf("%s is left", left[0].Name())
	}
	return nil
}

// TestPlacementHost is the life of an installation whose plugin is a service of the node, in order.
func TestPlacementHost(t *testing.T) {
	c := startCluster(t)
	ctx := t.Context()
	_, err := c.KubectlOutput(ctx, "create", "namespace", prod)
	check(t, err)
	check(t, c.Install(ctx, onHost))
	check(t, c.Require(ctx, prod))
	check(t, c.service())
	c.enforces(t, "installed")
	c.status(t, func(s plugin.Status) error {
		if s.Placement != plugin.PlacementHost || s.Mode != plugin.ModeBestEffort {
			return fmt.Errorf("placement %q, mode %q", s.Placement, s.Mode)
		}
		return nil
	})

	t.Run("the pod is replaced, the service stays", func(t *testing.T) {
		_, pid, _ := c.systemd.State(pluginUnit)
		_, err := c.KubectlOutput(ctx, "--namespace", site.Namespace, "rollout", "restart", "daemonset/kritis-node")
		check(t, err)
		_, err = c.KubectlOutput(ctx, "--namespace", site.Namespace, "rollout", "status", "daemonset/kritis-node", "--timeout=2m")
		check(t, err)
		if _, now, _ := c.systemd.State(pluginUnit); now != pid {
			t.Errorf("the plugin was restarted: process %d, before %d", now, pid)
		}
	})
	t.Run("placement pod removes the service", func(t *testing.T) {
		check(t, c.Upgrade(ctx, site.Values{"webhook": site.Values{"enabled": false}}))
		check(t, cluster.Await(ctx, "the service to go", func(context.Context) error { return c.noService() }))
		c.status(t, func(s plugin.Status) error {
			if s.Placement != plugin.PlacementPod || !s.Registered {
				return fmt.Errorf("placement %q, registered %t", s.Placement, s.Registered)
			}
			return nil
		})
		c.enforces(t, "pod")
	})
	t.Run("placement host again, and required", func(t *testing.T) {
		check(t, c.Upgrade(ctx, onHost))
		check(t, cluster.Await(ctx, "the service", func(context.Context) error { return c.service() }))
		_, err := c.OnNode(ctx, 0, "install", "--require", "--yes", "--restart")
		check(t, err)
		c.status(t, func(s plugin.Status) error {
			if s.Mode != plugin.ModeEnforcing {
				return errors.New(s.Mode)
			}
			return nil
		})
		c.enforces(t, "required")
	})
	t.Run("rebooted", func(t *testing.T) {
		check(t, c.systemd.PowerOff())
		check(t, c.systemd.Boot())
		c.enforces(t, "rebooted")
	})
	t.Run("uninstalling leaves a node that starts pods", func(t *testing.T) {
		check(t, c.Uninstall(ctx))
		check(t, c.noService())
		c.run(t, "after", c.unsigned)
		check(t, c.AwaitPodReady(ctx, prod, "after"))
		output, err := c.KubectlOutput(ctx, "get", "all,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings", "--all-namespaces",
			"--selector=app.kubernetes.io/part-of=kritis-node", "--output=name")
		check(t, err)
		if strings.TrimSpace(output) != "" {
			t.Errorf("left behind:\n%s", output)
		}
	})
}
