package kube

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kritis-node/kritis-node/policyagent"
)

func TestPods(t *testing.T) {
	a := newAPI(t)
	a.put(podsPath, "web", "one", `"spec":{"containers":[{"image":"c:1"},{"image":"c:1"},{"image":"d:1"}],"initContainers":[{"image":"i:1"}],`+
		`"ephemeralContainers":[{"image":"e:1"}],"volumes":[{"name":"v","image":{"reference":"v:1"}},{"name":"w","emptyDir":{}}]}`)
	p, err := NewPods(a.server(), "node-1")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	told, done := make(chan []policyagent.Pod, 100), make(chan error)
	go func() {
		done <- p.Watch(ctx, func(pods []policyagent.Pod, err error) {
			if err != nil {
				t.Error(err)
			}
			told <- pods
		})
	}()
	defer func() {
		cancel()
		<-done
	}()
	next := func() []policyagent.Pod {
		t.Helper()
		select {
		case pods := <-told:
			return pods
		case <-time.After(within):
			t.Fatal("nothing is told")
			return nil
		}
	}
	one := policyagent.Pod{Namespace: "web", Images: []string{"i:1", "c:1", "d:1", "e:1", "v:1"}}
	if got := next(); !cmp.Equal(got, []policyagent.Pod{one}) {
		t.Errorf("%+v", got)
	}
	// A status is no news, an ephemeral container is. A pod that cannot be read has no images.
	a.put(podsPath, "web", "one", `"spec":{"containers":[{"image":"c:1"},{"image":"d:1"}],"initContainers":[{"image":"i:1"}],`+
		`"ephemeralContainers":[{"image":"e:1"}],"volumes":[{"image":{"reference":"v:1"}}]},"status":{"phase":"Running"}`)
	select {
	case pods := <-told:
		t.Errorf("a status is told: %+v", pods)
	case <-time.After(3 * gather):
	}
	a.put(podsPath, "web", "two", `"spec":{"containers":"none"}`)
	if got := next(); !cmp.Equal(got, []policyagent.Pod{one, {Namespace: "web"}}) {
		t.Errorf("%+v", got)
	}
	a.remove(podsPath, "web", "one")
	if got := next(); !cmp.Equal(got, []policyagent.Pod{{Namespace: "web"}}) {
		t.Errorf("%+v", got)
	}
}

func TestPodsAreAskedForByNode(t *testing.T) {
	p, err := NewPods(newAPI(t).server(), "node-1")
	if err != nil || p.watcher.resources[0].fieldSelector != "spec.nodeName=node-1" {
		t.Errorf("%+v, %v", p, err)
	}
	for name, node := range map[string]string{"none": "", "two": "a,b", "another field": "a,metadata.name=b", "long": strings.Repeat("x", maxNodeName+1), "space": "a b"} {
		if _, err := NewPods(newAPI(t).server(), node); err == nil || !strings.Contains(err.Error(), "--node-name") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestManyImages(t *testing.T) {
	var containers []string
	for i := range maxImages + 1 {
		containers = append(containers, fmt.Sprintf(`{"image":"c:%d"}`, i))
	}
	pod := decodePod(identity{}, []byte(`{"spec":{"containers":[`+strings.Join(containers, ",")+`]}}`)).(policyagent.Pod)
	if len(pod.Images) != maxImages {
		t.Errorf("%d images", len(pod.Images))
	}
}
