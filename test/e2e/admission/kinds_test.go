package admission

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
)

const (
	podsHook      = "kritis-validation-hook.grafeas.io"
	workloadsHook = "kritis-validation-hook-deployments.grafeas.io"
)

// podSpec is that of every kind; %s is the image.
const podSpec = `{terminationGracePeriodSeconds: 1, containers: [{name: main, image: "%s", command: [sleep, "1000"]}]`

// kinds are all that bring images, as manifests in which IMAGE is the image.
func kinds() map[string]string {
	template := func(restart string) string {
		return `{metadata: {labels: {app: kinds}}, spec: ` + fmt.Sprintf(podSpec, "IMAGE") + restart + `}}`
	}
	const selector = `selector: {matchLabels: {app: kinds}}, `
	object := func(apiVersion, kind, spec string) string {
		return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: kinds, namespace: default}\nspec: %s\n", apiVersion, kind, spec)
	}
	return map[string]string{
		"Pod":                   object("v1", "Pod", fmt.Sprintf(podSpec, "IMAGE")+"}"),
		"Deployment":            object("apps/v1", "Deployment", "{"+selector+"template: "+template("")+"}"),
		"DaemonSet":             object("apps/v1", "DaemonSet", "{"+selector+"template: "+template("")+"}"),
		"ReplicaSet":            object("apps/v1", "ReplicaSet", "{"+selector+"template: "+template("")+"}"),
		"StatefulSet":           object("apps/v1", "StatefulSet", "{"+selector+"serviceName: none, template: "+template("")+"}"),
		"ReplicationController": object("v1", "ReplicationController", "{selector: {app: kinds}, template: "+template("")+"}"),
		"Job":                   object("batch/v1", "Job", "{template: "+template(", restartPolicy: Never")+"}"),
		"CronJob":               object("batch/v1", "CronJob", `{schedule: "0 0 1 1 *", jobTemplate: {spec: {template: `+template(", restartPolicy: Never")+"}}}"),
	}
}

func (s *suite) testKinds(t *testing.T) {
	for kind, manifest := range kinds() {
		t.Run(kind, func(t *testing.T) {
			ctx := t.Context()
			hook := workloadsHook
			if kind == "Pod" {
				hook = podsHook
			}
			defer s.remove(t, strings.ToLower(kind)+"/kinds")
			for name, image := range map[string]string{"unsigned": s.unsigned, "by tag": s.tag} {
				_, stderr, code, err := s.KubectlInput(ctx, strings.ReplaceAll(manifest, "IMAGE", image), "create", "--filename", "-")
				check(t, err)
				t.Run("create "+name, func(t *testing.T) { s.denies(t, hook, image, lastLine(stderr), code) })
			}
			check(t, s.Apply(ctx, strings.ReplaceAll(manifest, "IMAGE", s.signed)))
			patch, _ := s.patchOf(kind, s.unsigned)
			_, stderr, code, err := s.Kubectl(ctx, "patch", strings.ToLower(kind), "kinds", "--type=strategic", "--patch", patch)
			check(t, err)
			if kind == "Job" {
				// The API server itself refuses it, and says so before anybody is asked.
				if code == 0 || !strings.Contains(stderr, "field is immutable") {
					t.Errorf("update: exit code %d, %s", code, stderr)
				}
			} else {
				t.Run("update to unsigned", func(t *testing.T) { s.denies(t, hook, s.unsigned, lastLine(stderr), code) })
			}
			// What does not touch images is nobody's business.
			_, err = s.KubectlOutput(ctx, "label", strings.ToLower(kind), "kinds", "tried=yes")
			check(t, err)
		})
	}
}

// patchOf returns a patch that changes the image.
func (s *suite) patchOf(kind, image string) (string, error) {
	pod := fmt.Sprintf(`{"spec":{"containers":[{"name":"main","image":%q}]}}`, image)
	switch kind {
	case "Pod":
		return pod, nil
	case "CronJob":
		return `{"spec":{"jobTemplate":{"spec":{"template":` + pod + `}}}}`, nil
	default:
		return `{"spec":{"template":` + pod + `}}`, nil
	}
}

