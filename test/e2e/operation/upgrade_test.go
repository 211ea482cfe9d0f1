package operation

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kritis-node/kritis-node/test/site"
)

const (
	// loaded is where pods are created during the upgrade.
	loaded = "loaded"
	// ranFolder is a folder of the node into which each container of the unsigned image writes, if it starts, what nobody cleans up.
	ranFolder = "/var/lib/operation-ran"
	// leastUnsigned is how many unsigned pods are asked for at least, and signedPods how many signed ones a Job makes.
	leastUnsigned, signedPods = 100, 100
)

// asked counts what became of requests for unsigned pods.
type asked struct {
	denied, refused, admitted atomic.Int64
	mu                        sync.Mutex
	refusals                  map[string]int
}

// total is how often somebody asked.
func (a *asked) total() int64 { return a.denied.Load() + a.refused.Load() + a.admitted.Load() }

// upgradedUnderLoad replaces agent, plugin, webhooks and controller while pods are created through the API: nothing unsigned ever
// starts, and everything signed does in the end. In placement pod the node checks nothing in the moment in which its plugin is
// replaced, so that the webhooks have to stop what is unsigned, or the API server for want of them.
func (o *operation) upgradedUnderLoad(t *testing.T) {
	ctx := t.Context()
	o.provesRuns(t)
	o.governed(t, loaded)
	before := o.podsOfOurs(t)

	var a asked
	a.refusals = map[string]int{}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for client := range 2 {
		clients.Go(func() { o.askForUnsigned(ctx, &a, client, stop) })
	}
	o.createSigned(t, "signed-0")
	check(t, await(ctx, "the load to begin", func(ctx context.Context) error {
		active, err := o.KubectlOutput(ctx, "--namespace", loaded, "get", "job", "signed-0", "--output=jsonpath={.status.succeeded}")
		if err == nil && (active == "" || a.total() < 10) {
			err = fmt.Errorf("%q signed pods have ended, %d unsigned ones were asked for", active, a.total())
		}
		return err
	}))
	upgraded := make(chan error, 1)
	began := time.Now()
	go func() { upgraded <- o.Upgrade(ctx, site.Values{"podAnnotations": site.Values{"test/round": "2"}}) }()
	jobs, err := o.keepSigned(t, upgraded)
	t.Logf("upgraded in %v", time.Since(began).Round(time.Second))
	if err != nil {
		t.Error(err)
	}
	for i := range jobs {
		o.signedComplete(t, fmt.Sprintf("signed-%d", i))
	}
	check(t, await(ctx, "unsigned pods to be asked for", func(context.Context) error {
		if a.total() < leastUnsigned {
			return fmt.Errorf("%d were", a.total())
		}
		return nil
	}))
	close(stop)
	clients.Wait()
	t.Logf("%d signed pods were asked for; of unsigned ones %d denied, %d refused because nobody could be asked, %d admitted; refusals: %v",
		jobs*signedPods, a.denied.Load(), a.refused.Load(), a.admitted.Load(), a.refusals)
	if n := a.admitted.Load(); n > 0 {
		t.Errorf("%d unsigned pods were admitted", n)
	}
	if ran := o.ran(t); len(ran) != 1 {
		t.Errorf("unsigned containers ran: %v", ran)
	}
	for pod := range o.podsOfOurs(t) {
		if before[pod] {
			t.Errorf("%s was not replaced: no upgrade was tried", pod)
		}
	}
	o.deniedOnNode(t, loaded, o.static(t, loaded, "upgraded", o.unsigned))
	o.judgesAsUsual(t, loaded)
}

