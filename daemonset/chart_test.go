package daemonset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	admission "k8s.io/api/admissionregistration/v1"
	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	kyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/kritis-node/kritis-node/policyagent/controller"
)

// helm is the program of test/tools.
var helm = sync.OnceValues(func() (string, error) {
	dir, err := exec.Command("../test/tools/install", "--print-dir", "helm").Output()
	return strings.TrimSpace(string(dir)) + "/helm", err
})

// runHelm returns what helm prints, and whether it succeeded.
func runHelm(t *testing.T, args ...string) (stdout, stderr string, ok bool) {
	t.Helper()
	program, err := helm()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		t.Fatal(err)
	}
	return out.String(), errs.String(), err == nil
}

const releaseNamespace = "kritis-system"

// alicloud is what every way to use Alibaba Cloud names.
var alicloud = []string{"alicloud.enabled=true", "alicloud.region=cn-hangzhou", "alicloud.securityCenter.clusterID=c0123"}

// valueSets are ways to install the chart.
var valueSets = map[string][]string{
	"as it is": nil,
	"everything": {
		"networkPolicy.enabled=true", "monitoring.podMonitor.enabled=true", "monitoring.rules.enabled=true",
		"monitoring.dashboard.enabled=true", "registries.dockerConfigSecret=login", "registries.config.hosts[0].host=registry.example",
		"registries.readPullSecrets=true", "unsafeDryRun=true", "commonLabels.team=platform", "podAnnotations.a=b", "image.pullSecrets[0].name=mine",
		"plugin.snapshotters={overlayfs}", "plugin.extraArgs={--log-format=json}", "agent.extraArgs={--log-format=json}",
		"webhook.extraArgs={--log-format=json}", "controller.extraArgs={--log-format=text}", "controller.replicas=2",
		"webhook.podTemplates[0].group=apps.kruise.io", "webhook.podTemplates[0].kind=CloneSet", "webhook.podTemplates[0].resource=clonesets",
		"webhook.podTemplates[0].path=spec.template", "webhook.exemptNamespaces={ci}",
		"image.digest=sha256:0000000000000000000000000000000000000000000000000000000000000000",
	},
	"cert-manager":           {"webhook.certificates.mode=cert-manager"},
	"cert-manager's own":     {"webhook.certificates.mode=cert-manager", "webhook.certificates.issuerRef.name=company", "webhook.certificates.issuerRef.kind=ClusterIssuer"},
	"own certificate":        {"webhook.certificates.mode=secret", "webhook.certificates.secretName=mine", "webhook.certificates.caBundle=PEM"},
	"without webhook":        {"webhook.enabled=false"},
	"on the host":            {"plugin.placement=host", "image.pullSecrets[0].name=mine", "plugin.extraArgs={--log-format=json}"},
	"on the host, elsewhere": {"plugin.placement=host", "plugin.install.systemdSocket=/run/other/private", "plugin.install.binDir=/var/lib/kritis-bin"},
	"Alibaba Cloud, RRSA":    append([]string{"alicloud.credentials.roleARN=role", "alicloud.credentials.oidcProviderARN=provider", "alicloud.acr.logins=true"}, alicloud...),
	"Alibaba Cloud, ECS": append([]string{"alicloud.credentials.source=ECSRole", "alicloud.credentials.roleName=node", "alicloud.caConfigMap=ca",
		"alicloud.endpoints.kms=kms.example:8443", "alicloud.acr.domains.images\\.example.instance=mine", "alicloud.acr.domains.images\\.example.region=cn-beijing"}, alicloud...),
	"Alibaba Cloud, keys":     append([]string{"alicloud.credentials.source=AccessKey", "alicloud.credentials.secretName=keys", "alicloud.acr.logins=true"}, alicloud...),
	"Alibaba Cloud, only ACR": {"alicloud.enabled=true", "alicloud.region=cn-hangzhou", "alicloud.credentials.source=ECSRole", "alicloud.securityCenter.enabled=false"},
	"other names":             {"nameOverride=guard", "rbac.aggregate=false"},
	"other paths":             {"hostPaths.containerdConfig=/run/k3s/containerd/config.toml", "hostPaths.containerdSocket=/run/k3s/containerd/containerd.sock"},
}

