package operation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"github.com/kritis-node/kritis-node/test/site"
)

// before is what ran before the chart was installed.
type before struct {
	operation  *operation
	containers []string
}

const beforeNamespace = "before"

// startBefore runs what people run: a deployment, a daemon set, a stateful set and a bare pod, of an image that nobody signed.
func (o *operation) startBefore(t *testing.T) *before {
	t.Helper()
	const (
		workload = "---\napiVersion: apps/v1\nkind: %s\nmetadata: {name: %s, namespace: before}\nspec:\n%s  selector: {matchLabels: {app: %[2]s}}\n" +
			"  template:\n    metadata: {labels: {app: %[2]s}}\n    spec:\n      containers:\n      - {name: main, image: %[4]q, args: [sleep, \"100000\"]}\n"
		bare = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: bare, namespace: before}\nspec:\n  containers:\n  - {name: main, image: %q, args: [sleep, \"100000\"]}\n"
	)
	kinds := [][2]string{{"Deployment", "  replicas: 2\n"}, {"DaemonSet", ""}, {"StatefulSet", "  serviceName: none\n"}}
	manifest := fmt.Sprintf(bare, o.unsigned)
	for _, kind := range kinds {
		manifest += fmt.Sprintf(workload, kind[0], strings.ToLower(kind[0]), kind[1], o.unsigned)
	}
	o.kubectl(t, "create", "namespace", beforeNamespace)
	check(t, o.Apply(t.Context(), manifest))
	for _, kind := range kinds {
		o.kubectl(t, "--namespace", beforeNamespace, "rollout", "status", kind[0]+"/"+strings.ToLower(kind[0]), "--timeout=2m")
	}
	check(t, o.AwaitPodReady(t.Context(), beforeNamespace, "bare"))
	b := &before{operation: o}
	b.containers = b.running(t)
	if len(b.containers) != 5 {
		t.Fatalf("there are %d containers: %v", len(b.containers), b.containers)
	}
	return b
}

// running lists the containers with their restarts: another list is another life.
func (b *before) running(t *testing.T) []string {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(b.operation.kubectl(t, "--namespace", beforeNamespace, "get", "pods", "--output",
		`jsonpath={range .items[*]}{range .status.containerStatuses[*]}{.containerID} {.restartCount} {.state.running.startedAt}{"\n"}{end}{end}`)), "\n")
	slices.Sort(lines)
	return lines
}

func (b *before) same(t *testing.T) {
	if now := b.running(t); !slices.Equal(now, b.containers) {
		t.Errorf("there run\n%s\nwhere there ran\n%s", strings.Join(now, "\n"), strings.Join(b.containers, "\n"))
	}
}

// uninstalled: the node starts what it likes, and nothing of ours is left but what the documentation names.
func (o *operation) uninstalled(t *testing.T, before *before) {
	const namespace = "orphaned"
	ctx := t.Context()
	o.governed(t, namespace)
	waiting := o.static(t, namespace, "waiting", o.unsigned)
	check(t, o.AwaitDenied(ctx, namespace, waiting, o.unsigned))

	check(t, o.Uninstall(ctx))
	// The policy is still there, and nobody enforces it.
	o.kubectl(t, "--namespace", namespace, "get", "genericattestationpolicy", "team-signs")
	check(t, o.AwaitPodReady(ctx, namespace, waiting))
	for _, n := range []string{namespace, "default"} {
		o.run(t, n, "after", o.unsigned)
		check(t, o.AwaitPodReady(ctx, n, "after"))
	}
	before.same(t)

	o.kubectl(t, "--namespace", site.Namespace, "wait", "pod", "--all", "--for=delete", "--timeout=2m")
	// Nodes' reports and the controller's election are Leases that no manifest lists: they go with the namespace.
	o.nothingLeft(t, func(name string) bool {
		return name == "Namespace "+site.Namespace || strings.HasPrefix(name, "Lease "+site.Namespace+"/kritis-")
	})
	o.kubectl(t, "delete", "namespace", site.Namespace, "--timeout=2m")
	o.nothingLeft(t, func(string) bool { return false })
	// Nobody looks after the condition any more: it must not promise what nobody keeps.
	status := o.kubectl(t, "get", "node", o.NodeName(), "--output", `jsonpath={.status.conditions[?(@.type=="KritisEnforcing")].status}`)
	if status == "True" {
		t.Error("the node says for ever that it enforces")
	}
}

// nothingLeft waits until no object of any kind is called kritis or labelled so, but for those that may stay, what happened,
// and CRDs: Helm never deletes what is in a chart's crds, because the objects of users would go with it.
func (o *operation) nothingLeft(t *testing.T, mayStay func(name string) bool) {
	t.Helper()
	// The API server makes it of the CRDs.
	const ofCRDs = "APIService v1beta1.kritis.grafeas.io"
	kinds := o.kinds(t)
	check(t, await(t.Context(), "all to go", func(context.Context) error {
		var left []string
		for _, kind := range kinds {
			// Not to the end of this try, so that what was left at last is told.
			objects, err := o.api.Resource(kind).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				return fmt.Errorf("listing %s: %w", kind.Resource, err)
			}
			for _, object := range objects.Items {
				name := object.GetKind() + " " + strings.TrimPrefix(object.GetNamespace()+"/"+object.GetName(), "/")
				known := fmt.Sprint(object.GetName(), object.GetLabels())
				if strings.Contains(known, "kritis") && name != ofCRDs && !mayStay(name) {
					left = append(left, name)
				}
			}
		}
		if len(left) > 0 {
			return fmt.Errorf("left behind: %s", strings.Join(left, ", "))
		}
		return nil
	}))
}

// kinds are those that the cluster can list, without what happened and without CRDs and their objects.
func (o *operation) kinds(t *testing.T) (kinds []schema.GroupVersionResource) {
	t.Helper()
	client, err := discovery.NewDiscoveryClientForConfig(o.config)
	check(t, err)
	lists, err := client.ServerPreferredResources()
	check(t, err)
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		check(t, err)
		for _, r := range list.APIResources {
			// Statuses of components are no objects, and take long.
			ours := version.Group == "kritis.grafeas.io" || r.Name == "customresourcedefinitions" || r.Name == "events" || r.Name == "componentstatuses"
			if slices.Contains(r.Verbs, "list") && !ours {
				kinds = append(kinds, version.WithResource(r.Name))
			}
		}
	}
	if len(kinds) < 30 {
		t.Fatalf("only %d kinds: %v", len(kinds), kinds)
	}
	return kinds
}