// keepSigned creates signed pods until the upgrade has ended, a Job after the other, and returns the number of Jobs.
func (o *operation) keepSigned(t *testing.T, upgraded <-chan error) (jobs int, err error) {
	t.Helper()
	for jobs = 1; ; {
		select {
		case err = <-upgraded:
			t.Logf("when the upgrade had ended, of job %d had ended %q", jobs-1,
				o.kubectl(t, "--namespace", loaded, "get", "job", fmt.Sprintf("signed-%d", jobs-1), "--output=jsonpath={.status.succeeded}"))
			return jobs, err
		case <-time.After(500 * time.Millisecond):
		}
		succeeded, err := o.KubectlOutput(t.Context(), "--namespace", loaded, "get", "job", fmt.Sprintf("signed-%d", jobs-1), "--output=jsonpath={.status.succeeded}")
		check(t, err)
		if succeeded == fmt.Sprint(signedPods) {
			o.createSigned(t, fmt.Sprintf("signed-%d", jobs))
			jobs++
		}
	}
}

func (o *operation) createSigned(t *testing.T, name string) {
	t.Helper()
	job := fmt.Sprintf(`apiVersion: batch/v1
kind: Job
metadata: {name: %s, namespace: %s}
spec:
  completions: %d
  parallelism: 10
  template:
    spec:
      restartPolicy: OnFailure
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: %q, command: [sh, -c, exit 0]}]
`, name, loaded, signedPods, o.signed)
	// For the API server may not reach a webhook that is just being replaced; then it is asked again, as people would.
	check(t, await(t.Context(), "the job to be created", func(ctx context.Context) error { return o.Apply(ctx, job) }))
}

// signedComplete expects that each pod of a Job ended well, and none failed.
func (o *operation) signedComplete(t *testing.T, name string) {
	t.Helper()
	if err := o.AwaitObject(t.Context(), loaded, "job/"+name, "condition=Complete"); err != nil {
		t.Error(err)
	}
	if got, want := o.kubectl(t, "--namespace", loaded, "get", "job", name, "--output=jsonpath={.status.succeeded} {.status.failed}"), fmt.Sprintf("%d ", signedPods); got != want {
		t.Errorf("of job %s succeeded and failed %q, want %q", name, got, want)
	}
}

// marked is a pod of the unsigned image that leaves a mark on the node if it ever starts.
func (o *operation) marked(namespace, name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": name, "namespace": namespace},
		"spec": map[string]any{
			"terminationGracePeriodSeconds": int64(1), "restartPolicy": "Never",
			"volumes": []any{map[string]any{"name": "ran", "hostPath": map[string]any{"path": ranFolder, "type": "DirectoryOrCreate"}}},
			"containers": []any{map[string]any{
				"name": "main", "image": o.unsigned, "command": []any{"sh", "-c", "cat /marker > /ran/" + name},
				"volumeMounts": []any{map[string]any{"name": "ran", "mountPath": "/ran"}},
			}},
		},
	}}
}

// ran lists the unsigned pods that ever started.
func (o *operation) ran(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(o.Nodes()[0].Path(ranFolder))
	check(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// provesRuns shows that such a pod leaves its mark where it may start.
func (o *operation) provesRuns(t *testing.T) {
	t.Helper()
	_, err := o.pods("default").Create(t.Context(), o.marked("default", "control"), metav1.CreateOptions{})
	check(t, err)
	check(t, o.AwaitPod(t.Context(), "default", "control", string(core.PodSucceeded)))
	if ran := o.ran(t); len(ran) != 1 || ran[0] != "control" {
		t.Fatalf("marks are left of %v", ran)
	}
}

// askForUnsigned creates unsigned pods until it is stopped, and deletes those that were admitted.
func (o *operation) askForUnsigned(ctx context.Context, a *asked, client int, stop <-chan struct{}) {
	pace := time.NewTicker(200 * time.Millisecond)
	defer pace.Stop()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-pace.C:
		}
		name := fmt.Sprintf("unsigned-%d-%d", client, i)
		_, err := o.pods(loaded).Create(ctx, o.marked(loaded, name), metav1.CreateOptions{})
		switch {
		case err == nil:
			a.admitted.Add(1)
		case strings.Contains(err.Error(), "is not attested"):
			a.denied.Add(1)
		default:
			a.refused.Add(1)
			text := err.Error()
			a.mu.Lock()
			if len(a.refusals) < 20 {
				a.refusals[text[max(0, len(text)-60):]]++
			}
			a.mu.Unlock()
		}
	}
}

