package versions

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// prod is the namespace that requires the team's attestation.
const prod = "prod"

// node is one with the product on it, on one of the runtimes.
type node struct {
	*stack.Stack
	runtime Runtime
	team    stack.Key
	// attested and other are references by digest to images that the node has; other is nobody's.
	attested, other string
	pods            map[string]string // by namespace
}

// checks are the tests of the promises, by their text. Each is told whether its promise holds on the runtime, and shows
// that it does, or that it does not; it leaves the node as it found it.
var checks = map[string]func(t *testing.T, n *node, holds bool){
	"an attested image starts":                                            checkAttested,
	"an image without attestation does not start":                         checkUnattested,
	"other content under an attested name does not start":                 checkOtherContent,
	"a policy made between create and start is asked at start":            checkSecondLook,
	"status says that nothing starts unchecked":                           checkStatus,
	"the runtime says which image it binds":                               checkImageField,
	"plugin absent: nothing starts":                                       checkAbsent,
	"created while the plugin was absent: does not start when it is back": checkCreatedMeanwhile,
	"plugin stalled past the runtime's timeout: nothing starts":           checkStalled,
	"plugin killed during the call: the container does not start":         checkKilled,
	"plugin absent and not required: nothing starts":                      checkNotRequired,
}

// TestPromises tries each promise on each runtime, one node for each, all at the same time.
func TestPromises(t *testing.T) {
	for _, r := range Runtimes() {
		t.Run("containerd "+r.Line, func(t *testing.T) {
			t.Parallel()
			n := startNode(t, r)
			for _, p := range Promises() {
				check, ok := checks[p.Text]
				if !ok {
					t.Fatalf("nothing shows that %s", p.Text)
				}
				if !t.Run(p.Text, func(t *testing.T) { check(t, n, p.On(r)) }) {
					return // the node is not as the next one expects it
				}
			}
		})
	}
}