// template renders the chart, tests included, and returns its objects.
func template(t *testing.T, settings ...string) []unstructured.Unstructured {
	t.Helper()
	args := []string{"template", "kritis", "chart", "--namespace", releaseNamespace}
	for _, s := range settings {
		args = append(args, "--set", s)
	}
	out, stderr, ok := runHelm(t, args...)
	if !ok {
		t.Fatalf("helm template: %s", stderr)
	}
	var objects []unstructured.Unstructured
	reader := kyaml.NewYAMLOrJSONDecoder(strings.NewReader(out), 4096)
	for {
		var o unstructured.Unstructured
		err := reader.Decode(&o)
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(o.Object) > 0 {
			objects = append(objects, o)
		}
	}
}

// typed are the kinds that are read strictly: a misspelt field would be silently dropped by an API server.
var typed = map[string]func() any{
	"DaemonSet": func() any { return new(apps.DaemonSet) }, "Deployment": func() any { return new(apps.Deployment) },
	"Pod": func() any { return new(core.Pod) }, "Service": func() any { return new(core.Service) },
	"ConfigMap": func() any { return new(core.ConfigMap) }, "Secret": func() any { return new(core.Secret) },
	"ServiceAccount": func() any { return new(core.ServiceAccount) }, "PodDisruptionBudget": func() any { return new(policy.PodDisruptionBudget) },
	"NetworkPolicy": func() any { return new(networking.NetworkPolicy) }, "ClusterRole": func() any { return new(rbac.ClusterRole) },
	"ClusterRoleBinding": func() any { return new(rbac.ClusterRoleBinding) }, "Role": func() any { return new(rbac.Role) },
	"Job":                            func() any { return new(batch.Job) },
	"RoleBinding":                    func() any { return new(rbac.RoleBinding) },
	"ValidatingWebhookConfiguration": func() any { return new(admission.ValidatingWebhookConfiguration) },
}

// foreign are kinds of others, of which there are no types here.
var foreign = []string{"PodMonitor", "PrometheusRule", "Certificate", "Issuer"}

// decode reads an object as its type, strictly.
func decode[T any](t *testing.T, o unstructured.Unstructured) *T {
	t.Helper()
	var v T
	data, err := yaml.Marshal(o.Object)
	if err == nil {
		err = yaml.UnmarshalStrict(data, &v)
	}
	if err != nil {
		t.Fatalf("%s %s: %v", o.GetKind(), o.GetName(), err)
	}
	return &v
}

func TestChartLints(t *testing.T) {
	out, stderr, ok := runHelm(t, "lint", "--strict", "chart")
	if !ok {
		t.Errorf("%s%s", out, stderr)
	}
}

func TestChartMakesObjectsThatAnAPIServerTakes(t *testing.T) {
	for name, settings := range valueSets {
		t.Run(name, func(t *testing.T) {
			seen := map[string]bool{}
			for _, o := range template(t, settings...) {
				id := o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
				if seen[id] {
					t.Errorf("%s is there twice", id)
				}
				seen[id] = true
				if slices.Contains(foreign, o.GetKind()) {
					continue
				}
				empty := typed[o.GetKind()]
				if empty == nil {
					t.Fatalf("%s is of a kind that this test does not know", id)
				}
				data, err := yaml.Marshal(o.Object)
				if err != nil {
					t.Fatal(err)
				}
				if err := yaml.UnmarshalStrict(data, empty()); err != nil {
					t.Errorf("%s: %v", id, err)
				}
				if o.GetLabels()["app.kubernetes.io/part-of"] != "kritis-node" {
					t.Errorf("%s has not the labels that all have", id)
				}
			}
		})
	}
}

// podSpecs returns what makes pods.
func podSpecs(t *testing.T, objects []unstructured.Unstructured) map[string]core.PodSpec {
	t.Helper()
	specs := map[string]core.PodSpec{}
	for _, o := range objects {
		switch o.GetKind() {
		case "DaemonSet":
			specs[o.GetName()] = decode[apps.DaemonSet](t, o).Spec.Template.Spec
		case "Deployment":
			specs[o.GetName()] = decode[apps.Deployment](t, o).Spec.Template.Spec
		case "Job":
			specs[o.GetName()] = decode[batch.Job](t, o).Spec.Template.Spec
		case "Pod":
			specs[o.GetName()] = decode[core.Pod](t, o).Spec
		}
	}
	if len(specs) < 2 {
		t.Fatalf("the chart makes %d pods", len(specs))
	}
	return specs
}

// Who is given credentials: the installer asks whether its DaemonSet is there, the drain Job deletes it, the clean Job removes
// what no manifest lists.
var mayAsk = []string{"policyagent", "plugin-install", "drain", "clean"}

