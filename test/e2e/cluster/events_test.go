package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodereport"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// event waits until kubectl shows an event with a reason about an object, and returns its message.
func (s *site) event(t *testing.T, namespace, reason, object string) string {
	t.Helper()
	var message string
	err := cluster.Await(t.Context(), reason+" about "+object+" in "+namespace, func(ctx context.Context) error {
		out, err := s.KubectlOutput(ctx, "-n", namespace, "get", "events", "--field-selector", "reason="+reason+",involvedObject.name="+object, "-o", "jsonpath={.items[*].message}")
		if message = out; err == nil && out == "" {
			err = errors.New("there is none")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return message
}

// metrics are the agent's.
func (s *site) metrics(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.agentAddress()+"/metrics", http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func (s *site) agentAddress() string { return s.NodeAddress() + ":9464" }

func runs(name, image string) []string {
	return []string{"run", name, "--image=" + image, "--restart=Never", "--", "sleep", "1000"}
}

// What happens on the node shows where people look: dry run, break-glass, the node's report, metrics.
func (s *site) testTold(t *testing.T, unsigned string) {
	ctx := t.Context()
	const trial = "apiVersion: v1\nkind: Namespace\nmetadata: {name: trial}\n---\napiVersion: kritis.grafeas.io/v1beta1\nkind: GenericAttestationPolicy\nmetadata: {name: trial, namespace: trial}\nspec: {attestationAuthorityNames: [none], dryRun: true}\n"
	glass := fmt.Sprintf("---\napiVersion: kritis.grafeas.io/v1beta1\nkind: AdmissionAllowlist\nmetadata: {name: emergency}\nspec: {patterns: [{namePattern: %q, namespace: glass, expires: %q, reason: INC-1}]}\n",
		unsigned, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	glass += "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: glass}\n---\n" + stack.Policy("glass", "glass", "", "none")
	if err := s.Apply(ctx, trial+glass); err != nil {
		t.Fatal(err)
	}
	s.awaitPolicy(t, 3)
	for namespace, want := range map[string]struct{ reason, text string }{
		"trial": {"DryRunKritisAdmission", "container tried: dry run let it run: image " + unsigned + " is not attested: "},
		"glass": {"KritisBreakGlass", "container tried: image " + unsigned + " runs by break-glass: pattern " + unsigned + " of AdmissionAllowlist emergency, which expires "},
	} {
		if _, err := s.KubectlOutput(ctx, append([]string{"-n", namespace}, runs("tried", unsigned)...)...); err != nil {
			t.Fatal(err)
		}
		if err := s.AwaitPodReady(ctx, namespace, "tried"); err != nil {
			t.Error(err)
		}
		if got := s.event(t, namespace, want.reason, "tried"); !strings.HasPrefix(got, want.text) {
			t.Errorf("%s: %q", namespace, got)
		}
		if got := s.event(t, "kube-system", want.reason, "tried"); !strings.Contains(got, "pod "+namespace+"/tried on node "+s.NodeName()) {
			t.Errorf("%s: %q", namespace, got)
		}
	}
	count, err := s.KubectlOutput(ctx, "-n", "trial", "get", "events", "--field-selector", "reason=DryRunKritisAdmission", "-o", "jsonpath={.items[*].count}")
	if err != nil || count != "1" {
		t.Errorf("a container that was created and started once: %q, %v", count, err)
	}
	text, err := s.metrics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, series := range []string{
		"kritis_policyagent_plugin_up 1", `kritis_node_enforcing{mode="enforcing",why=""} 1`, `kritis_plugin_enforcing{mode="enforcing",why=""} 1`,
		`kritis_plugin_decisions_total{admitted="true",outcome="denied",place="create",reason="NotAttested"} 1`, `kritis_policyagent_node_reports_total{result="failed"} 0`,
		`kritis_events_dropped_total{why="refused"} 0`, "kritis_plugin_decision_seconds_bucket{", "kritis_plugin_budget_left_seconds 1.2",
	} {
		if !strings.Contains(text, series) {
			t.Errorf("the agent's metrics have no %s", series)
		}
	}
	name, err := nodereport.LeaseName(s.NodeName())
	if err != nil {
		t.Fatal(err)
	}
	err = cluster.Await(ctx, "the node's report", func(ctx context.Context) error {
		out, err := s.KubectlOutput(ctx, "-n", "kube-system", "get", "lease", name, "-o", `jsonpath={.metadata.annotations.kritis\.grafeas\.io/node-report}`)
		if err != nil {
			return err
		}
		r, err := nodereport.Parse(out)
		if err == nil && (r.Mode != nodereport.ModeEnforcing || r.Plugin == nil || r.Plugin.Placement != "host" || r.LastDenial == nil || r.Policy.ConfirmedAt.IsZero()) {
			err = fmt.Errorf("it is %+v", r)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := s.KubectlOutput(ctx, "delete", "genericattestationpolicy,pod", "--all", "-n", "trial"); err != nil {
		t.Error(err)
	}
	if _, err := s.KubectlOutput(ctx, "delete", "genericattestationpolicy,pod", "--all", "-n", "glass"); err != nil {
		t.Error(err)
	}
	s.awaitPolicy(t, 1)
}
