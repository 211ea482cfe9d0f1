package admission

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
	"github.com/kritis-node/kritis-node/test/site"
)

// hookConfiguration is the name of the chart's ValidatingWebhookConfiguration.
const hookConfiguration = "kritis-validation-hook"

type suite struct {
	*site.Site
	// placement is the plugin's: nothing that is shown here depends on it, but what happens without a plugin.
	placement             plugin.Placement
	signed, unsigned, tag string
	// private asks for a login.
	private *cluster.Registry
}

// startPrivate starts a registry that asks for a login, which neither nodes nor the product have.
func (s *suite) startPrivate(t *testing.T) (err error) {
	dir := t.TempDir()
	if s.private, err = cluster.StartDistribution(t.Context(), dir, cluster.RegistryOptions{Address: s.NodeAddress(), RequireLogin: true}); err != nil {
		return err
	}
	t.Cleanup(func() {
		if err := s.private.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s.AddRegistry(s.private.Host(), s.private)
}

// values are those of all installations here.
func (s *suite) values() site.Values {
	host := func(r *cluster.Registry) site.Values { return site.Values{"host": r.Host(), "plainHTTP": true} }
	return site.Values{"plugin": site.Values{"placement": string(s.placement)}, "registries": site.Values{"readPullSecrets": true, "config": site.Values{"hosts": []any{host(s.Registry), host(s.private)}}}}
}

func TestAdmission(t *testing.T) {
	for _, placement := range []plugin.Placement{plugin.PlacementPod, plugin.PlacementHost} {
		t.Run(string(placement), func(t *testing.T) { testAdmission(t, placement) })
	}
}

func testAdmission(t *testing.T, placement plugin.Placement) {
	started, err := site.Start(t.Context(), site.Options{
		Systemd: placement == plugin.PlacementHost, Kubernetes: kubernetes.Options{Progress: func(line string) { t.Log(line) }},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &suite{Site: started, placement: placement}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.Describe(context.Background()))
			t.Log(s.Logs())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx := t.Context()
	check(t, s.startPrivate(t))
	check(t, s.Install(ctx, s.values()))
	if placement == plugin.PlacementHost {
		_, err := s.OnNode(ctx, 0, "install", "--require", "--yes", "--restart")
		check(t, err)
	}
	check(t, s.Require(ctx, "default"))
	s.signed, err = s.PushSigned(ctx, "team/signed")
	check(t, err)
	s.unsigned, err = s.Push(ctx, "team/unsigned")
	check(t, err)
	repository, _, _ := strings.Cut(s.signed, "@")
	s.tag = repository + ":v1"
	s.awaitWebhook(t)

	// With the webhook.
	t.Run("the three checks", s.testThreeChecks)
	t.Run("kinds", s.testKinds)
	t.Run("kubectl debug", s.testDebug)
	t.Run("image volumes at admission", s.testImageVolumesAtAdmission)
	t.Run("nothing else excuses", s.testExcuses)
	t.Run("dry run", s.testDryRun)
	t.Run("static pods", s.testStaticPods)
	t.Run("break-glass", s.testBreakGlass)
	t.Run("sidecar at admission", s.testSidecarAtAdmission)
	// Without it.
	t.Run("both replicas down", s.testReplicasDown)
	t.Run("webhook deleted", s.testWebhookDeleted)
	t.Run("pod made through CRI", s.testCRI)
	t.Run("image pull secrets", s.testPullSecrets)
	t.Run("image volumes on the node", s.testImageVolumesOnTheNode)
	t.Run("sidecar on the node", s.testSidecarOnTheNode)
	// Where the placements differ.
	if placement == plugin.PlacementHost {
		t.Run("without the plugin nothing starts", s.testAbsentOnHost)
	} else {
		t.Run("without the plugin it is told", s.testAbsentInPod)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// awaitWebhook waits until the API server asks the webhook and that knows the policy, by a request that changes nothing.
func (s *suite) awaitWebhook(t *testing.T) {
	t.Helper()
	check(t, cluster.Await(t.Context(), "the webhook to deny", func(ctx context.Context) error {
		_, stderr, code, err := s.Kubectl(ctx, "run", "probe", "--dry-run=server", "--image="+s.tag)
		if err == nil && (code == 0 || !strings.Contains(stderr, "is not attested")) {
			err = fmt.Errorf("it does not: exit code %d, %s", code, stderr)
		}
		return err
	}))
}

// denies checks that a kubectl command fails with the words that users know, and no others.
func (s *suite) denies(t *testing.T, hook, image string, stderr string, code int) {
	t.Helper()
	want := fmt.Sprintf("admission webhook %q denied the request: image %s is not attested", hook, image)
	var said []string
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "Warning: ") {
			said = append(said, strings.TrimSpace(line))
		}
	}
	if text := strings.Join(said, "\n"); code != 1 || !strings.HasSuffix(text, want) || strings.Count(text, "\n") > 0 {
		t.Errorf("exit code %d, %q, want an end of %q", code, text, want)
	}
}

// remove deletes what a test made.
func (s *suite) remove(t *testing.T, args ...string) {
	t.Helper()
	_, err := s.KubectlOutput(context.WithoutCancel(t.Context()), append([]string{"delete", "--ignore-not-found", "--wait=false", "--grace-period=1"}, args...)...)
	if err != nil {
		t.Error(err)
	}
}

// awaitEvent waits for an event whose message has all of the words.
func (s *suite) awaitEvent(t *testing.T, namespace, reason string, words ...string) {
	t.Helper()
	check(t, cluster.Await(t.Context(), "event "+reason+" in "+namespace, func(ctx context.Context) error {
		all, err := s.KubectlOutput(ctx, "--namespace", namespace, "get", "events", "--field-selector", "reason="+reason,
			"--output", `jsonpath={range .items[*]}{.message}{"\n"}{end}`)
		if err != nil {
			return err
		}
		for line := range strings.Lines(all) {
			missing := false
			for _, w := range words {
				missing = missing || !strings.Contains(line, w)
			}
			if !missing {
				return nil
			}
		}
		return fmt.Errorf("none has %q: %s", words, all)
	}))
}

func (s *suite) testThreeChecks(t *testing.T) {
	const hook = "kritis-validation-hook-deployments.grafeas.io"
	for name, image := range map[string]string{"by tag": s.tag, "by unsigned digest": s.unsigned} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code, err := s.Kubectl(t.Context(), "-n", "default", "create", "deployment", "not-sign", "--image="+image, "--", "sleep", "10")
			check(t, err)
			s.denies(t, hook, image, stderr, code)
			if stdout != "" {
				t.Errorf("printed %q", stdout)
			}
		})
	}
	stdout, err := s.KubectlOutput(t.Context(), "-n", "default", "create", "deployment", "is-signed", "--image="+s.signed, "--", "sleep", "1000")
	check(t, err)
	if strings.TrimSpace(stdout) != "deployment.apps/is-signed created" {
		t.Errorf("printed %q", stdout)
	}
	check(t, s.AwaitDeployment(t.Context(), "default", "is-signed"))
	s.remove(t, "deployment/is-signed")
	// A denial of the webhook is told in kube-system.
	s.awaitEvent(t, "kube-system", "FailedKritisAdmission", "default/not-sign", "image "+s.unsigned+" is not attested")
}
