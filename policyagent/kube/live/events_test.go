package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodereport"
	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
	"github.com/kritis-node/kritis-node/verifier"
)

// tell reports to an agent as its plugin does.
func (a *agent) tell(t *testing.T, mode string, incidents ...nodestate.Incident) {
	t.Helper()
	c := nodestate.NewClient(a.dir + "/s")
	defer c.Close()
	r := nodestate.Report{Version: "v1", Placement: "host", StartedAt: time.Now().UTC(), Mode: mode, Runtime: "containerd v2", Incidents: incidents,
		Decisions: nodestate.Decisions{Allowed: 2, Denied: 1}}
	if mode == nodereport.ModeBestEffort {
		r.Gaps = []nodestate.Gap{{Code: "NotRequired", Text: "the runtime does not require the plugin"}}
	}
	check(t, cluster.Await(t.Context(), "the agent to take a report", func(ctx context.Context) error { return c.Report(ctx, r) }))
}

func incident(pod, uid string) nodestate.Incident {
	return nodestate.Incident{At: time.Now().UTC(), Place: "create", Namespace: "default", Pod: pod, PodUID: uid, Container: "main", Image: "registry.example/app:v1",
		Outcome: verifier.Denied, Reason: verifier.TagReference, Message: "image registry.example/app:v1 is not attested: it is named by tag"}
}

// listed is an event as kubectl tells it.
type listed struct {
	Reason, Message, Type string
	Count                 int
	InvolvedObject        struct{ Kind, Namespace, Name, UID string }
	Source                struct{ Component, Host string }
}

func eventsIn(ctx context.Context, kube *kubernetes.Cluster, namespace string) ([]listed, error) {
	out, err := kube.KubectlOutput(ctx, "--namespace", namespace, "get", "events", "--output", "json")
	if err != nil {
		return nil, err
	}
	var list struct{ Items []listed }
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(e listed) bool { return e.Source.Component != "kritis-policyagent" }), nil
}

// awaitEvents returns the agents' events about a pod once they are as wanted.
func awaitEvents(t *testing.T, kube *kubernetes.Cluster, namespace, pod string, want func([]listed) bool) []listed {
	t.Helper()
	var about []listed
	err := cluster.Await(t.Context(), "events in "+namespace+" about "+pod, func(ctx context.Context) error {
		all, err := eventsIn(ctx, kube, namespace)
		about = slices.DeleteFunc(all, func(e listed) bool { return e.InvolvedObject.Name != pod })
		if err == nil && !want(about) {
			err = fmt.Errorf("they are %+v", about)
		}
		return err
	})
	check(t, err)
	return about
}

func some(n int) func([]listed) bool { return func(all []listed) bool { return len(all) == n } }

// An incident shows in kube-system and on the pod: of an ordinary one and of a static one.
func testEvents(t *testing.T, kube *kubernetes.Cluster) {
	a := startAgent(t, kube.Kubeconfig(), "--node-name", kube.NodeName(), "--plugin-socket", "")
	const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: default}\nspec: {containers: [{name: main, image: registry.invalid/none}]}\n"
	check(t, kube.Apply(t.Context(), fmt.Sprintf(pod, "web")))
	static := filepath.Join(kube.StaticPodDir(), "fixed.yaml")
	check(t, os.WriteFile(static, fmt.Appendf(nil, pod, "fixed"), 0o644))
	defer os.Remove(static)
	mirror := "fixed-" + kube.NodeName()
	uid := func(pod, path string) (uid string) {
		check(t, cluster.Await(t.Context(), "pod "+pod, func(ctx context.Context) (err error) {
			if uid, err = kube.KubectlOutput(ctx, "get", "pod", pod, "--output", "jsonpath={"+path+"}"); err == nil && uid == "" {
				err = errors.New("it has no UID")
			}
			return err
		}))
		return uid
	}
	for name, id := range map[string]string{
		"web": uid("web", ".metadata.uid"),
		// The runtime gets the static pod's own UID, which is in this annotation of its mirror.
		mirror: uid(mirror, `.metadata.annotations.kubernetes\.io/config\.mirror`),
	} {
		a.tell(t, nodereport.ModeEnforcing, incident(name, id))
		on := awaitEvents(t, kube, "default", name, some(1))[0]
		system := awaitEvents(t, kube, "kube-system", name, some(1))[0]
		if want := "container main: " + incident("", "").Message; on.Message != want || on.Reason != "FailedKritisAdmission" || on.Type != "Warning" || on.Source.Host != kube.NodeName() {
			t.Errorf("%+v", on)
		}
		if want := "pod default/" + name + " on node " + kube.NodeName() + ", container main: " + incident("", "").Message; system.Message != want || system.Reason != "FailedKritisAdmission" || system.InvolvedObject.Namespace != "default" {
			t.Errorf("%+v", system)
		}
		text, err := kube.KubectlOutput(t.Context(), "describe", "pod", name)
		if err != nil || !strings.Contains(text, "FailedKritisAdmission") || !strings.Contains(text, on.Message) {
			t.Errorf("%v: describe does not tell: %s", err, text)
		}
	}
	list, err := kube.KubectlOutput(t.Context(), "--namespace", "kube-system", "get", "events")
	if err != nil || !strings.Contains(list, "FailedKritisAdmission") || !strings.Contains(list, "pod/web") {
		t.Errorf("%v: %s", err, list)
	}
	t.Logf("in kube-system:\n%s", list)
	testRepeats(t, kube, a)
	_, err = kube.KubectlOutput(t.Context(), "delete", "pod", "web", "--wait=false")
	check(t, err)
}