// startNode starts a node that is closed after the test. What is left behind then fails it.
func startNode(t *testing.T, r Runtime) *node {
	t.Helper()
	s, err := stack.Start(t.Context(), stack.Options{Containerd: r.Line})
	must(t, err)
	n := &node{Stack: s, runtime: r, pods: map[string]string{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(n.Logs())
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	n.team, err = n.NewKey("team")
	must(t, err)
	must(t, n.Require(t.Context(), prod, n.team))
	n.attested, err = n.Push(t.Context(), "team/attested")
	must(t, err)
	must(t, n.Sign(t.Context(), n.team, n.attested))
	n.other, err = n.Push(t.Context(), "team/other")
	must(t, err)
	return n
}

func checkAttested(t *testing.T, n *node, _ bool) { must(t, n.run(t.Context(), n.attested)) }

func checkUnattested(t *testing.T, n *node, _ bool) {
	n.expectDenied(t, n.run(t.Context(), n.other), n.other)
}

func checkOtherContent(t *testing.T, n *node, _ bool) {
	id, err := n.Node.CRI().PullImage(t.Context(), n.other)
	must(t, err)
	container, err := n.create(t.Context(), prod, cluster.ContainerSpec{Image: id, UserSpecifiedImage: n.attested})
	if err == nil {
		err = n.start(t.Context(), container)
	}
	n.expectDenied(t, err, n.attested)
}

// checkSecondLook makes a policy when nobody will ask at create any more.
func checkSecondLook(t *testing.T, n *node, _ bool) {
	const late = "late"
	twins := map[string]string{}
	for _, image := range []string{n.attested, n.other} {
		id, err := n.Node.CRI().PullImage(t.Context(), image)
		must(t, err)
		twins[image], err = n.create(t.Context(), late, cluster.ContainerSpec{Image: id, UserSpecifiedImage: image})
		must(t, err)
	}
	must(t, n.Require(t.Context(), late, n.team))
	n.expectDenied(t, n.start(t.Context(), twins[n.other]), n.other)
	must(t, n.start(t.Context(), twins[n.attested]))
}

func checkStatus(t *testing.T, n *node, holds bool) {
	if holds {
		n.expectStatus(t, 0, plugin.ModeEnforcing, "")
		return
	}
	n.expectStatus(t, 1, plugin.ModeBestEffort, "RuntimeWithoutValidators")
}

// checkImageField looks at what the plugin was told of the container that was denied last.
func checkImageField(t *testing.T, n *node, holds bool) {
	n.expectDenied(t, n.run(t.Context(), n.other), n.other)
	status, err := n.Status(t.Context())
	must(t, err)
	r := status.Runtime
	if strings.TrimPrefix(r.Version, "v") != n.runtime.Release || strings.TrimPrefix(r.NRI, "v") != n.runtime.NRI {
		t.Errorf("it is containerd %s with NRI %s, and should be %+v", r.Version, r.NRI, n.runtime)
	}
	if r.Validators != n.runtime.Validators || r.ImageField != holds {
		t.Errorf("the plugin takes the runtime for %+v", r)
	}
	if len(status.Recent) == 0 {
		t.Fatal("status shows no denied container")
	}
	last := status.Recent[len(status.Recent)-1]
	_, digest, _ := strings.Cut(n.other, "@")
	want := map[bool]string{true: digest}[holds]
	if last.Image != n.other || last.Digest != want {
		t.Errorf("the last one that was denied is %s, with the digest %q, want %q", last.Image, last.Digest, want)
	}
}

// checkNotRequired comes last, because it leaves the node with another configuration.
func checkNotRequired(t *testing.T, n *node, _ bool) {
	config := filepath.Join(n.Node.Dir(), "config.toml")
	text, err := os.ReadFile(config)
	must(t, err)
	changed := strings.Replace(string(text), fmt.Sprintf("required_plugins = [%q]", plugin.Name), "required_plugins = []", 1)
	if changed == string(text) {
		t.Fatalf("%s requires nothing", config)
	}
	must(t, os.WriteFile(config, []byte(changed), 0o644))
	must(t, n.Plugin.Stop(t.Context()))
	must(t, n.Node.RestartContainerd(t.Context()))
	must(t, n.StartPlugin(t.Context()))
	n.expectDenied(t, n.run(t.Context(), n.other), n.other)
	n.expectStatus(t, 1, plugin.ModeBestEffort, "NotRequired")
	must(t, n.Plugin.Kill())
	n.awaitStarts(t, n.other)
	code, _, stderr, err := n.Kritis(t.Context(), "status", "--socket", n.PluginSocket())
	must(t, err)
	if code != 2 || !strings.HasPrefix(stderr, "kritis: ") || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "the plugin does not run on this node") {
		t.Errorf("status without a plugin: exit code %d, %s", code, stderr)
	}
	must(t, n.StartPlugin(t.Context()))
	n.expectDenied(t, n.run(t.Context(), n.other), n.other)
}

// expectStatus expects what people and machines are told of how far the node enforces. Without a reason, there is none.
func (n *node) expectStatus(t *testing.T, code int, mode, why string) {
	t.Helper()
	got, stdout, stderr, err := n.Kritis(t.Context(), "status", "--socket", n.PluginSocket())
	must(t, err)
	if got != code || !strings.Contains(stdout, mode) || !strings.Contains(stdout, why+": ") {
		t.Errorf("status: exit code %d, want %d, %s and %s: %s%s", got, code, mode, why, stdout, stderr)
	}
	metrics, err := n.AskPlugin(t.Context(), "/metrics")
	must(t, err)
	line := fmt.Sprintf("\nkritis_plugin_enforcing{mode=%q,why=%q} 1\n", strings.ReplaceAll(mode, " ", "-"), why)
	if !strings.Contains(string(metrics), line) {
		t.Errorf("no metric %s in:\n%s", line, metrics)
	}
}

// run does what a kubelet does for a container in prod, and returns the runtime's error.
func (n *node) run(ctx context.Context, reference string) error {
	id, err := n.Node.CRI().HaveImage(ctx, reference)
	if err != nil {
		return err
	}
	container, err := n.create(ctx, prod, cluster.ContainerSpec{Image: id, UserSpecifiedImage: reference})
	if err != nil {
		return err
	}
	return n.start(ctx, container)
}

// create creates a container in the namespace's pod.
func (n *node) create(ctx context.Context, namespace string, spec cluster.ContainerSpec) (string, error) {
	if n.pods[namespace] == "" {
		pod, err := n.Node.CRI().RunPod(ctx, cluster.PodSpec{Namespace: namespace})
		if err != nil {
			return "", err
		}
		n.pods[namespace] = pod
	}
	return n.Node.CRI().CreateContainer(ctx, n.pods[namespace], spec)
}

// start starts a container, and removes one that did not start.
func (n *node) start(ctx context.Context, container string) error {
	err := n.Node.CRI().StartContainer(ctx, container)
	if err != nil {
		err = errors.Join(err, n.Node.CRI().RemoveContainer(ctx, container))
	}
	return err
}

// expectDenied expects that the plugin denied the image, as written, because it is not attested.
func (n *node) expectDenied(t *testing.T, err error, image string) {
	t.Helper()
	if err == nil {
		t.Fatal("it started, and should not")
	}
	if !strings.Contains(err.Error(), "image "+image+" is not attested") {
		t.Errorf("it should be denied as not attested: %v", err)
	}
}

func (n *node) awaitStarts(t *testing.T, image string) {
	t.Helper()
	must(t, cluster.Await(t.Context(), image+" to start", func(ctx context.Context) error { return n.run(ctx, image) }))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
