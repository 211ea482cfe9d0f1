package impact

import (
	"strings"

	kjson "sigs.k8s.io/json"

	"github.com/kritis-node/kritis-node/verifier"
)

// mirror is the annotation of a static pod's copy at the API server.
const mirror = "kubernetes.io/config.mirror"

// pod is what matters of a pod.
type pod struct {
	Metadata struct {
		Namespace   string            `json:"namespace"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		NodeName         string      `json:"nodeName"`
		RuntimeClassName string      `json:"runtimeClassName"`
		Init             []container `json:"initContainers"`
		Containers       []container `json:"containers"`
		Ephemeral        []container `json:"ephemeralContainers"`
		Volumes          []struct {
			Image struct {
				Reference string `json:"reference"`
			} `json:"image"`
		} `json:"volumes"`
	} `json:"spec"`
	Status struct {
		Phase      string            `json:"phase"`
		Init       []containerStatus `json:"initContainerStatuses"`
		Containers []containerStatus `json:"containerStatuses"`
		Ephemeral  []containerStatus `json:"ephemeralContainerStatuses"`
	} `json:"status"`
}

type container struct {
	Name  string `json:"name"`
	Image string `json:"image"`
}

type containerStatus struct {
	Name    string `json:"name"`
	ImageID string `json:"imageID"`
}

func unmarshal(data []byte, into any) error {
	return kjson.UnmarshalCaseSensitivePreserveInts(data, into)
}

func decodePod(raw []byte) (pod, error) {
	var p pod
	err := unmarshal(raw, &p)
	return p, err
}

// ended says whether nothing of the pod runs any more.
func (p pod) ended() bool { return p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed" }

// countInto adds the pod's images, each once.
func (p pod) countInto(all map[key]*tally) {
	own := map[key]bool{}
	add := func(image, imageID string) {
		if image == "" {
			return
		}
		digest, of := runningDigest(imageID)
		own[key{p.Metadata.Namespace, image, of, p.Spec.RuntimeClassName, digest}] = true
	}
	for _, l := range []struct {
		containers []container
		statuses   []containerStatus
	}{{p.Spec.Init, p.Status.Init}, {p.Spec.Containers, p.Status.Containers}, {p.Spec.Ephemeral, p.Status.Ephemeral}} {
		ids := map[string]string{}
		for _, s := range l.statuses {
			ids[s.Name] = s.ImageID
		}
		for _, c := range l.containers {
			add(c.Image, ids[c.Name])
		}
	}
	for _, v := range p.Spec.Volumes {
		add(v.Image.Reference, "") // nodes do not say what they mounted
	}
	_, static := p.Metadata.Annotations[mirror]
	for k := range own {
		t := all[k]
		if t == nil {
			t = &tally{nodes: map[string]bool{}}
			all[k] = t
		}
		t.pods++
		if static {
			t.staticPods++
		}
		if p.Spec.NodeName != "" {
			t.nodes[p.Spec.NodeName] = true
		}
	}
}

// runningDigest reads what a node says that it runs: "repository@digest". Of an image that came without a registry, by import
// say, it is the ID of its configuration, which is no digest that anybody signs.
func runningDigest(imageID string) (verifier.Digest, string) {
	if _, rest, ok := strings.Cut(imageID, "://"); ok { // "docker-pullable://"
		imageID = rest
	}
	ref, err := verifier.ParseReference(imageID)
	if err != nil || ref.Digest == "" {
		return "", ""
	}
	return ref.Digest, ref.Repository
}
