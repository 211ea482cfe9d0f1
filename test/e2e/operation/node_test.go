package operation

import (
	"bytes"
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

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/kritis-node/kritis-node/plugin"
)

// explain asks the plugin, over its own socket, what it would decide now.
func (o *operation) explain(ctx context.Context, namespace, image string) (plugin.Explanation, error) {
	var e plugin.Explanation
	question, err := json.Marshal(plugin.Question{Namespace: namespace, Image: image})
	if err != nil {
		return e, err
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", o.Nodes()[0].Path(plugin.DefaultSocket))
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://plugin/v1/explain", bytes.NewReader(question))
	if err != nil {
		return e, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return e, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return e, fmt.Errorf("%s: %s: %w", resp.Status, body, err)
	}
	return e, json.Unmarshal(body, &e)
}

// awaitDecision waits until the plugin would decide so.
func (o *operation) awaitDecision(t *testing.T, namespace, image string, want func(plugin.Explanation) bool) plugin.Explanation {
	t.Helper()
	var e plugin.Explanation
	check(t, await(t.Context(), "the node to decide otherwise on "+image+" in "+namespace, func(ctx context.Context) (err error) {
		if e, err = o.explain(ctx, namespace, image); err == nil && !want(e) {
			err = fmt.Errorf("it says %s: %s", e.Verdict.Reason, e.Message)
		}
		return err
	}))
	return e
}

func admits(e plugin.Explanation) bool { return e.Admitted }
func denies(e plugin.Explanation) bool { return !e.Admitted }

// audit returns the lines of the node's audit log that are about a pod; with an empty name, about a namespace.
func (o *operation) audit(t *testing.T, namespace, pod string) []plugin.AuditLine {
	t.Helper()
	data, err := os.ReadFile(o.Nodes()[0].Path("/var/log/kritis/decisions.jsonl"))
	check(t, err)
	var lines []plugin.AuditLine
	for text := range bytes.Lines(data) {
		var line plugin.AuditLine
		if !bytes.HasSuffix(text, []byte("\n")) {
			break // it is being written
		}
		check(t, json.Unmarshal(text, &line))
		if line.Namespace == namespace && (pod == "" || line.Pod == pod) {
			lines = append(lines, line)
		}
	}
	return lines
}

// static gives the node a static pod until the test ends, and returns the name that kubelet gives it.
func (o *operation) static(t *testing.T, namespace, name, image string) string {
	t.Helper()
	pod := fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: %s}\nspec:\n  terminationGracePeriodSeconds: 1\n"+
		"  containers:\n  - {name: main, image: %q, args: [sleep, \"100000\"]}\n", name, namespace, image)
	file := filepath.Join(o.StaticPodDir(), name+".yaml")
	// Kubelet does not look at names that begin with a dot: it shall not see half a file.
	half := filepath.Join(o.StaticPodDir(), "."+name)
	check(t, os.WriteFile(half, []byte(pod), 0o644))
	check(t, os.Rename(half, file))
	t.Cleanup(func() { check(t, os.Remove(file)) })
	return name + "-" + o.NodeName()
}

// containers are those of a pod as the runtime has them, which needs no API server.
func (o *operation) containers(ctx context.Context, namespace, pod string) ([]*runtime.Container, error) {
	response, err := o.Node().CRI().Runtime.ListContainers(ctx, &runtime.ListContainersRequest{Filter: &runtime.ContainerFilter{
		LabelSelector: map[string]string{"io.kubernetes.pod.namespace": namespace, "io.kubernetes.pod.name": pod},
	}})
	return response.GetContainers(), err
}

// runs waits until the only container of a pod runs, and returns its ID.
func (o *operation) runs(t *testing.T, namespace, pod string) string {
	t.Helper()
	var id string
	check(t, await(t.Context(), "pod "+pod+" to run on the node", func(ctx context.Context) error {
		containers, err := o.containers(ctx, namespace, pod)
		if err == nil && (len(containers) != 1 || containers[0].GetState() != runtime.ContainerState_CONTAINER_RUNNING) {
			err = fmt.Errorf("its containers are %v", containers)
		}
		if err == nil {
			id = containers[0].GetId()
		}
		return err
	}))
	return id
}

// stays expects that a pod's container is still the one that it was.
func (o *operation) stays(t *testing.T, namespace, pod, id string) {
	t.Helper()
	containers, err := o.containers(t.Context(), namespace, pod)
	check(t, err)
	if len(containers) != 1 || containers[0].GetId() != id || containers[0].GetState() != runtime.ContainerState_CONTAINER_RUNNING {
		t.Errorf("pod %s ran as container %s, and now its containers are %v", pod, id, containers)
	}
}

// deniedOnNode waits until the node has denied a pod, and expects that no container of it exists.
func (o *operation) deniedOnNode(t *testing.T, namespace, pod string) plugin.AuditLine {
	t.Helper()
	var line plugin.AuditLine
	check(t, await(t.Context(), "pod "+pod+" to be denied on the node", func(context.Context) error {
		lines := o.audit(t, namespace, pod)
		denied := slices.IndexFunc(lines, func(l plugin.AuditLine) bool { return !l.Admitted })
		if denied < 0 {
			return fmt.Errorf("its %d decisions are others", len(lines))
		}
		line = lines[denied]
		return nil
	}))
	containers, err := o.containers(t.Context(), namespace, pod)
	check(t, err)
	if len(containers) > 0 {
		t.Errorf("pod %s has containers: %v", pod, containers)
	}
	return line
}

// process returns the ID of the only process of the product that runs with this subcommand.
func process(subcommand string) (int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	found := 0
	for _, file := range files {
		command, err := os.ReadFile(file)
		if err != nil || !strings.HasPrefix(string(command), "/usr/bin/kritis\x00"+subcommand+"\x00") {
			continue // it ended, or is another
		}
		if found != 0 {
			return 0, errors.New("there are several of kritis " + subcommand)
		}
		if found, err = strconv.Atoi(filepath.Base(filepath.Dir(file))); err != nil {
			return 0, err
		}
	}
	if found == 0 {
		return 0, errors.New("there is no kritis " + subcommand)
	}
	return found, nil
}
