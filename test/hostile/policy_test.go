package hostile

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// TestPolicyDodged: a direct client of CRI says what it likes about a pod, and policies and exceptions overlap or lead nowhere.
func TestPolicyDodged(t *testing.T) {
	t.Parallel()
	s := startSite(t, stack.Options{Referrers: true}, func(s *site) []string {
		check(t, s.lookAlikes())
		return nil
	})
	t.Run("policies that overlap or cannot be satisfied", s.testOverlap)
	t.Run("exceptions that overlap", s.testExceptions)
	t.Run("names that resemble an allowed one", s.testLookAlikes)
	t.Run("namespace by other words of the client", s.testNamespaceWords)
	t.Run("namespace that a client made up", s.testNamespaceMadeUp) // last: its floor stays
}

// testOverlap: one policy of a namespace has to be satisfied as a whole, and one that cannot be still governs.
func (s *site) testOverlap(t *testing.T) {
	byTeam, byStranger := s.pushSigned(t, "overlap/team"), s.push(t, "overlap/stranger")
	check(t, s.Sign(t.Context(), s.stranger, byStranger))
	unsigned := s.push(t, "overlap/unsigned")
	rows := []struct {
		name     string
		policies [][]string // their authorities
		// starts says which images do.
		team, stranger bool
	}{
		{"one satisfied is enough", [][]string{{"team"}, {"second"}}, true, true},
		{"each as a whole", [][]string{{"team", "second"}}, false, false},
		{"the stricter does not take away", [][]string{{"team", "second"}, {"team"}}, true, false},
		{"missing authority", [][]string{{"gone"}}, false, false},
		{"missing authority beside one that is there", [][]string{{"team", "gone"}}, false, false},
		{"missing authority in another policy", [][]string{{"gone"}, {"team"}}, true, false},
		{"authority of another namespace", [][]string{{"elsewhere"}}, false, false},
		{"empty list", [][]string{{}}, false, false},
		{"empty list in another policy", [][]string{{}, {"team"}}, true, false},
		{"the same authority twice", [][]string{{"team", "team"}}, true, false},
	}
	var objects []string
	for i, row := range rows {
		namespace := fmt.Sprintf("overlap-%d", i)
		for name, key := range map[string]stack.Key{"team": s.team, "second": s.stranger} {
			authority, err := stack.Authority(namespace, name, "", key)
			check(t, err)
			objects = append(objects, authority)
		}
		for j, names := range row.policies {
			objects = append(objects, stack.Policy(namespace, fmt.Sprintf("p%d", j), "", names...))
		}
	}
	elsewhere, err := stack.Authority("overlap-elsewhere", "elsewhere", "", s.team)
	check(t, err)
	check(t, s.WritePolicies(t.Context(), "overlap.yaml", append(objects, elsewhere)...))
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			namespace := fmt.Sprintf("overlap-%d", i)
			for image, starts := range map[string]bool{byTeam: row.team, byStranger: row.stranger, unsigned: false} {
				if err := s.run(t, namespace, image); starts {
					expectStarts(t, err)
				} else {
					expectDenied(t, err)
				}
			}
		})
	}
}

// testExceptions: an entry of an allow-list counts in its namespace and until it ends, whatever other entries say.
func (s *site) testExceptions(t *testing.T) {
	names := map[string]string{}
	for _, name := range []string{"elsewhere", "over", "both", "twice"} {
		names[name] = s.push(t, "exceptions/"+name)
	}
	entry := func(image, namespace string, expires time.Duration) string {
		text := fmt.Sprintf("  - {namePattern: %q", image)
		if namespace != "" {
			text += ", namespace: " + namespace
		}
		if expires != 0 {
			text += fmt.Sprintf(", expires: %q, reason: INC-1", time.Now().Add(expires).UTC().Format(time.RFC3339))
		}
		return text + "}\n"
	}
	list := func(name string, entries ...string) string {
		return "apiVersion: kritis.grafeas.io/v1beta1\nkind: AdmissionAllowlist\nmetadata: {name: " + name + "}\nspec:\n  patterns:\n" + strings.Join(entries, "")
	}
	require := stack.Policy("exceptions", "p", "", "nobody")
	other := stack.Policy("exceptions-2", "p", "", "nobody")
	check(t, s.WritePolicies(t.Context(), "exceptions.yaml", require, other,
		list("first", entry(names["elsewhere"], "exceptions-2", 0), entry(names["over"], "", -time.Hour), entry(names["both"], "exceptions", -time.Hour), entry(names["twice"], "", time.Hour)),
		list("second", entry(names["both"], "exceptions", time.Hour), entry(names["twice"], "exceptions", -time.Hour))))
	for name, want := range map[string][2]bool{ // in exceptions and exceptions-2
		"elsewhere": {false, true}, "over": {false, false}, "both": {true, false}, "twice": {true, true},
	} {
		for i, namespace := range []string{"exceptions", "exceptions-2"} {
			t.Run(name+" in "+namespace, func(t *testing.T) {
				if err := s.run(t, namespace, names[name]); want[i] {
					expectStarts(t, err)
				} else {
					expectDenied(t, err)
				}
			})
		}
	}
}

// testNamespaceWords says otherwise than the pod's namespace wherever kubelet would say the same, and asks to be let off.
func (s *site) testNamespaceWords(t *testing.T) {
	signed, unsigned := s.pushSigned(t, "words/signed"), s.push(t, "words/unsigned")
	words := map[string]string{
		"io.kubernetes.pod.namespace": sandbox, "io.kubernetes.cri.sandbox-namespace": sandbox, "kritis.grafeas.io/breakglass": "true",
		"kritis-validation": "disabled", "io.kubernetes.cri.container-type": "sandbox", "kubernetes.io/config.mirror": "1", "kubernetes.io/config.source": "file",
	}
	pod := s.newPod(t, cluster.PodSpec{Namespace: prod, Labels: words, Annotations: words})
	for image, starts := range map[string]bool{signed: true, unsigned: false} {
		err := s.runIn(t, pod, cluster.ContainerSpec{Image: s.pull(t, image), UserSpecifiedImage: image, Annotations: words})
		if starts {
			expectStarts(t, err)
		} else {
			expectDenied(t, err)
		}
	}
}

// testNamespaceMadeUp: only a floor for all namespaces keeps a client from choosing one without a policy.
func (s *site) testNamespaceMadeUp(t *testing.T) {
	signed, unsigned := s.pushSigned(t, "floor/signed"), s.push(t, "floor/unsigned")
	public, err := os.ReadFile(s.team.Public)
	check(t, err)
	write(t, s.FloorFile(), fmt.Appendf(nil, "version: 1\nauthorities: [{name: node, publicKeys: [{pem: %q}]}]\npolicies: [{name: all, namespaces: [\"*\"], authorities: [node]}]\n", public))
	s.awaitRefused(t, sandbox, unsigned)
	for _, namespace := range []string{sandbox, "kube-system", "Prod", "prod ", "*", "no/such"} {
		pod, err := s.Node.CRI().RunPod(t.Context(), cluster.PodSpec{Namespace: namespace})
		if err != nil {
			continue // the runtime does not take it
		}
		run := func(image string) error {
			return s.runIn(t, pod, cluster.ContainerSpec{Image: s.pull(t, image), UserSpecifiedImage: image})
		}
		t.Run(fmt.Sprintf("%q", namespace), func(t *testing.T) {
			expectDenied(t, run(unsigned))
			expectStarts(t, run(signed))
		})
	}
}
