package chart

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/policyagent/nodereport"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
	"github.com/kritis-node/kritis-node/test/site"
)

func start(t *testing.T, o kubernetes.Options) *site.Site {
	t.Helper()
	if o.Progress == nil {
		o.Progress = func(line string) { t.Log(line) }
	}
	s, err := site.Start(t.Context(), site.Options{Kubernetes: o})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.Describe(context.Background()))
			t.Log(s.Logs())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// deployed is a site on which something ran before the chart was installed.
type deployed struct {
	*site.Site
	signed, unsigned string
}

// The whole life of an installation, in order: each step stands on those before.
func TestChart(t *testing.T) {
	s := &deployed{Site: start(t, kubernetes.Options{})}
	ctx := t.Context()
	var err error
	s.signed, err = s.PushSigned(ctx, "team/signed")
	check(t, err)
	s.unsigned, err = s.Push(ctx, "team/unsigned")
	check(t, err)
	_, err = s.KubectlOutput(ctx, "create", "namespace", "quiet")
	check(t, err)
	_, err = s.KubectlOutput(ctx, "--namespace", "quiet", "create", "deployment", "before", "--image="+s.unsigned, "--replicas=2", "--", "sleep", "100000")
	check(t, err)
	check(t, s.AwaitDeployment(ctx, "quiet", "before"))
	before := s.running(t, "quiet")
	check(t, s.Install(ctx))
	for _, step := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"installing restarts nothing", func(t *testing.T) { s.expectRunning(t, "quiet", before) }},
		{"helm test passes", func(t *testing.T) {
			output, err := s.Helm(ctx, "test", site.Release, "--namespace", site.Namespace, "--timeout", "2m")
			if err != nil {
				t.Error(err, output)
			}
		}},
		{"the plugin has given up what it could", s.privileges},
		{"the three checks", s.threeChecks},
		{"objects and nodes say how they are", s.conditions},
		{"roles of people", s.roles},
		{"the runtime is restarted", s.runtimeRestarted},
		{"upgrading restarts nothing that runs", func(t *testing.T) {
			own := s.running(t, site.Namespace)
			check(t, s.Upgrade(ctx, site.Values{"webhook": site.Values{"failurePolicy": "Ignore"}}))
			s.expectRunning(t, "quiet", before)
			s.expectRunning(t, site.Namespace, own)
			s.authorityKept(t)
		}},
		{"without the webhook the node denies", s.withoutWebhook},
		{"uninstalling leaves a node that starts pods", s.uninstalled},
	} {
		if !t.Run(step.name, step.do) {
			t.FailNow()
		}
	}
	s.expectRunning(t, "quiet", before)
}

// running returns the containers of a namespace's pods: they are others once anything was restarted.
func (s *deployed) running(t *testing.T, namespace string) []string {
	t.Helper()
	output, err := s.KubectlOutput(t.Context(), "--namespace", namespace, "get", "pods", "--output",
		`jsonpath={range .items[*]}{.metadata.uid}{range .status.containerStatuses[*]} {.containerID} {.restartCount}{end}{"\n"}{end}`)
	check(t, err)
	lines := strings.Fields(strings.ReplaceAll(output, " ", "_"))
	slices.Sort(lines)
	if len(lines) == 0 {
		t.Fatalf("nothing runs in %s", namespace)
	}
	return lines
}

