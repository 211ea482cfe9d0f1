package live

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodereport"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// One cluster serves all these tests, in order.
func TestLive(t *testing.T) {
	s := newSite(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *site)
	}{
		{"kinds that are not installed", testMissing},
		{"verify", testVerify},
		{"attestations in the cluster", testAttestations},
		{"report", testReport}, // while no plugin is on the node
		{"explain", testExplain},
		{"lint", testLint},
		{"status", testStatus},
		{"credentials by a program", testExec},
		{"rights", testRights},
	} {
		if !t.Run(test.name, func(t *testing.T) { test.run(t, s) }) {
			return
		}
	}
}

func testMissing(t *testing.T, s *site) {
	s.kubectl(t, "lint").says(t, 1, "error cluster attestationauthorities", "install the CRDs")
	s.kubectl(t, append(s.registryArgs(), "verify", "nginx")...).says(t, 0, "NoPolicy", "not installed in this cluster")
	_, err := s.KubectlOutput(t.Context(), "apply", "--filename", crds)
	check(t, err)
	_, err = s.KubectlOutput(t.Context(), "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	check(t, err)
	s.kubectl(t, "lint").says(t, 0, "nothing to say")
}

func testVerify(t *testing.T, s *site) {
	check(t, s.Apply(t.Context(), "apiVersion: v1\nkind: Namespace\nmetadata: {name: prod}\n"))
	authority, err := stack.Authority("prod", "team", "", s.key)
	check(t, err)
	check(t, s.Apply(t.Context(), authority+"---\n"+stack.Policy("prod", "team-signs", "", "team")))
	_, signed := s.push(t, "verify/signed")
	repository, unsigned := s.push(t, "verify/unsigned")
	output, err := exec.CommandContext(t.Context(), s.program, append(s.registryArgs(), "sign", "--key", s.key.Private, signed)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	verify := func(args ...string) result {
		t.Helper()
		return s.kubectl(t, append(append([]string{"verify"}, s.registryArgs()...), args...)...)
	}
	verify("-n", "prod", signed).says(t, 0, "VERDICT allowed (Attested)", "prod/team-signs team", "BASIS the registry, for linux/")
	verify("-n", "prod", unsigned).says(t, 1, "VERDICT denied (NotAttested)", "authority team")
	verify("-n", "prod", repository+":v1").says(t, 1, "VERDICT denied (TagReference)")
	verify("-n", "default", unsigned).says(t, 0, "NAMESPACE default", "NoPolicy")
	verify(unsigned).says(t, 0, "NAMESPACE default", "NoPolicy")
	verify("-n", "prdo", unsigned).says(t, 2, "namespace prdo does not exist")
	verify("-n", "prod", "--context", "none", unsigned).says(t, 2, "none")
	verify("-n", "prod", "--policy-dir", s.dir, "--context", "test", unsigned).says(t, 2, "one place")
	verify("-n", "prod", s.registry.Host()+"0/gone@"+strings.SplitAfter(signed, "@")[1]).says(t, 2, "could not tell")
	// The namespace of the context, and kritis by its own name.
	config, err := s.KubectlOutput(t.Context(), "config", "view", "--raw", "-o", "json")
	check(t, err)
	inProd := s.write(t, "prod.kubeconfig", strings.Replace(config, `"user": "kubernetes-admin"`, `"user": "kubernetes-admin", "namespace": "prod"`, 1))
	s.plugin(t, inProd, append(s.registryArgs(), "verify", unsigned)...).says(t, 1, "NAMESPACE prod", "NotAttested")
	s.command(t, "/none", s.program, append(s.registryArgs(), "verify", "--kubeconfig", inProd, unsigned)...).says(t, 1, "NAMESPACE prod", "NotAttested")
	s.command(t, inProd, s.program, append(s.registryArgs(), "verify", unsigned)...).says(t, 2, "name a folder with --policy-dir, or a cluster")
}

// What a node finds in objects of kind Attestation, people's commands find too; and they ask nobody.
func testAttestations(t *testing.T, s *site) {
	repository, image := s.push(t, "objects/app")
	verify := func(args ...string) result {
		t.Helper()
		return s.kubectl(t, append(append([]string{"verify", "-n", "prod", image}, s.registryArgs()...), args...)...)
	}
	// As of a registry whose attestations the controller fetches.
	asking := []string{"--ask-controller", s.registry.Host()}
	verify().says(t, 1, "VERDICT denied (NotAttested)")
	verify(asking...).says(t, 2, "VERDICT could not tell (SourceFailed)", "the cluster has not looked for attestations yet",
		"NOTE the cluster has not looked for attestations of "+repository+" yet: a node makes the cluster look: create the pod, and ask again")
	if list, err := s.KubectlOutput(t.Context(), "get", "attestations", "-o", "name"); err != nil || list != "" {
		t.Errorf("somebody asked: %s, %v", list, err)
	}
	output, err := exec.CommandContext(t.Context(), s.program, append(s.registryArgs(), "sign", "--key", s.key.Private, "-o", "yaml", image)...).Output()
	check(t, err)
	check(t, s.Apply(t.Context(), string(output)))
	name := "sha256-" + strings.TrimPrefix(strings.SplitAfter(image, "@")[1], "sha256:")
	verify().says(t, 0, "VERDICT allowed (Attested)", "prod/team-signs team Attestation "+name+" attested")
	verify(asking...).says(t, 0, "VERDICT allowed (Attested)")
	explain := func(args ...string) result {
		t.Helper()
		return s.kubectl(t, append(append([]string{"explain", "-n", "prod"}, s.registryArgs()...), args...)...)
	}
	explain(image).says(t, 0, "VERDICT allowed (Attested)", "prod/team-signs team Attestation "+name+" attested")
	check(t, s.Apply(t.Context(), "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: objects, namespace: prod}\nspec:\n  schedule: 0 0 1 1 *\n"+
		"  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: \""+image+"\"}]}}}}\n"))
	explain("cronjob/objects").says(t, 0, "CronJob prod/objects", "VERDICT allowed (Attested)", "prod/team-signs team Attestation "+name+" attested")

	// The controller has looked, and there is none.
	_, err = s.KubectlOutput(t.Context(), "patch", "attestation", name, "--type=json", "-p", `[{"op": "remove", "path": "/spec/statements"}]`)
	check(t, err)
	now := time.Now().UTC().Truncate(time.Second)
	answer := func(next time.Time) {
		t.Helper()
		const form = "2006-01-02T15:04:05Z"
		asked := now.Format(form)
		_, err := s.KubectlOutput(t.Context(), "patch", "attestation", name, "--type=merge", "-p", fmt.Sprintf(`{"spec":{"wanted":[{"repository":%q,"askedAt":%q}]}}`, repository, asked))
		check(t, err)
		_, err = s.KubectlOutput(t.Context(), "patch", "attestation", name, "--subresource=status", "--type=merge", "-p",
			fmt.Sprintf(`{"status":{"answers":[{"repository":%q,"state":"Complete","source":"test","statements":0,"askedAt":%q,"observedAt":%[2]q,"nextAt":%q}]}}`, repository, asked, next.Format(form)))
		check(t, err)
	}
	answer(now.Add(time.Hour))
	verify(asking...).says(t, 1, "VERDICT denied (NotAttested)", "NOTE the cluster looked for attestations of "+repository+" at "+now.Format(time.RFC3339))
	explain("cronjob/objects").says(t, 1, "VERDICT denied (NotAttested)", "NOTE the cluster looked for attestations of "+repository)
	answer(now.Add(-time.Second))
	verify().says(t, 2, "VERDICT could not tell (SourceFailed)", "NOTE the cluster has not looked for attestations of "+repository+" since ")

	// A cluster without the kind.
	_, err = s.KubectlOutput(t.Context(), "delete", "crd", "attestations.kritis.grafeas.io")
	check(t, err)
	await(t, "the kind to be gone", func() error {
		if r := verify(); r.code != 1 || !strings.Contains(r.stdout, "NotAttested") {
			return fmt.Errorf("%s", r)
		}
		return nil
	})
	verify(asking...).says(t, 2, "the cluster has no kind Attestation: apply the CRDs of this version")
	_, err = s.KubectlOutput(t.Context(), "apply", "--filename", crds)
	check(t, err)
	_, err = s.KubectlOutput(t.Context(), "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	check(t, err)
}

func testExplain(t *testing.T, s *site) {
	check(t, s.Apply(t.Context(), "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+reports+"}\n"))
	s.startNode(t)
	_, signed := s.push(t, "explain/signed")
	_, unsigned := s.push(t, "explain/unsigned")
	output, err := exec.CommandContext(t.Context(), s.program, append(s.registryArgs(), "sign", "--key", s.key.Private, signed)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	check(t, s.Apply(t.Context(), fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: mixed, namespace: prod}
spec:
  initContainers: [{name: first, image: "%s", command: [/bin/busybox, "true"]}]
  containers: [{name: bad, image: "%s", args: [sleep, "1000"]}, {name: good, image: "%s", args: [sleep, "1000"]}]
  volumes: [{name: model, image: {reference: "%[1]s"}}]
---
apiVersion: v1
kind: Pod
metadata: {name: good, namespace: prod}
spec:
  containers: [{name: main, image: "%[1]s", args: [sleep, "1000"]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: prod}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      containers: [{name: main, image: "%[2]s", args: [sleep, "1000"]}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: prod}
spec:
  schedule: "0 0 1 1 *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: "%[1]s"}]}}}}
`, signed, unsigned, signed)))
	explain := func(args ...string) result {
		t.Helper()
		return s.kubectl(t, append(append([]string{"explain", "-n", "prod"}, s.registryArgs()...), args...)...)
	}
	explain(signed).says(t, 0, "VERDICT allowed (Attested)")
	explain(unsigned).says(t, 1, "VERDICT denied (NotAttested)")
	check(t, s.AwaitPodReady(t.Context(), "prod", "good"))
	await(t, "the agent's report", func() error {
		if r := s.kubectl(t, "status"); !strings.Contains(r.stdout, "best effort  NotRequired") {
			return fmt.Errorf("%s", r)
		}
		return nil
	})
	explain("pod/good").says(t, 0, "Pod prod/good", "PLACE container main STATE running", "NODE "+s.NodeName()+": best effort (NotRequired)")
	explain("pod", "good").says(t, 0, "Pod prod/good")
	explain("cronjob/nightly").says(t, 0, "CronJob prod/nightly", "container main", "Attested")
	denied := func(object string, words ...string) result {
		t.Helper()
		var r result
		err := cluster.Await(t.Context(), object+" to be denied on the node", func(context.Context) error {
			r = explain(object)
			for _, w := range words {
				if !strings.Contains(strings.Join(strings.Fields(r.stdout), " "), w) {
					return fmt.Errorf("%q is not in: %s", w, r)
				}
			}
			return nil
		})
		check(t, err)
		return r
	}
	denied("pod/mixed", "STATE waiting: CreateContainerError: ", "WHAT TEXT").says(t, 1, "PLACE init container first", "PLACE container bad", "PLACE container good",
		"PLACE image volume model", "image "+unsigned+" is not attested", "Failed ", "validator", "FailedKritisAdmission")
	denied("deploy/app", "POD NODE PLACE STATE app-").says(t, 1, "Deployment prod/app", "denied (NotAttested)", "container main waiting: CreateContainerError")
	explain("pod/none").says(t, 2, "pods", `"none" not found`)
	explain("configmap", "x").says(t, 2, "is not a kind with a pod template")
	explain("thing.apps/x").says(t, 2, "no kind \"thing\"")
	explain("deployments.apps/app").says(t, 1, "Deployment prod/app")

	var e struct {
		Kind   string
		Node   string
		Images []struct {
			Place, Image, State string
			Admitted            bool
			Verdict             struct{ Outcome, Reason string }
		}
		Enforcement struct{ Mode string }
		Said        []struct{ What, Text string }
	}
	r := explain("pod/mixed", "-o", "json")
	check(t, json.Unmarshal([]byte(r.stdout), &e))
	if r.code != 1 || e.Kind != "Pod" || e.Node != s.NodeName() || e.Enforcement.Mode != nodereport.ModeBestEffort || len(e.Said) == 0 || len(e.Images) != 4 ||
		e.Images[0].Place != "init container first" || !e.Images[0].Admitted || e.Images[1].Admitted || e.Images[1].Verdict.Reason != "NotAttested" || e.Images[1].Image != unsigned {
		t.Errorf("%s", r)
	}
	// Break-glass: who may write the list lets it run, and everybody sees so.
	check(t, s.Apply(t.Context(), fmt.Sprintf("apiVersion: kritis.grafeas.io/v1beta1\nkind: AdmissionAllowlist\nmetadata: {name: incident}\nspec: {patterns: [{namePattern: %q, namespace: prod, expires: %q, reason: incident 7}]}\n",
		unsigned, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))))
	explain(unsigned).says(t, 0, "allowed (AllowListed)", "ALLOWED BY AdmissionAllowlist incident, pattern "+unsigned+" (incident 7)", "BREAK-GLASS ends to apply at ")
	await(t, "the pod to run by break-glass", func() error {
		if r := explain("pod/mixed"); r.code != 0 || !strings.Contains(r.stdout, "KritisBreakGlass") {
			return fmt.Errorf("%s", r)
		}
		return nil
	})
	_, err = s.KubectlOutput(t.Context(), "delete", "aal", "incident")
	check(t, err)
	explain(unsigned).says(t, 1, "NotAttested")

	// A custom kind with a pod template.
	check(t, s.Apply(t.Context(), customKind))
	_, err = s.KubectlOutput(t.Context(), "wait", "--for=condition=Established", "crd", "clonesets.apps.kruise.test", "--timeout=60s")
	check(t, err)
	check(t, s.Apply(t.Context(), "apiVersion: apps.kruise.test/v1alpha1\nkind: CloneSet\nmetadata: {name: c, namespace: prod}\nspec: {template: {spec: {containers: [{name: main, image: \""+unsigned+"\"}]}}}\n"))
	explain("cloneset.apps.kruise.test/c").says(t, 1, "CloneSet prod/c", "NotAttested")
}

const customKind = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: clonesets.apps.kruise.test}
spec:
  group: apps.kruise.test
  scope: Namespaced
  names: {kind: CloneSet, plural: clonesets, singular: cloneset}
  versions:
  - {name: v1alpha1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`

func testLint(t *testing.T, s *site) {
	s.kubectl(t, "lint").says(t, 0, "nothing to say")
	const head = "---\napiVersion: kritis.grafeas.io/v1beta1\nkind: "
	check(t, s.Apply(t.Context(), "apiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n"+
		head+"AttestationAuthority\nmetadata: {name: broken, namespace: other}\nspec: {publicKeyData: eA==}\n"+
		head+"AttestationAuthority\nmetadata: {name: pgp, namespace: other}\nspec: {publicKeys: [{keyType: PGP, asciiArmoredPgpPublicKey: x}]}\n"+
		head+"GenericAttestationPolicy\nmetadata: {name: dry, namespace: other}\nspec: {attestationAuthorityNames: [nobody], dryRun: true}\n"+
		head+"AdmissionAllowlist\nmetadata: {name: wide}\nspec: {patterns: [{namePattern: '*'}, {namePattern: a.example/b, expires: '2020-01-02T03:04:05Z'}]}\n"))
	s.kubectl(t, "lint").says(t, 1, "error AttestationAuthority other/broken", "error AttestationAuthority other/pgp", "error GenericAttestationPolicy other/dry", "nobody",
		"warning GenericAttestationPolicy other/dry dryRun", "warning AdmissionAllowlist wide", "has expired")
	s.kubectl(t, "lint", "-n", "other").says(t, 1, "other/broken")
	s.kubectl(t, "lint", "-n", "prod").says(t, 0, "AdmissionAllowlist wide")
	var findings []struct{ Severity, Object, Code string }
	r := s.kubectl(t, "lint", "-n", "other", "-o", "json")
	check(t, json.Unmarshal([]byte(r.stdout), &findings))
	codes := map[string]bool{}
	for _, f := range findings {
		codes[f.Object+" "+f.Code] = true
	}
	for _, want := range []string{"AttestationAuthority other/pgp KeyNotSupported", "GenericAttestationPolicy other/dry AuthorityMissing"} {
		if !codes[want] {
			t.Errorf("%q is not among %v", want, codes)
		}
	}
	_, err := s.KubectlOutput(t.Context(), "delete", "aa,gap", "--all", "-n", "other")
	check(t, err)
	_, err = s.KubectlOutput(t.Context(), "delete", "aal", "wide")
	check(t, err)
}

func testStatus(t *testing.T, s *site) {
	// What the real agent says, and what nobody says.
	s.kubectl(t, "status").says(t, 1, "NODE MODE WHY PLUGIN POLICY DENIED LAST DENIAL", s.NodeName()+" best effort NotRequired development (host) ",
		", confirmed ", " ago, prod/", "explain/unsigned@sha256:", "0 of 1 node enforces, 1 best effort; reports of namespace "+reports)
	s.kubectl(t, "status", "--node", s.NodeName()).says(t, 1, "placement host, on containerd", "NotAttested")
	s.kubectl(t, "status", "--report-namespace", "default").says(t, 1, s.NodeName()+" silent NoReport", "1 silent")
	now := time.Now()
	good := nodereport.Report{
		Version: "v1", Mode: nodereport.ModeEnforcing,
		Plugin:     &nodereport.Plugin{Version: "v1.2", Placement: nodereport.PlacementHost, Started: now, HeardAt: now, Runtime: "containerd v2.4.2", Decisions: map[string]uint64{"allowed": 5, "denied": 2, "could not tell": 1}},
		Policy:     nodereport.Policy{Generation: 7, WrittenAt: now, ConfirmedAt: now},
		LastDenial: &nodereport.Denial{At: now, Namespace: "prod", Pod: "p\x1b[31m", Image: "r.example/a:v1", Reason: "TagReference"},
	}
	report := func(namespace, node string, old time.Duration, change func(*nodereport.Report)) {
		t.Helper()
		r := good
		if change != nil {
			change(&r)
		}
		check(t, s.Apply(t.Context(), leaseOf(t, namespace, node, now.Add(-old), r)))
	}
	report("kube-system", s.NodeName(), 0, nil)
	s.kubectl(t, "status").says(t, 0, s.NodeName()+" enforcing - v1.2 (host) 7, confirmed", "3 ", "ago, prod/p?[31m: r.example/a:v1", "1 of 1 node enforces; reports of namespace kube-system")
	for _, name := range []string{"n-besteffort", "n-stale", "n-absent", "n-none", "n-liar"} {
		check(t, s.Apply(t.Context(), "apiVersion: v1\nkind: Node\nmetadata: {name: "+name+", labels: {kubernetes.io/os: linux}}\n"))
	}
	check(t, s.Apply(t.Context(), "apiVersion: v1\nkind: Node\nmetadata: {name: n-windows, labels: {kubernetes.io/os: windows}}\n"))
	report("kube-system", "n-besteffort", 0, func(r *nodereport.Report) {
		r.Mode, r.Gaps = nodereport.ModeBestEffort, []nodereport.Gap{{Code: "NotRequired", Text: "the runtime does not require the plugin"}}
	})
	report("kube-system", "n-stale", nodereport.StaleAfter+time.Minute, nil)
	report("kube-system", "n-absent", 0, func(r *nodereport.Report) { r.Mode, r.Plugin = nodereport.ModeAbsent, nil })
	report("kube-system", "n-gone", 0, nil) // its Node is not there any more
	// What a tenant writes in a namespace of theirs is not believed.
	report("prod", "n-none", 0, nil)
	// Nor is a report under another node's name.
	r := good
	r.Node = "n-liar"
	check(t, s.Apply(t.Context(), strings.Replace(leaseOf(t, "kube-system", "n-other", now, r), "name: kritis-node.n-other", "name: kritis-node.n-liar", 1)))
	all := s.kubectl(t, "status")
	all.says(t, 1, "n-besteffort best effort NotRequired", "n-stale silent ReportOld", "n-absent absent - -", "n-none silent NoReport", "n-liar silent ReportUnreadable",
		"1 of 6 nodes enforce, 1 best effort, 1 absent, 3 silent; reports of namespace kube-system")
	for _, unwanted := range []string{"n-gone", "n-windows", "\x1b"} {
		if strings.Contains(all.stdout, unwanted) {
			t.Errorf("%q is in %s", unwanted, all)
		}
	}
	s.kubectl(t, "status", "--node", s.NodeName()).says(t, 0, "MODE enforcing", "placement host", "5 allowed, 2 denied, 1 could not tell", "TagReference")
	s.kubectl(t, "status", "--node", "n-besteffort").says(t, 1, "NotRequired: the runtime does not require the plugin")
	s.kubectl(t, "status", "--node", "nothing").says(t, 2, "there is no Linux node nothing")
	s.kubectl(t, "status", "--report-namespace", "prod").says(t, 1, "n-none enforcing", "reports of namespace prod")
	var fleet struct {
		Namespace string
		Nodes     []struct{ Name, Mode string }
		Modes     map[string]int
	}
	check(t, json.Unmarshal([]byte(s.kubectl(t, "status", "-o", "json").stdout), &fleet))
	if len(fleet.Nodes) != 6 || fleet.Modes[nodereport.ModeSilent] != 3 || fleet.Namespace != "kube-system" {
		t.Errorf("%+v", fleet)
	}
	// Where neither of the usual namespaces has reports, two that have some are one too many.
	_, err := s.KubectlOutput(t.Context(), "delete", "lease", "-n", "kube-system", "-l", nodereport.Label+"="+nodereport.LabelValue)
	check(t, err)
	s.kubectl(t, "status").says(t, 2, "several namespaces (prod, security): name that of kritis with --report-namespace")
	s.kubectl(t, "explain", "pod/good", "-n", "prod", "--registry-config", s.path("registries.yaml")).says(t, 0, "how its node enforces is unknown")
}

// People have credentials that a program gives; agents on nodes must not run one.
func testExec(t *testing.T, s *site) {
	text, err := s.KubectlOutput(t.Context(), "config", "view", "--raw", "-o", "json")
	check(t, err)
	var config map[string]any
	check(t, json.Unmarshal([]byte(text), &config))
	user := config["users"].([]any)[0].(map[string]any)
	own := user["user"].(map[string]any)
	credential, err := json.Marshal(map[string]any{
		"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
		"status": map[string]any{"clientCertificateData": pemOf(t, own["client-certificate-data"]), "clientKeyData": pemOf(t, own["client-key-data"])},
	})
	check(t, err)
	user["user"] = map[string]any{"exec": map[string]any{
		"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", "command": "cat", "args": []string{s.write(t, "credential.json", string(credential))},
	}}
	data, err := json.Marshal(config)
	check(t, err)
	kubeconfig := s.write(t, "exec.kubeconfig", string(data))
	s.plugin(t, kubeconfig, "lint").says(t, 0, "nothing to say")
	s.command(t, "", s.program, "policyagent", "--kubeconfig", kubeconfig, "--state-dir", s.path("state2"), "--socket", s.path("s2")).
		says(t, 2, "names a program that gives credentials")
}

func testRights(t *testing.T, s *site) {
	kubeconfig, err := s.KubeconfigFor("nobody")
	check(t, err)
	s.plugin(t, kubeconfig, "lint").says(t, 2, "you may not list attestationauthorities (API group kritis.grafeas.io) in all namespaces")
	s.plugin(t, kubeconfig, "verify", "-n", "prod", "nginx").says(t, 2, "you may not list attestationauthorities (API group kritis.grafeas.io) in namespace prod")
	s.plugin(t, kubeconfig, "explain", "-n", "prod", "pod/good").says(t, 2, "you may not list attestationauthorities")
	s.plugin(t, kubeconfig, "status").says(t, 2, "you may not list leases (API group coordination.k8s.io) in all namespaces", "--report-namespace")
	role := func(name, kind, rules string) string {
		namespace := ""
		if kind == "Role" {
			namespace = ", namespace: kube-system"
		}
		return fmt.Sprintf(`---
apiVersion: rbac.authorization.k8s.io/v1
kind: %[2]s
metadata: {name: %[1]s%[4]s}
rules: %[3]s
---
apiVersion: rbac.authorization.k8s.io/v1
kind: %[2]sBinding
metadata: {name: %[1]s%[4]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: %[2]s, name: %[1]s}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: nobody}]
`, name, kind, rules, namespace)
	}
	check(t, s.Apply(t.Context(), role("leases", "Role", `[{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [list]}]`)+
		role("policies", "ClusterRole", `[{apiGroups: [kritis.grafeas.io], resources: [attestationauthorities, genericattestationpolicies, admissionallowlists], verbs: [list]}, {apiGroups: [""], resources: [pods], verbs: [get]}]`)))
	check(t, s.Apply(t.Context(), leaseOf(t, "kube-system", s.NodeName(), time.Now(), nodereport.Report{Mode: nodereport.ModeEnforcing})))
	await(t, "the rights", func() error {
		if r := s.plugin(t, kubeconfig, "lint"); r.code != 0 {
			return fmt.Errorf("%s", r)
		}
		return nil
	})
	// Nodes that do not report cannot be seen, so nobody can tell.
	s.plugin(t, kubeconfig, "status").says(t, 2, s.NodeName()+" enforcing", "1 of 1 node enforces", "not told: nodes that do not report are not shown: you may not list nodes (API group core)")
	s.plugin(t, kubeconfig, append(s.registryArgs(), "explain", "-n", "prod", "pod/good")...).says(t, 0, "NODE "+s.NodeName()+": enforcing",
		"its events: you may not list events (API group core) in namespace prod")
	// What somebody may not read is not "none".
	const right = "you may not get attestations (API group kritis.grafeas.io) in all namespaces: ask for a role with that right"
	_, unsigned := s.push(t, "rights/unsigned")
	s.plugin(t, kubeconfig, append(s.registryArgs(), "verify", "-n", "prod", unsigned)...).says(t, 2, "VERDICT could not tell (SourceFailed)", right)
	s.plugin(t, kubeconfig, append(s.registryArgs(), "explain", "-n", "prod", unsigned)...).says(t, 2, "VERDICT could not tell (SourceFailed)", right)
	check(t, s.Apply(t.Context(), role("attestations", "ClusterRole", `[{apiGroups: [kritis.grafeas.io], resources: [attestations], verbs: [get]}]`)))
	await(t, "the right", func() error {
		if r := s.plugin(t, kubeconfig, append(s.registryArgs(), "verify", "-n", "prod", unsigned)...); r.code != 1 || !strings.Contains(r.stdout, "NotAttested") {
			return fmt.Errorf("%s", r)
		}
		return nil
	})
}