// Repetitions raise a count, dry run and break-glass have reasons of their own, and a flood is limited.
func testRepeats(t *testing.T, kube *kubernetes.Cluster, a *agent) {
	for range 3 {
		a.tell(t, nodereport.ModeEnforcing, incident("again", "u1"))
	}
	awaitEvents(t, kube, "default", "again", func(all []listed) bool { return len(all) == 1 && all[0].Count == 3 })
	awaitEvents(t, kube, "kube-system", "again", func(all []listed) bool { return len(all) == 1 && all[0].Count == 3 })
	_, err := kube.KubectlOutput(t.Context(), "--namespace", "default", "delete", "events", "--all")
	check(t, err)
	a.tell(t, nodereport.ModeEnforcing, incident("again", "u1"))
	awaitEvents(t, kube, "default", "again", func(all []listed) bool { return len(all) == 1 && all[0].Count == 1 })

	dry, glass := incident("dry", "u2"), incident("glass", "u3")
	dry.Admitted = true
	glass.Admitted, glass.Outcome, glass.Reason, glass.Message = true, verifier.Allowed, verifier.AllowListed, ""
	glass.BreakGlass = &nodestate.BreakGlass{Object: "AdmissionAllowlist emergency", Pattern: "registry.example/*", Reason: "INC-1", Expires: testTime}
	a.tell(t, nodereport.ModeEnforcing, dry, glass)
	if e := awaitEvents(t, kube, "default", "dry", some(1))[0]; e.Reason != "DryRunKritisAdmission" || !strings.HasPrefix(e.Message, "container main: dry run let it run: image ") {
		t.Errorf("%+v", e)
	}
	if e := awaitEvents(t, kube, "kube-system", "dry", some(1))[0]; e.Reason != "DryRunKritisAdmission" {
		t.Errorf("%+v", e)
	}
	want := "container main: image registry.example/app:v1 runs by break-glass: pattern registry.example/* of AdmissionAllowlist emergency, which expires 2030-01-02T03:04:05Z (INC-1): have it attested before"
	if e := awaitEvents(t, kube, "default", "glass", some(1))[0]; e.Reason != "KritisBreakGlass" || e.Message != want {
		t.Errorf("%+v", e)
	}
	awaitEvents(t, kube, "kube-system", "glass", some(1))

	// Names that only a direct client of the runtime gives: no event on a pod, and one that can be read.
	odd := incident("a b\x1b[2J", "u4")
	odd.Namespace = "../kube-system"
	a.tell(t, nodereport.ModeEnforcing, odd)
	if e := awaitEvents(t, kube, "kube-system", "a b [2J", some(1))[0]; !strings.Contains(e.Message, "pod ../kube-system/a b [2J on node") {
		t.Errorf("%+v", e)
	}

	for range 10 {
		var many []nodestate.Incident
		for i := range nodestate.MaxIncidents {
			one := incident("flood", "u5")
			one.Message = fmt.Sprintf("image number %d, %d", i, time.Now().UnixNano())
			many = append(many, one)
		}
		a.tell(t, nodereport.ModeEnforcing, many...)
	}
	time.Sleep(time.Second)
	all, err := eventsIn(t.Context(), kube, "default")
	check(t, err)
	flood := slices.DeleteFunc(all, func(e listed) bool { return e.InvolvedObject.Name != "flood" })
	if len(flood) < 5 || len(flood) > 11 {
		t.Errorf("%d events of 320 incidents", len(flood))
	}
}