// mayAskCloud are given credentials of Alibaba Cloud, if at all.
var mayAskCloud = []string{"policyagent", "webhook", "controller"}

// mayWrite are the volumes of the host that a container may write to: the installer's are what it installs.
func mayWrite(container string) []string {
	if container == "plugin-install" {
		return []string{"run", "programs", "units", "runtime-units", "containerd-config"}
	}
	return []string{"state", "run", "log"}
}

// What a container may have beyond nothing.
var mayAdd = map[string][]core.Capability{"plugin": {"SYS_ADMIN", "SETPCAP"}}

func TestPodsHaveLeastPrivilege(t *testing.T) {
	for name, settings := range valueSets {
		t.Run(name, func(t *testing.T) {
			for pod, spec := range podSpecs(t, template(t, settings...)) {
				if spec.HostNetwork || spec.HostPID || spec.HostIPC {
					t.Errorf("%s shares namespaces of the host", pod)
				}
				if s := spec.SecurityContext; s == nil || s.SeccompProfile == nil || s.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
					t.Errorf("%s has no seccomp profile", pod)
				}
				for _, c := range append(spec.InitContainers, spec.Containers...) {
					checkContainer(t, pod, spec, c)
				}
			}
		})
	}
}

func checkContainer(t *testing.T, pod string, spec core.PodSpec, c core.Container) {
	t.Helper()
	complain := func(format string, args ...any) {
		t.Errorf("%s, container %s: %s", pod, c.Name, fmt.Sprintf(format, args...))
	}
	s := c.SecurityContext
	if s == nil || s.Capabilities == nil || s.AllowPrivilegeEscalation == nil || s.ReadOnlyRootFilesystem == nil {
		complain("has no complete security context")
		return
	}
	if *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || s.Privileged != nil && *s.Privileged {
		complain("may escalate, write its image, or is privileged")
	}
	if !slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) || !slices.Equal(s.Capabilities.Add, mayAdd[c.Name]) {
		complain("has capabilities %v", s.Capabilities)
	}
	if _, limited := c.Resources.Limits[core.ResourceMemory]; !limited || len(c.Resources.Requests) == 0 {
		complain("has no limits or no requests")
	}
	root := spec.SecurityContext.RunAsNonRoot == nil || !*spec.SecurityContext.RunAsNonRoot
	if root != strings.HasSuffix(pod, "-node") {
		complain("root: %t; only the node's pod is, whose state folder is root's", root)
	}
	for _, m := range c.VolumeMounts {
		may := mayAsk
		if strings.HasPrefix(m.Name, "alicloud") {
			may = mayAskCloud
		}
		if (strings.HasPrefix(m.MountPath, "/var/run/secrets") || strings.HasPrefix(m.Name, "alicloud")) && !slices.Contains(may, c.Name) {
			complain("has credentials")
		}
		i := slices.IndexFunc(spec.Volumes, func(v core.Volume) bool { return v.Name == m.Name })
		if i < 0 {
			complain("mounts volume %s, which the pod has not", m.Name)
		} else if spec.Volumes[i].HostPath != nil && !m.ReadOnly && !slices.Contains(mayWrite(c.Name), m.Name) {
			complain("may write to %s of the host", spec.Volumes[i].HostPath.Path)
		}
	}
}

// Only the agent of a node's pod can speak to the API server; the plugin can be told nothing by it.
func TestNodeCredentialsAreTheAgents(t *testing.T) {
	spec := podSpecs(t, template(t))["kritis-node"]
	if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
		t.Error("credentials are mounted into every container")
	}
	for _, c := range spec.Containers {
		has := slices.ContainsFunc(c.VolumeMounts, func(m core.VolumeMount) bool { return m.Name == "token" })
		if has != (c.Name == "policyagent") {
			t.Errorf("container %s has credentials: %t", c.Name, has)
		}
	}
}

