package live

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/stack"
)

// What runs while nothing is enforced is reported as the node has it; and what the report prints is what helps.
func testReport(t *testing.T, s *site) {
	signedName, signed := s.push(t, "report/signed")
	_, unsigned := s.push(t, "report/unsigned")
	tagged, _ := s.push(t, "report/tagged")
	output, err := exec.CommandContext(t.Context(), s.program, append(s.registryArgs(), "sign", "--key", s.key.Private, signed)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	const busybox = `command: [/bin/busybox, sleep, "1000"]`
	check(t, s.Apply(t.Context(), "apiVersion: v1\nkind: Namespace\nmetadata: {name: rollout}\n---\n"+fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: one, namespace: rollout}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: good, image: "%[1]s", %[5]s}, {name: bad, image: "%[2]s", %[5]s}, {name: tagged, image: "%[3]s:v1", %[5]s}, {name: tagged-good, image: "%[4]s:v1", %[5]s}]
`, signed, unsigned, tagged, signedName, busybox)))
	check(t, s.AwaitPodReady(t.Context(), "rollout", "one"))
	report := func(args ...string) result {
		t.Helper()
		return s.kubectl(t, append(append([]string{"report", "-n", "rollout"}, s.registryArgs()...), args...)...)
	}
	node := " 1 " + s.NodeName() + " "
	report().says(t, 0, "rollout none 4 4 0 0", "4 of the allowed have no policy in their namespace")
	authority, err := stack.Authority("rollout", "team", "", s.key)
	check(t, err)
	policy := authority + "---\n" + stack.Policy("rollout", "team-signs", "dryRun: true", "team")
	report("--policy", s.write(t, "rollout.yaml", policy)).says(t, 1, "rollout team-signs 4 1 3 0")
	check(t, s.Apply(t.Context(), policy))
	report().says(t, 1, "rollout team-signs 4 1 3 0", signed+" as written"+node+"allowed (Attested) rollout/team-signs: team",
		unsigned+" as written"+node+"denied (NotAttested) -", tagged+":v1 sha256:", signedName+":v1 "+strings.SplitAfter(signed, "@")[1][:19]+node+"denied (TagReference) by digest: rollout/team-signs: team")
	s.kubectl(t, append(s.registryArgs(), "report", "-A")...).says(t, 1, "rollout team-signs 4 1 3 0")

	// Who may only read may ask.
	kubeconfig, err := s.KubeconfigFor("auditor")
	check(t, err)
	s.plugin(t, kubeconfig, append(s.registryArgs(), "report", "-n", "rollout")...).says(t, 2, "you may not list attestationauthorities")
	check(t, s.Apply(t.Context(), `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: auditor}
rules:
- {apiGroups: [kritis.grafeas.io], resources: [attestationauthorities, genericattestationpolicies, admissionallowlists], verbs: [list]}
- {apiGroups: [kritis.grafeas.io], resources: [attestations], verbs: [get]}
- {apiGroups: [""], resources: [pods], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: auditor}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: auditor}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: auditor}]
`))
	await(t, "the auditor's rights", func() error {
		if r := s.plugin(t, kubeconfig, append(s.registryArgs(), "report", "-n", "rollout")...); r.code != 1 || !strings.Contains(r.stdout, "note: not read: the platforms of nodes") {
			return fmt.Errorf("%s", r)
		}
		return nil
	})

	// What it prints makes all of it run, and nothing else.
	allow := report("-o", "yaml")
	allow.says(t, 1, "name: ran-in-rollout", "namePattern: "+unsigned, "namePattern: "+tagged+":v1")
	check(t, s.Apply(t.Context(), allow.stdout))
	report().says(t, 0, "rollout team-signs 4 4 0 0", "allowed (AllowListed) AdmissionAllowlist ran-in-rollout")
	verify := func(image string) result {
		t.Helper()
		return s.kubectl(t, append(append([]string{"verify", "-n", "rollout"}, s.registryArgs()...), image)...)
	}
	verify(unsigned).says(t, 0, "VERDICT allowed (AllowListed)", "ran before enforcement: NotAttested")
	verify(tagged+":v1").says(t, 0, "VERDICT allowed (AllowListed)")
	verify(tagged+":v2").says(t, 0, "VERDICT denied (TagReference)", "DRY RUN")
	var all struct {
		Outcomes struct{ Allowed, Denied int }
		Images   []struct{ Image, Runs string }
	}
	check(t, json.Unmarshal([]byte(report("-o", "json").stdout), &all))
	if all.Outcomes.Allowed != 4 || len(all.Images) != 4 || !strings.HasPrefix(all.Images[0].Runs, "sha256:") {
		t.Errorf("%+v", all)
	}
	for _, args := range [][]string{{"delete", "aal", "ran-in-rollout"}, {"delete", "aa,gap", "--all", "-n", "rollout"}, {"delete", "pod", "one", "-n", "rollout", "--wait=false"}, {"delete", "clusterrolebinding", "auditor"}} {
		_, err := s.KubectlOutput(t.Context(), args...)
		check(t, err)
	}
}