var testTime = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// reported returns the node's report once it is as wanted.
func reported(t *testing.T, kube *kubernetes.Cluster, node string, want func(nodereport.Report) bool) nodereport.Report {
	t.Helper()
	name, err := nodereport.LeaseName(node)
	check(t, err)
	var report nodereport.Report
	check(t, cluster.Await(t.Context(), "the report of node "+node, func(ctx context.Context) error {
		text, err := kube.KubectlOutput(ctx, "--namespace", "reports", "get", "lease", name, "--output", `jsonpath={.metadata.annotations.kritis\.grafeas\.io/node-report}`)
		if err != nil {
			return err
		}
		if report, err = nodereport.Parse(text); err == nil && !want(report) {
			err = fmt.Errorf("it is %+v", report)
		}
		return err
	}))
	return report
}

func hasMode(mode string) func(nodereport.Report) bool {
	return func(r nodereport.Report) bool { return r.Mode == mode }
}

// The node's report is there, follows what changes at once, survives the API server being away, and says when the plugin
// is silent. Events are lost meanwhile, which is counted, and come again.
func testReports(t *testing.T, kube *kubernetes.Cluster) {
	_, err := kube.KubectlOutput(t.Context(), "create", "namespace", "reports")
	check(t, err)
	node := kube.NodeName()
	address := freeAddress(t)
	a := startAgent(t, kube.Kubeconfig(), "--node-name", node, "--report-namespace", "reports", "--plugin-socket", "", "--listen", address)
	a.tell(t, nodereport.ModeEnforcing)
	r := reported(t, kube, node, hasMode(nodereport.ModeEnforcing))
	if p := r.Plugin; p == nil || p.Placement != "host" || p.Decisions["denied"] != 1 || p.Runtime != "containerd v2" || r.Node != node || len(r.Gaps) != 0 || r.LastDenial != nil {
		t.Errorf("%+v", r)
	}
	owner, err := kube.KubectlOutput(t.Context(), "--namespace", "reports", "get", "lease", "--selector", nodereport.Label+"="+nodereport.LabelValue,
		"--output", "jsonpath={.items[*].metadata.ownerReferences[*].kind}/{.items[*].metadata.ownerReferences[*].name} {.items[*].spec.holderIdentity} {.items[*].spec.leaseDurationSeconds}")
	if want := fmt.Sprintf("Node/%s %s %d", node, node, int(nodereport.StaleAfter.Seconds())); err != nil || owner != want {
		t.Errorf("%v: %q, want %q", err, owner, want)
	}
	began := time.Now()
	a.tell(t, nodereport.ModeBestEffort, incident("web", "u9"))
	r = reported(t, kube, node, func(r nodereport.Report) bool { return r.Mode == nodereport.ModeBestEffort && r.LastDenial != nil })
	if took := time.Since(began); took > nodereport.RenewEvery/2 {
		t.Errorf("a change took %s to show", took)
	}
	if len(r.Gaps) != 1 || r.Gaps[0].Code != "NotRequired" || r.LastDenial.Pod != "web" {
		t.Errorf("%+v", r)
	}
	// Somebody removes it.
	_, err = kube.KubectlOutput(t.Context(), "--namespace", "reports", "delete", "lease", "--all")
	check(t, err)
	a.tell(t, nodereport.ModeEnforcing)
	reported(t, kube, node, hasMode(nodereport.ModeEnforcing))

	check(t, kube.StopAPIServer(t.Context()))
	a.tell(t, nodereport.ModeWaiting, incident("away", "u10"))
	if text := scrape(t, address, `kritis_events_dropped_total{why="unreachable"} `, 1); !strings.Contains(text, `kritis_node_enforcing{mode="waiting",why=""} 1`) {
		t.Errorf("the agent's metrics:\n%s", text)
	}
	scrape(t, address, `kritis_policyagent_node_reports_total{result="failed"} `, 1)
	check(t, kube.StartAPIServer(t.Context()))
	reported(t, kube, node, hasMode(nodereport.ModeWaiting))
	check(t, cluster.Await(t.Context(), "events after the outage", func(ctx context.Context) error {
		a.tell(t, nodereport.ModeWaiting, incident("back", "u11"))
		all, err := eventsIn(ctx, kube, "default")
		if err == nil && !slices.ContainsFunc(all, func(e listed) bool { return e.InvolvedObject.Name == "back" }) {
			err = errors.New("none")
		}
		return err
	}))
	// From now on the plugin is silent, which is noticed after 30 s.
	for try := 0; !strings.Contains(scrape(t, address, "kritis_node_enforcing{", 1), `mode="absent",why="PluginAbsent"`); try++ {
		if try > 120 {
			t.Fatal("a silent plugin does not count as absent")
		}
		time.Sleep(500 * time.Millisecond)
	}
	r = reported(t, kube, node, hasMode(nodereport.ModeAbsent))
	if len(r.Gaps) != 1 || r.Gaps[0].Code != "PluginAbsent" || r.Plugin == nil {
		t.Errorf("%+v", r)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return l.Addr().String()
}

// scrape returns the metrics once a series has at least a value.
func scrape(t *testing.T, address, series string, least float64) string {
	t.Helper()
	var text string
	check(t, cluster.Await(t.Context(), "metric "+series, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", http.NoBody)
		if err != nil {
			return err
		}
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		text = string(body)
		if err != nil {
			return err
		}
		for line := range strings.Lines(text) {
			fields := strings.Fields(line)
			if !strings.HasPrefix(line, series) || len(fields) == 0 {
				continue
			}
			if value, err := strconv.ParseFloat(fields[len(fields)-1], 64); err == nil && value >= least {
				return nil
			}
		}
		return errors.New("it is not there")
	}))
	return text
}