func TestRolesAreMinimal(t *testing.T) {
	objects := template(t, valueSets["everything"]...)
	// Who may do what to what matters most.
	guarded := map[string]map[string]string{ // resource: role: verbs
		"secrets":                         {"kritis-node": "get", "kritis-controller": "get list watch create patch"},
		"nodes/status":                    {"kritis-controller": "patch", "kritis-clean": "patch"},
		"validatingwebhookconfigurations": {"kritis-controller": "list watch patch"},
	}
	for _, o := range objects {
		var rules []rbac.PolicyRule
		switch o.GetKind() {
		case "ClusterRole":
			rules = decode[rbac.ClusterRole](t, o).Rules
		case "Role":
			rules = decode[rbac.Role](t, o).Rules
		default:
			continue
		}
		for _, r := range rules {
			for _, list := range [][]string{r.APIGroups, r.Resources, r.Verbs} {
				if len(list) == 0 || slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, "*") }) {
					t.Errorf("%s has an empty list or a wildcard: %v", o.GetName(), r)
				}
			}
			for _, resource := range r.Resources {
				verbs, known := guarded[resource]
				if known && verbs[o.GetName()] != strings.Join(r.Verbs, " ") {
					t.Errorf("%s may %v %s", o.GetName(), r.Verbs, resource)
				}
				if known && o.GetName() == "kritis-controller" && resource != "nodes/status" && len(r.ResourceNames) != 1 {
					t.Errorf("%s may do so to any of %s", o.GetName(), resource)
				}
				if resource == "admissionallowlists" && slices.Contains(r.Verbs, "create") && o.GetName() != "kritis-break-glass" {
					t.Errorf("%s may break the glass", o.GetName())
				}
			}
		}
		if o.GetName() == "kritis-break-glass" || o.GetName() == "kritis-policy-edit" {
			for label := range o.GetLabels() {
				if strings.Contains(label, "aggregate") {
					t.Errorf("%s is part of other roles", o.GetName())
				}
			}
		}
	}
	for _, o := range template(t) {
		if o.GetName() == "kritis-node" && o.GetKind() == "ClusterRole" && slices.ContainsFunc(decode[rbac.ClusterRole](t, o).Rules,
			func(r rbac.PolicyRule) bool { return slices.Contains(r.Resources, "secrets") }) {
			t.Error("agents may read secrets, and nobody asked for it")
		}
	}
}

// What removes the last traces comes when everything else is gone, goes by itself, and waits for those that write them.
func TestTracesAreRemoved(t *testing.T) {
	writers, err := labels.Parse(controller.Writers)
	if err != nil {
		t.Fatal(err)
	}
	for name, settings := range valueSets {
		hooks := map[string]int{}
		var waitedFor []string
		for _, o := range template(t, settings...) {
			if strings.HasSuffix(o.GetName(), "-clean") {
				a := o.GetAnnotations()
				if a["helm.sh/hook"] != "post-delete" || a["helm.sh/hook-delete-policy"] != "before-hook-creation,hook-succeeded" {
					t.Errorf("%s: annotations of %s %s are %v", name, o.GetKind(), o.GetName(), a)
				}
				weight, _ := strconv.Atoi(a["helm.sh/hook-weight"])
				hooks[o.GetKind()] = weight
			}
			pod, _, err := unstructured.NestedStringMap(o.Object, "spec", "template", "metadata", "labels")
			if err != nil {
				t.Fatal(err)
			}
			if writers.Matches(labels.Set(pod)) {
				waitedFor = append(waitedFor, o.GetKind()+" "+pod["app.kubernetes.io/component"])
			}
		}
		want := map[string]int{"ServiceAccount": -5, "ClusterRole": -5, "Role": -5, "ClusterRoleBinding": -4, "RoleBinding": -4, "Job": 0}
		if !maps.Equal(hooks, want) {
			t.Errorf("%s: hooks and weights %v, want %v", name, hooks, want)
		}
		slices.Sort(waitedFor)
		wantWriters := []string{"DaemonSet node", "Deployment controller", "Deployment webhook"}
		if name == "without webhook" {
			wantWriters = wantWriters[:2]
		}
		if !slices.Equal(waitedFor, wantWriters) {
			t.Errorf("%s: it waits for pods of %v", name, waitedFor)
		}
	}
}

