package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"

	kjson "sigs.k8s.io/json"

	"github.com/kritis-node/kritis-node/policyagent"
)

const (
	// maxPods is several times what a kubelet takes. maxPodBytes bounds their JSON.
	maxPods     = 2000
	maxPodBytes = 64 << 20
	// maxImages bounds the images of one pod. Beyond, they are fetched when their containers are created.
	maxImages = 256
	// maxPullSecrets bounds the image pull secrets of one pod.
	maxPullSecrets = 16
	// maxNodeName is that of Kubernetes' names.
	maxNodeName = 253
)

// Pods are the pods that are bound to a node, as a source for the policy agent.
type Pods struct {
	server  *Server
	node    string
	watcher *watcher
	pods    *store
}

// NewPods returns the pods of a node.
func NewPods(s *Server, node string) (*Pods, error) {
	if node == "" || len(node) > maxNodeName || strings.ContainsAny(node, ",=!\\ ") {
		return nil, fmt.Errorf("%.60q is not the name of a node: give that of the Node object, with --node-name or NODE_NAME", node)
	}
	p := &Pods{server: s, node: node, watcher: newWatcher()}
	p.pods = p.watcher.add(&resource{
		client: s.client, name: "pods", version: "v1", kind: "Pod", fieldSelector: "spec.nodeName=" + node,
		limits: limits{maxPods, maxPodBytes}, decode: decodePod,
	})
	return p, nil
}

// Name returns "pods of node" and the node's name.
func (p *Pods) Name() string { return "pods of node " + p.node }

// Watch calls onChange with all pods once they are known and whenever their images have changed, or with why they are
// not known. It returns nil when the context ends. It may be called once.
func (p *Pods) Watch(ctx context.Context, onChange func([]policyagent.Pod, error)) error {
	p.watcher.run(ctx,
		func() {
			values := p.pods.values()
			pods := make([]policyagent.Pod, len(values))
			for i, v := range values {
				pods[i] = v.(policyagent.Pod)
			}
			onChange(pods, nil)
		},
		func(err error) { onChange(nil, err) })
	p.server.Close()
	return nil
}

// decodePod returns the images of a pod. One that cannot be read has none: its images are fetched when they are needed.
func decodePod(id identity, raw []byte) any {
	pod := policyagent.Pod{Namespace: id.Namespace}
	type container struct {
		Image string `json:"image"`
	}
	var body struct {
		Spec struct {
			ImagePullSecrets []struct {
				Name string `json:"name"`
			} `json:"imagePullSecrets"`
			InitContainers      []container `json:"initContainers"`
			Containers          []container `json:"containers"`
			EphemeralContainers []container `json:"ephemeralContainers"`
			Volumes             []struct {
				Image struct {
					Reference string `json:"reference"`
				} `json:"image"`
			} `json:"volumes"`
		} `json:"spec"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &body); err != nil {
		return pod
	}
	add := func(image string) {
		if image != "" && len(pod.Images) < maxImages && !slices.Contains(pod.Images, image) {
			pod.Images = append(pod.Images, strings.Clone(image))
		}
	}
	for _, list := range [][]container{body.Spec.InitContainers, body.Spec.Containers, body.Spec.EphemeralContainers} {
		for _, c := range list {
			add(c.Image)
		}
	}
	for _, v := range body.Spec.Volumes {
		add(v.Image.Reference)
	}
	for _, secret := range body.Spec.ImagePullSecrets {
		if secret.Name != "" && len(pod.PullSecrets) < maxPullSecrets && !slices.Contains(pod.PullSecrets, secret.Name) {
			pod.PullSecrets = append(pod.PullSecrets, strings.Clone(secret.Name))
		}
	}
	return pod
}