// testInCluster runs an agent as a pod's service account.
func testInCluster(t *testing.T, kube *kubernetes.Cluster) {
	const account = "/var/run/secrets/kubernetes.io/serviceaccount"
	token, err := kube.KubectlOutput(t.Context(), "--namespace", "kube-system", "create", "token", "default")
	check(t, err)
	ca, err := kube.KubectlOutput(t.Context(), "--namespace", "kube-system", "get", "configmap", "kube-root-ca.crt", "--output", `jsonpath={.data.ca\.crt}`)
	check(t, err)
	check(t, os.MkdirAll(account, 0o755))
	defer os.RemoveAll("/var/run/secrets")
	check(t, os.WriteFile(account+"/token", []byte(strings.TrimSpace(token)), 0o600))
	check(t, os.WriteFile(account+"/ca.crt", []byte(ca), 0o600))
	_, err = kube.KubectlOutput(t.Context(), "create", "clusterrolebinding", "in-cluster", "--clusterrole=cluster-admin", "--serviceaccount=kube-system:default")
	check(t, err)
	server, err := kube.KubectlOutput(t.Context(), "config", "view", "--output", "jsonpath={.clusters[0].cluster.server}")
	check(t, err)
	host, port, err := net.SplitHostPort(strings.TrimPrefix(server, "https://"))
	check(t, err)
	t.Setenv("KUBERNETES_SERVICE_HOST", host)
	t.Setenv("KUBERNETES_SERVICE_PORT", port)
	a := startAgentWith(t, []string{"--in-cluster", "--node-name", kube.NodeName(), "--report-namespace", "reports", "--plugin-socket", ""})
	a.await(t, "policy", func(p nodestate.Policy) bool { return p.Generation > 0 })
	a.tell(t, nodereport.ModeEnforcing, incident("inside", "u12"))
	awaitEvents(t, kube, "kube-system", "inside", some(1))
	reported(t, kube, kube.NodeName(), hasMode(nodereport.ModeEnforcing))
}