func TestWebhookConfiguration(t *testing.T) {
	read := func(settings ...string) admission.ValidatingWebhookConfiguration {
		objects := template(t, settings...)
		i := slices.IndexFunc(objects, func(o unstructured.Unstructured) bool { return o.GetKind() == "ValidatingWebhookConfiguration" })
		if i < 0 {
			t.Fatal("there is none")
		}
		return *decode[admission.ValidatingWebhookConfiguration](t, objects[i])
	}
	var all []string
	for _, w := range read(valueSets["everything"]...).Webhooks {
		all = append(all, w.Name+":")
		for _, r := range w.Rules {
			for _, resource := range r.Resources {
				all = append(all, strings.Trim(r.APIGroups[0]+"/"+resource, "/"))
			}
			if !slices.Equal(r.Operations, []admission.OperationType{"CREATE", "UPDATE"}) {
				t.Errorf("%v: %v", r.Resources, r.Operations)
			}
		}
		if w.NamespaceSelector == nil || len(w.NamespaceSelector.MatchExpressions) != 1 ||
			!slices.Equal(w.NamespaceSelector.MatchExpressions[0].Values, []string{"kube-system", releaseNamespace, "ci"}) {
			t.Errorf("namespaces: %v", w.NamespaceSelector)
		}
		if *w.SideEffects != admission.SideEffectClassNoneOnDryRun || *w.MatchPolicy != admission.Equivalent || w.ClientConfig.CABundle != nil || w.ObjectSelector != nil {
			t.Errorf("%+v", w)
		}
	}
	want := "kritis-validation-hook.grafeas.io: pods pods/ephemeralcontainers " +
		"kritis-validation-hook-deployments.grafeas.io: replicationcontrollers apps/deployments apps/daemonsets apps/replicasets " +
		"apps/statefulsets batch/jobs batch/cronjobs apps.kruise.io/clonesets"
	if got := strings.Join(all, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for setting, want := range map[string]admission.FailurePolicyType{
		"webhook.failurePolicy=auto": admission.Fail, "webhook.failurePolicy=Ignore": admission.Ignore, "webhook.failurePolicy=Fail": admission.Fail,
	} {
		for _, w := range read(setting).Webhooks {
			if *w.FailurePolicy != want {
				t.Errorf("%s: %s is %s", setting, w.Name, *w.FailurePolicy)
			}
		}
	}
	own := read(valueSets["own certificate"]...)
	if string(own.Webhooks[0].ClientConfig.CABundle) != "PEM" {
		t.Errorf("the authority is %q", own.Webhooks[0].ClientConfig.CABundle)
	}
	if read("webhook.certificates.mode=cert-manager").Annotations["cert-manager.io/inject-ca-from"] != releaseNamespace+"/kritis-webhook-certificate" {
		t.Error("cert-manager is not told where the authority goes")
	}
}

func TestChartRefusesBadValues(t *testing.T) {
	for _, tc := range []struct{ setting, complaint string }{
		{"plugin.placement=nowhere", "placement"},
		{"plugin.plcement=pod", "plcement"},
		{"webhook.failurePolicy=Maybe", "failurePolicy"},
		{"webhook.replicas=-1", "replicas"},
		{"webhook.timeoutSeconds=60", "timeoutSeconds"},
		{"webhook.certificates.mode=none", "mode"},
		{"webhook.certificates.mode=secret", "secretName"},
		{"webhook.podTemplates[0].kind=CloneSet", "podTemplates"},
		{"webhook.podTemplates[0].group=*", "podTemplates"},
		{"image.digest=latest", "digest"},
		{"image.pullPolicy=Sometimes", "pullPolicy"},
		{"hostPaths.state=relative", "state"},
		{"hostPaths.run=/", "run"},
		{"hostPaths.mountPropagation=Bidirectional", "mountPropagation"},
		{"agent.port=0", "port"},
		{"plugin.resources.limits=null", "limits"},
		{"unsafeDryRun=perhaps", "unsafeDryRun"},
		{"logLevel=loud", "logLevel"},
		{"nothing=1", "nothing"},
		{"alicloud.enabled=true", "is missing"},
		{"alicloud.credentials.source=Any", "source"},
		{"alicloud.network=internet", "network"},
		{"alicloud.endpoints.oss=x", "oss"},
		{"alicloud.securityCenter.syncInterval=often", "syncInterval"},
		{"alicloud.securityCenter.keyVersions=All", "keyVersions"},
		{"alicloud.acr.domains.x.instance=mine", "region"},
	} {
		t.Run(tc.setting, func(t *testing.T) {
			_, stderr, ok := runHelm(t, "template", "kritis", "chart", "--set", tc.setting)
			if ok || !strings.Contains(stderr, tc.complaint) {
				t.Errorf("accepted: %t: %s", ok, stderr)
			}
		})
	}
}

// A new chart with the same image must not restart what runs.
func TestPodTemplatesDoNotKnowTheChartsVersion(t *testing.T) {
	for _, o := range template(t) {
		spec, found, err := unstructured.NestedMap(o.Object, "spec", "template")
		if err != nil || !found {
			continue
		}
		data, err := yaml.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), "helm.sh/chart") || strings.Contains(string(data), "0.0.0-development") {
			t.Errorf("%s names the chart's version in its pods", o.GetName())
		}
	}
}