// podsOfOurs are the names of the product's pods.
func (o *operation) podsOfOurs(t *testing.T) map[string]bool {
	t.Helper()
	pods := map[string]bool{}
	for name := range strings.FieldsSeq(o.kubectl(t, "--namespace", site.Namespace, "get", "pods", "--output=jsonpath={.items[*].metadata.name}")) {
		pods[name] = true
	}
	if len(pods) < 4 {
		t.Errorf("there are only pods %v", pods)
	}
	return pods
}

// rolledBack: the release is again what it was at first, and still enforces.
func (o *operation) rolledBack(t *testing.T) {
	const namespace = "back"
	ctx := t.Context()
	if o.revision(t) == 1 { // this step runs alone
		check(t, o.Upgrade(ctx, site.Values{"webhook": site.Values{"failurePolicy": "Ignore"}}))
	}
	before := o.revision(t)
	_, err := o.Helm(ctx, "rollback", site.Release, "1", "--namespace", site.Namespace, "--wait", "--timeout", "2m")
	check(t, err)
	if now := o.revision(t); now != before+1 {
		t.Errorf("revision %d, before it was %d", now, before)
	}
	if policies := o.kubectl(t, "get", "validatingwebhookconfiguration", "kritis-validation-hook", "--output=jsonpath={.webhooks[*].failurePolicy}"); policies != "Fail Fail" {
		t.Errorf("failure policies are %s", policies)
	}
	if round := o.kubectl(t, "--namespace", site.Namespace, "get", "daemonset", "kritis-node", `--output=jsonpath={.spec.template.metadata.annotations.test/round}`); round != "" {
		t.Errorf("pods still are of round %s", round)
	}
	o.governed(t, namespace)
	o.judgesAsUsual(t, namespace)
	o.deniedOnNode(t, namespace, o.static(t, namespace, "unsigned", o.unsigned))
}

// revision is the release's, which must be deployed.
func (o *operation) revision(t *testing.T) int {
	t.Helper()
	output, err := o.Helm(t.Context(), "history", site.Release, "--namespace", site.Namespace, "--output", "json")
	check(t, err)
	var history []struct {
		Revision int    `json:"revision"`
		Status   string `json:"status"`
	}
	check(t, json.Unmarshal([]byte(output), &history))
	last := history[len(history)-1]
	if last.Status != "deployed" {
		t.Errorf("revision %d is %s", last.Revision, last.Status)
	}
	return last.Revision
}

// valuesRefused: what cannot be meant is refused by its name, and nothing changes.
func (o *operation) valuesRefused(t *testing.T) {
	before := o.revision(t)
	for _, tc := range []struct {
		name, want string
		values     site.Values
	}{
		{"a placement that is not there", "placement", site.Values{"plugin": site.Values{"placement": "nowhere"}}},
		{"a name that is not there", "placment", site.Values{"plugin": site.Values{"placment": "host"}}},
		{"a failure policy that is not there", "failurePolicy", site.Values{"webhook": site.Values{"failurePolicy": "Maybe"}}},
		{"a number that is none", "replicas", site.Values{"webhook": site.Values{"replicas": "two"}}},
		{"a secret that is not named", "webhook.certificates.secretName", site.Values{"webhook": site.Values{"certificates": site.Values{"mode": "secret"}}}},
	} {
		if err := o.Upgrade(t.Context(), tc.values); err == nil || !strings.Contains(strings.SplitN(err.Error(), "\n---", 2)[0], tc.want) {
			t.Errorf("%s: it is answered %v", tc.name, err)
		}
	}
	if now := o.revision(t); now != before {
		t.Errorf("revision %d, before it was %d", now, before)
	}
}