// lastLine is the one that is not a warning.
func lastLine(stderr string) string {
	var last string
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "Warning: ") && strings.TrimSpace(line) != "" {
			last = line
		}
	}
	return last
}

func (s *suite) testDebug(t *testing.T) {
	ctx := t.Context()
	_, err := s.KubectlOutput(ctx, "run", "debugged", "--image="+s.signed, "--", "sleep", "1000")
	check(t, err)
	defer s.remove(t, "pod/debugged", "pod/copied")
	check(t, s.AwaitPodReady(ctx, "default", "debugged"))
	_, stderr, code, err := s.Kubectl(ctx, "debug", "debugged", "--image="+s.unsigned, "--container=unsigned", "--profile=general", "--", "sleep", "1000")
	check(t, err)
	s.denies(t, podsHook, s.unsigned, lastLine(stderr), code)
	_, stderr, code, err = s.Kubectl(ctx, "debug", "debugged", "--image="+s.unsigned, "--copy-to=copied", "--container=unsigned", "--profile=general", "--", "sleep", "1000")
	check(t, err)
	s.denies(t, podsHook, s.unsigned, lastLine(stderr), code)
	_, err = s.KubectlOutput(ctx, "debug", "debugged", "--image="+s.signed, "--container=signed", "--profile=general", "--", "sleep", "1000")
	check(t, err)
	_, err = s.KubectlOutput(ctx, "wait", "pod/debugged", "--for=jsonpath={.status.ephemeralContainerStatuses[0].state.running}", "--timeout=60s")
	check(t, err)
}

// volumePod mounts one image into a container of another.
func volumePod(name, image, volume string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: default}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: %q, command: [sleep, "1000"], volumeMounts: [{name: data, mountPath: /data}]}]
  volumes: [{name: data, image: {reference: %q}}]
`, name, image, volume)
}

func (s *suite) testImageVolumesAtAdmission(t *testing.T) {
	ctx := t.Context()
	_, stderr, code, err := s.KubectlInput(ctx, volumePod("volume-unsigned", s.signed, s.unsigned), "create", "--filename", "-")
	check(t, err)
	s.denies(t, podsHook, s.unsigned, lastLine(stderr), code)
	check(t, s.Apply(ctx, volumePod("volume-signed", s.signed, s.signed)))
	defer s.remove(t, "pod/volume-signed")
	check(t, s.AwaitPodReady(ctx, "default", "volume-signed"))
	content, err := s.KubectlOutput(ctx, "exec", "volume-signed", "--", "cat", "/data"+cluster.MarkerFile)
	if err != nil || !strings.Contains(content, "team/signed") {
		t.Errorf("the volume holds %q, %v", content, err)
	}
}

// testExcuses tries what has excused images elsewhere.
func (s *suite) testExcuses(t *testing.T) {
	ctx := t.Context()
	_, err := s.KubectlOutput(ctx, "label", "namespace", "default", "kritis-validation=disabled")
	check(t, err)
	defer s.KubectlOutput(ctx, "label", "namespace", "default", "kritis-validation-") //nolint:errcheck // the cluster goes
	for name, metadata := range map[string]string{
		"breakglass annotation": `annotations: {kritis.grafeas.io/breakglass: "true"}`,
		"label":                 `labels: {kritis-validation: disabled}`,
		"mirror annotation":     `annotations: {kubernetes.io/config.mirror: "1"}`,
		"owner":                 `ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: none, uid: 00000000-0000-4000-8000-000000000000}]`,
	} {
		t.Run(name, func(t *testing.T) {
			bound := ""
			if strings.Contains(metadata, "config.mirror") {
				bound = ", nodeName: " + s.NodeName() // or it is refused before anybody is asked
			}
			manifest := "apiVersion: v1\nkind: Pod\nmetadata: {name: excused, namespace: default, " + metadata + "}\nspec: " + fmt.Sprintf(podSpec, s.unsigned) + bound + "}\n"
			_, stderr, code, err := s.KubectlInput(ctx, manifest, "create", "--filename", "-")
			check(t, err)
			s.denies(t, podsHook, s.unsigned, lastLine(stderr), code)
		})
	}
}
