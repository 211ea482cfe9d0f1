package operation

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/verifier"
)

const ordinary = "ordinary"

// everyday is what people run every day, named by tag and signed by nobody.
const everyday = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: ordinary}
spec:
  replicas: 2
  strategy: {rollingUpdate: {maxUnavailable: 0}}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: IMAGE
        command: [busybox, httpd, -f, -p, "8080", -h, /]
        readinessProbe: {httpGet: {path: /marker, port: 8080}, periodSeconds: 1}
        livenessProbe: {httpGet: {path: /marker, port: 8080}, periodSeconds: 2, timeoutSeconds: 20}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: ordinary}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: everywhere, namespace: ordinary}
spec:
  selector: {matchLabels: {app: everywhere}}
  template:
    metadata: {labels: {app: everywhere}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: IMAGE, args: [sleep, "100000"]}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once, namespace: ordinary}
spec:
  template:
    spec: {restartPolicy: Never, containers: [{name: main, image: IMAGE, command: [sh, -c, "echo it is done"]}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: yearly, namespace: ordinary}
spec:
  schedule: "0 0 1 1 *"
  jobTemplate:
    spec:
      template:
        spec: {restartPolicy: Never, containers: [{name: main, image: IMAGE, command: [sh, -c, "exit 0"]}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: words, namespace: ordinary}
data: {word: configured}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: ordinary}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: words, configMap: {name: words}}, {name: shared, emptyDir: {}}]
  initContainers:
  - {name: init, image: IMAGE, command: [sh, -c, cat /words/word > /shared/word], volumeMounts: [{name: words, mountPath: /words}, {name: shared, mountPath: /shared}]}
  containers:
  - {name: main, image: IMAGE, command: [sh, -c, echo it is $(cat /shared/word); exec sleep 100000], volumeMounts: [{name: shared, mountPath: /shared}]}
