package impact

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"

	"github.com/kritis-node/kritis-node/policyagent/kube"
	"github.com/kritis-node/kritis-node/policyagent/workstation"
	"github.com/kritis-node/kritis-node/verifier"
)

// maxRunning is how many images, told apart by namespace, name and digest, one report has.
const maxRunning = 50_000

// Running is an image that runs in a namespace, in however many pods.
type Running struct {
	Namespace string
	// Image is the reference as the pods write it.
	Image string
	// Digest is what nodes say they run under that name, of an index or a manifest. Empty: none says. DigestOf is the
	// repository under which nodes know the digest: with an image that has several names it may be another one.
	Digest   verifier.Digest
	DigestOf string
	// Handler is the pods' runtime handler; empty is the runtime's default.
	Handler string
	// Nodes are where the pods are bound to, in order; Platforms those nodes', such as "linux/amd64".
	Nodes, Platforms []string
	// Pods counts the pods, StaticPods those of them that a node has from a file.
	Pods, StaticPods int
}

// Scope says which pods are looked at.
type Scope struct {
	// Namespace is empty for all.
	Namespace string
	// Selector is a label selector; empty for all pods.
	Selector string
	// Ended takes in pods that have succeeded or failed and are still there.
	Ended bool
	// Platform is that of nodes that cannot be read; empty: this machine's.
	Platform string
}

// Inventory is what runs.
type Inventory struct {
	Running []Running
	// Pods counts those that were looked at, Ended those that were left out because they have ended.
	Pods, Ended int
	// Untold is what could not be read, a line each.
	Untold []string
}

// key tells images apart.
type key struct {
	namespace, image, digestOf, handler string
	digest                              verifier.Digest
}

type tally struct {
	nodes            map[string]bool
	pods, staticPods int
}

// ReadRunning reads the pods of a cluster. It calls progress now and then with how many it has read.
func ReadRunning(ctx context.Context, s *kube.Server, scope Scope, progress func(pods int)) (Inventory, error) {
	var inv Inventory
	all := map[key]*tally{}
	classes := map[string]bool{}
	pods := kube.Objects{Version: "v1", Resource: "pods", Namespace: scope.Namespace}
	err := s.ReadList(ctx, pods, kube.Selection{Labels: scope.Selector}, func(raw json.RawMessage) error {
		p, err := decodePod(raw)
		if err != nil {
			return err
		}
		if p.ended() && !scope.Ended {
			inv.Ended++
			return nil
		}
		inv.Pods++
		p.countInto(all)
		if p.Spec.RuntimeClassName != "" {
			classes[p.Spec.RuntimeClassName] = true
		}
		if len(all) > maxRunning {
			return fmt.Errorf("they run more than %d images: report on one namespace at a time, with -n", maxRunning)
		}
		progress(inv.Pods + inv.Ended)
		return nil
	})
	if err != nil {
		return Inventory{}, err
	}
	platforms, err := workstation.PlatformsByNode(ctx, s)
	usual := []string{cmp.Or(scope.Platform, "linux/"+runtime.GOARCH)}
	if err != nil {
		inv.Untold = append(inv.Untold, fmt.Sprintf("the platforms of nodes, %s is taken for all: %v", usual[0], err))
	}
	handlers := map[string]string{}
	if len(classes) > 0 {
		if handlers, err = readHandlers(ctx, s); err != nil {
			inv.Untold = append(inv.Untold, fmt.Sprintf("the handlers of runtime classes, each class is taken for one: %v", err))
		}
	}
	inv.Running = flatten(all, platforms, usual, handlers)
	return inv, nil
}

// readHandlers returns the handlers of the cluster's runtime classes by name.
func readHandlers(ctx context.Context, s *kube.Server) (map[string]string, error) {
	handlers := map[string]string{}
	classes := kube.Objects{Group: "node.k8s.io", Version: "v1", Resource: "runtimeclasses"}
	err := s.ReadList(ctx, classes, kube.Selection{}, func(raw json.RawMessage) error {
		var c struct {
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
			Handler string `json:"handler"`
		}
		if err := unmarshal(raw, &c); err != nil {
			return err
		}
		handlers[c.Metadata.Name] = c.Handler
		return nil
	})
	return handlers, err
}

// flatten returns the images in the order of namespace and name.
func flatten(all map[key]*tally, platforms map[string]string, usual []string, handlers map[string]string) []Running {
	var list []Running
	for k, t := range all {
		r := Running{Namespace: k.namespace, Image: k.image, Digest: k.digest, DigestOf: k.digestOf, Handler: cmp.Or(handlers[k.handler], k.handler),
			Nodes: slices.Sorted(maps.Keys(t.nodes)), Pods: t.pods, StaticPods: t.staticPods}
		for _, node := range r.Nodes {
			if p := platforms[node]; p != "" && !slices.Contains(r.Platforms, p) {
				r.Platforms = append(r.Platforms, p)
			}
		}
		slices.Sort(r.Platforms)
		if r.Platforms == nil {
			r.Platforms = usual
		}
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b Running) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Image, b.Image), cmp.Compare(a.Digest, b.Digest),
			cmp.Compare(a.DigestOf, b.DigestOf), cmp.Compare(a.Handler, b.Handler))
	})
	return list
}