func (s *deployed) expectRunning(t *testing.T, namespace string, want []string) {
	t.Helper()
	if got := s.running(t, namespace); !slices.Equal(got, want) {
		t.Errorf("in %s runs\n%s, before it was\n%s", namespace, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// privileges reads the kernel's word for what the plugin's process may still do.
func (s *deployed) privileges(t *testing.T) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	check(t, err)
	found := 0
	for _, file := range files {
		command, err := os.ReadFile(file)
		if err != nil || !strings.HasPrefix(string(command), "/usr/bin/kritis\x00plugin\x00") {
			continue
		}
		found++
		status, err := os.ReadFile(filepath.Join(filepath.Dir(file), "status"))
		check(t, err)
		for _, want := range []string{"CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
			if !strings.Contains(string(status), want) {
				t.Errorf("no %q in %s", want, status)
			}
		}
		devices, err := os.ReadFile(filepath.Join(filepath.Dir(file), "net", "dev"))
		check(t, err)
		if strings.Contains(string(devices), "eth0") {
			t.Errorf("it has a network:\n%s", devices)
		}
	}
	if found != 1 {
		t.Errorf("%d plugins run", found)
	}
	status, err := s.Status(t.Context(), 0)
	check(t, err)
	if status.Mode != plugin.ModeBestEffort || string(status.Placement) != "pod" {
		t.Errorf("mode %q, placement %q", status.Mode, status.Placement)
	}
}

// What comes before "admission webhook" is kubectl's own and depends on its version and subcommand; the rest is ours.
const denied = `admission webhook "kritis-validation-hook%s.grafeas.io" denied the request: image %s is not attested`

func (s *deployed) threeChecks(t *testing.T) {
	ctx := t.Context()
	check(t, s.Require(ctx, "default"))
	tag, _, _ := strings.Cut(s.unsigned, "@")
	tag += ":v1"
	check(t, cluster.Await(ctx, "the webhook to know the policy", func(ctx context.Context) error {
		_, _, code, err := s.Kubectl(ctx, "create", "deployment", "probe", "--dry-run=server", "--image="+tag)
		if err == nil && code == 0 {
			err = fmt.Errorf("it does not yet")
		}
		return err
	}))
	for _, tc := range []struct{ name, image, stdout, stderr string }{
		{"tag", tag, "", "error: failed to create deployment: " + fmt.Sprintf(denied, "-deployments", tag)},
		{"unsigned digest", s.unsigned, "", "error: failed to create deployment: " + fmt.Sprintf(denied, "-deployments", s.unsigned)},
		{"signed digest", s.signed, "deployment.apps/is-signed created", ""},
	} {
		name := "not-sign"
		if tc.stderr == "" {
			name = "is-signed"
		}
		stdout, stderr, code, err := s.Kubectl(ctx, "-n", "default", "create", "deployment", name, "--image="+tc.image, "--", "sleep", "1000")
		check(t, err)
		var lines []string
		for line := range strings.Lines(stderr) {
			if !strings.HasPrefix(line, "Warning: ") { // lines of their own, for what helps further
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		if got := strings.Join(lines, "\n"); got != tc.stderr || strings.TrimSpace(stdout) != tc.stdout || (code == 0) != (tc.stderr == "") {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q, want %q, %q", tc.name, code, stdout, stderr, tc.stdout, tc.stderr)
		}
	}
	check(t, s.AwaitDeployment(ctx, "default", "is-signed"))
	s.awaitEvent(t, "kube-system", "FailedKritisAdmission", s.unsigned)
}

func (s *deployed) awaitEvent(t *testing.T, namespace, reason, text string) {
	t.Helper()
	check(t, cluster.Await(t.Context(), "event "+reason+" in "+namespace, func(ctx context.Context) error {
		output, err := s.KubectlOutput(ctx, "--namespace", namespace, "get", "events", "--field-selector=reason="+reason)
		if err == nil && !strings.Contains(output, text) {
			err = fmt.Errorf("there are: %s", output)
		}
		return err
	}))
}

func (s *deployed) conditions(t *testing.T) {
	ctx := t.Context()
	for _, object := range []string{"attestationauthority/team", "genericattestationpolicy/team-signs"} {
		if err := s.AwaitObject(ctx, "default", object, "condition=Ready"); err != nil {
			t.Error(err)
		}
	}
	check(t, s.AwaitObject(ctx, "", "node/"+s.NodeName(), "jsonpath={.status.conditions[?(@.type==\"KritisEnforcing\")].reason}=BestEffort"))
}

// roles asks the API server what somebody with these roles may do.
func (s *deployed) roles(t *testing.T) {
	ctx := t.Context()
	for user, role := range map[string]string{"editor": "kritis-policy-edit", "breaker": "kritis-break-glass", "viewer": "view"} {
		_, err := s.KubectlOutput(ctx, "create", "clusterrolebinding", "test-"+user, "--clusterrole="+role, "--user="+user)
		check(t, err)
	}
	for _, tc := range []struct {
		user, verb, resource string
		allowed              bool
	}{
		{"editor", "create", "genericattestationpolicies", true}, {"editor", "create", "admissionallowlists", false},
		{"breaker", "create", "admissionallowlists", true}, {"breaker", "create", "genericattestationpolicies", false},
		{"viewer", "list", "admissionallowlists", true}, {"viewer", "list", "attestationauthorities", true}, {"viewer", "update", "genericattestationpolicies", false},
	} {
		check(t, cluster.Await(ctx, "the API server to know the role", func(ctx context.Context) error {
			stdout, _, code, err := s.Kubectl(ctx, "auth", "can-i", tc.verb, tc.resource+".kritis.grafeas.io", "--as", tc.user, "--all-namespaces")
			if err == nil && (code == 0) != tc.allowed {
				err = fmt.Errorf("%s may %s %s: %s", tc.user, tc.verb, tc.resource, stdout)
			}
			return err
		}))
	}
	_, err := s.KubectlOutput(ctx, "delete", "clusterrolebinding", "test-editor", "test-breaker", "test-viewer")
	check(t, err)
}

// The plugin finds a runtime again that made its sockets anew.
func (s *deployed) runtimeRestarted(t *testing.T) {
	ctx := t.Context()
	check(t, s.Node().RestartContainerd(ctx))
	check(t, s.Node().WaitNRI(ctx, plugin.Name))
	check(t, s.AwaitNode(ctx, s.NodeName()))
}

// authorityKept: an upgrade must not take from the API server what it knows the webhook by.
func (s *deployed) authorityKept(t *testing.T) {
	t.Helper()
	output, err := s.KubectlOutput(t.Context(), "get", "validatingwebhookconfiguration", "kritis-validation-hook", "--output", "json")
	check(t, err)
	var configuration struct {
		Webhooks []struct {
			FailurePolicy string
			ClientConfig  struct{ CABundle []byte }
		}
	}
	check(t, json.Unmarshal([]byte(output), &configuration))
	for _, w := range configuration.Webhooks {
		if len(w.ClientConfig.CABundle) == 0 || w.FailurePolicy != "Ignore" {
			t.Errorf("%+v", w)
		}
	}
}

func (s *deployed) withoutWebhook(t *testing.T) {
	ctx := t.Context()
	check(t, s.Upgrade(ctx, site.Values{"webhook": site.Values{"failurePolicy": "Ignore", "replicas": 0}}))
	// They answer while they drain, and helm does not wait for their end.
	_, err := s.KubectlOutput(ctx, "--namespace", site.Namespace, "wait", "pods", "--selector=app.kubernetes.io/component=webhook", "--for=delete", "--timeout=2m")
	check(t, err)
	if output, err := s.Helm(ctx, "test", site.Release, "--namespace", site.Namespace, "--timeout", "90s"); err == nil {
		t.Errorf("helm test passes without a webhook: %s", output)
	}
	// Helm keeps a test's pod that failed, for its log.
	_, err = s.KubectlOutput(ctx, "--namespace", site.Namespace, "delete", "pod", "kritis-test-webhook")
	check(t, err)
	_, err = s.KubectlOutput(ctx, "run", "sneaked", "--image="+s.unsigned, "--", "sleep", "1000")
	check(t, err)
	check(t, s.AwaitDenied(ctx, "default", "sneaked", s.unsigned))
	s.awaitEvent(t, "kube-system", "FailedKritisAdmission", "sneaked")
	s.awaitEvent(t, "default", "FailedKritisAdmission", "sneaked")
	_, err = s.KubectlOutput(ctx, "run", "good", "--image="+s.signed, "--", "sleep", "1000")
	check(t, err)
	check(t, s.AwaitPodReady(ctx, "default", "good"))
}

func (s *deployed) uninstalled(t *testing.T) {
	ctx := t.Context()
	if got := s.traces(t); !slices.Equal(got, []string{"condition", "kritis-controller", "kritis-node." + s.NodeName()}) {
		t.Errorf("before it is uninstalled there are %v", got)
	}
	check(t, s.Uninstall(ctx))
	if got := s.traces(t); len(got) > 0 {
		t.Errorf("left behind: %v", got)
	}
	// The pod that was denied starts: nobody is in its way.
	check(t, s.AwaitPodReady(ctx, "default", "sneaked"))
	_, err := s.KubectlOutput(ctx, "run", "after", "--image="+s.unsigned, "--", "sleep", "1000")
	check(t, err)
	check(t, s.AwaitPodReady(ctx, "default", "after"))
	output, err := s.KubectlOutput(ctx, "get", "all,serviceaccounts,secrets,configmaps,roles,rolebindings,clusterroles,clusterrolebindings,"+
		"validatingwebhookconfigurations,poddisruptionbudgets,networkpolicies,priorityclasses", "--all-namespaces",
		"--selector=app.kubernetes.io/part-of=kritis-node", "--output=name")
	check(t, err)
	if strings.TrimSpace(output) != "" {
		t.Errorf("left behind:\n%s", output)
	}
	output, err = s.KubectlOutput(ctx, "--namespace", site.Namespace, "get", "secrets,configmaps,serviceaccounts", "--output=name")
	check(t, err)
	for _, name := range strings.Fields(output) {
		if name != "configmap/kube-root-ca.crt" && name != "serviceaccount/default" {
			t.Errorf("left behind: %s", name)
		}
	}
}

// traces are what no manifest lists: the condition of the node, and leases.
func (s *deployed) traces(t *testing.T) []string {
	t.Helper()
	conditions, err := s.KubectlOutput(t.Context(), "get", "node", s.NodeName(), "--output=jsonpath={.status.conditions[*].type}")
	check(t, err)
	leases, err := s.KubectlOutput(t.Context(), "--namespace", site.Namespace, "get", "leases", "--output=jsonpath={.items[*].metadata.name}")
	check(t, err)
	traces := strings.Fields(leases)
	if slices.Contains(strings.Fields(conditions), nodereport.Condition) {
		traces = append(traces, "condition")
	}
	slices.Sort(traces)
	return traces
}