`

// byTag pushes an image and returns its name by tag, and what its marker says.
func (o *operation) byTag(t *testing.T, repository string) (tag, marker string) {
	t.Helper()
	reference, err := o.Push(t.Context(), repository)
	check(t, err)
	name, _, _ := strings.Cut(reference, "@")
	return name + ":v1", repository
}

// withoutPolicy: where there is no policy Kubernetes is as it always is.
func (o *operation) withoutPolicy(t *testing.T) {
	ctx := t.Context()
	first, firstMark := o.byTag(t, "ordinary/first")
	second, secondMark := o.byTag(t, "ordinary/second")
	kubectl := func(t *testing.T, args ...string) string {
		t.Helper()
		return strings.TrimSpace(o.kubectl(t, append([]string{"--namespace", ordinary}, args...)...))
	}
	expect := func(t *testing.T, got, want string) {
		t.Helper()
		if !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	o.kubectl(t, "create", "namespace", ordinary)
	check(t, o.Apply(ctx, strings.ReplaceAll(everyday, "IMAGE", first)))
	kubectl(t, "create", "job", "by-hand", "--from=cronjob/yearly")
	rollout := func(t *testing.T, what string) { t.Helper(); kubectl(t, "rollout", "status", what, "--timeout=2m") }
	for _, tc := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"deployment with probes", func(t *testing.T) { rollout(t, "deployment/web") }},
		{"daemon set", func(t *testing.T) { rollout(t, "daemonset/everywhere") }},
		{"job", func(t *testing.T) {
			check(t, o.AwaitObject(ctx, ordinary, "job/once", "condition=Complete"))
			expect(t, kubectl(t, "logs", "job/once"), "it is done")
		}},
		{"cron job, started by hand", func(t *testing.T) {
			check(t, o.AwaitObject(ctx, ordinary, "job/by-hand", "condition=Complete"))
		}},
		{"init container and volumes", func(t *testing.T) {
			check(t, o.AwaitPodReady(ctx, ordinary, "client"))
			// Ready is who was started; it may not have said anything yet.
			check(t, await(ctx, "the pod to speak", func(ctx context.Context) error {
				output, err := o.KubectlOutput(ctx, "--namespace", ordinary, "logs", "client")
				if err == nil && output != "it is configured\n" {
					err = fmt.Errorf("it says %q", output)
				}
				return err
			}))
		}},
		{"exec", func(t *testing.T) { expect(t, kubectl(t, "exec", "deployment/web", "--", "cat", "/marker"), firstMark) }},
		{"service", func(t *testing.T) {
			address := kubectl(t, "get", "service", "web", "--output=jsonpath={.spec.clusterIP}")
			expect(t, kubectl(t, "exec", "client", "--", "busybox", "wget", "-q", "-O", "-", "http://"+address+"/marker"), firstMark)
		}},
		{"update by tag", func(t *testing.T) {
			kubectl(t, "set", "image", "deployment/web", "web="+second)
			rollout(t, "deployment/web")
			expect(t, kubectl(t, "exec", "deployment/web", "--", "cat", "/marker"), secondMark)
		}},
		{"port-forward", func(t *testing.T) { o.portForward(t, secondMark) }},
		{"undo", func(t *testing.T) {
			kubectl(t, "rollout", "undo", "deployment/web")
			rollout(t, "deployment/web")
			expect(t, kubectl(t, "exec", "deployment/web", "--", "cat", "/marker"), firstMark)
			expect(t, kubectl(t, "get", "pods", "--selector=app=web", "--output=jsonpath={.items[*].status.containerStatuses[0].restartCount}"), "0 0")
		}},
		{"ephemeral container", func(t *testing.T) {
			kubectl(t, "debug", "client", "--image="+second, "--container=debugger", "--profile=general", "--", "sleep", "100000")
			check(t, await(ctx, "the ephemeral container to run", func(ctx context.Context) error {
				state, err := o.KubectlOutput(ctx, "--namespace", ordinary, "get", "pod", "client", "--output=jsonpath={.status.ephemeralContainerStatuses[0].state}")
				if err == nil && !strings.Contains(state, "running") {
					err = fmt.Errorf("it is %s", state)
				}
				return err
			}))
		}},
		{"eviction", func(t *testing.T) {
			_, stderr, code, err := o.KubectlInput(ctx, `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"client","namespace":"ordinary"}}`,
				"create", "--raw", "/api/v1/namespaces/ordinary/pods/client/eviction", "--filename", "-")
			if err != nil || code != 0 {
				t.Fatal(err, stderr)
			}
			check(t, o.AwaitObject(ctx, ordinary, "pod/client", "delete"))
		}},
		{"delete", func(t *testing.T) {
			kubectl(t, "delete", "deployment/web", "daemonset/everywhere", "job/once", "--timeout=2m")
		}},
	} {
		t.Run(tc.name, tc.do)
	}
	lines := o.audit(t, ordinary, "")
	for _, line := range lines {
		if line.Verdict.Reason != verifier.NoPolicy {
			t.Errorf("decided on %s: %s, %s", line.Pod, line.Verdict.Reason, line.Verdict.Detail)
		}
	}
	if len(lines) < 12 {
		t.Errorf("the node was asked %d times: was all of this a test?", len(lines))
	}
	if output := kubectl(t, "get", "events", "--output=custom-columns=:reason,:message"); strings.Contains(strings.ToLower(output), "kritis") {
		t.Errorf("there is talk of us: %s", output)
	}
}

func (o *operation) portForward(t *testing.T, want string) {
	const address = "127.0.0.1:18080"
	var got string
	p, err := cluster.StartProcess(t.Context(), cluster.Command{
		Path: o.KubectlPath(), Args: []string{"--namespace", ordinary, "port-forward", "service/web", "18080:80"}, Env: o.KubectlEnv(),
		Log: filepath.Join(t.TempDir(), "port-forward.log"),
	}, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/marker", http.NoBody)
		if err != nil {
			return err
		}
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		got = string(body)
		return err
	})
	check(t, err)
	check(t, p.Kill())
	if !strings.HasPrefix(got, want) {
		t.Errorf("through the forwarded port came %q, want %q", got, want)
	}
}
