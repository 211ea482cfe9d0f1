package workstation

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	kjson "sigs.k8s.io/json"

	"github.com/kritis-node/kritis-node/policyagent/kube"
)

// Limits of what is shown of one object.
const (
	maxImages = 256
	maxPods   = 200 // that are read of a workload
	maxHeld   = 20  // that are shown
)

// Subject is an object, the images that it runs, and what the cluster says about it.
type Subject struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Node is where a pod is bound to; empty: to none yet.
	Node   string  `json:"node,omitempty"`
	Images []Image `json:"-"`
	// Held are containers of a workload's pods that wait because of an image.
	Held []Held `json:"held,omitempty"`
	// Said are events and conditions that tell of a denial, oldest first.
	Said []Saying `json:"said,omitempty"`
	// Untold is what could not be read, a line each.
	Untold []string `json:"untold,omitempty"`
}

// Image is one place of an object that names an image.
type Image struct {
	// Place is "container app", "init container a", "ephemeral container b" or "image volume c".
	Place string
	Image string
	// State is what the node says of the container; empty in a template.
	State string
}

// Held is a container that waits.
type Held struct {
	Pod   string `json:"pod"`
	Node  string `json:"node,omitempty"`
	Place string `json:"place"`
	State string `json:"state"`
}

// body is what matters of a pod, or of what makes pods.
type body struct {
	Metadata struct {
		Name        string            `json:"name"`
		UID         string            `json:"uid"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		podSpec
		Template    template `json:"template"`
		JobTemplate struct {
			Spec struct {
				Template template `json:"template"`
			} `json:"spec"`
		} `json:"jobTemplate"`
		Selector json.RawMessage `json:"selector"`
	} `json:"spec"`
	Status struct {
		Init       []containerStatus `json:"initContainerStatuses"`
		Containers []containerStatus `json:"containerStatuses"`
		Ephemeral  []containerStatus `json:"ephemeralContainerStatuses"`
		Conditions []condition       `json:"conditions"`
	} `json:"status"`
}

type template struct {
	Spec podSpec `json:"spec"`
}

type podSpec struct {
	NodeName   string      `json:"nodeName"`
	Init       []container `json:"initContainers"`
	Containers []container `json:"containers"`
	Ephemeral  []container `json:"ephemeralContainers"`
	Volumes    []struct {
		Name  string `json:"name"`
		Image struct {
			Reference string `json:"reference"`
		} `json:"image"`
	} `json:"volumes"`
}

type container struct {
	Name  string `json:"name"`
	Image string `json:"image"`
}

type condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Message string `json:"message"`
}

type containerStatus struct {
	Name  string `json:"name"`
	State struct {
		Waiting    *stateReason `json:"waiting"`
		Running    *struct{}    `json:"running"`
		Terminated *stateReason `json:"terminated"`
	} `json:"state"`
}

type stateReason struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// text is the state in one line.
func (c containerStatus) text() string {
	say := func(word string, r *stateReason) string {
		for _, s := range []string{r.Reason, r.Message} {
			if s != "" {
				word += ": " + s
			}
		}
		return word
	}
	switch {
	case c.State.Waiting != nil:
		return say("waiting", c.State.Waiting)
	case c.State.Running != nil:
		return "running"
	case c.State.Terminated != nil:
		return say("ended", c.State.Terminated)
	}
	return ""
}

func unmarshal(data []byte, into any) error {
	return kjson.UnmarshalCaseSensitivePreserveInts(data, into)
}

// ReadSubject reads an object and what is said about it.
func ReadSubject(ctx context.Context, s *kube.Server, namespace string, t Target) (Subject, error) {
	var b body
	t.objects.Namespace = namespace
	if err := s.ReadObject(ctx, t.objects, t.Name, &b); err != nil {
		return Subject{}, err
	}
	subject := Subject{Kind: t.Kind, Namespace: namespace, Name: t.Name}
	if t.Kind == "Pod" && t.objects.Group == "" {
		subject.Node = b.Spec.NodeName
		subject.Images = images(b.Spec.podSpec, b.states())
	} else {
		subject.Images = append(images(b.Spec.Template.Spec, nil), images(b.Spec.JobTemplate.Spec.Template.Spec, nil)...)
		if len(subject.Images) == 0 {
			return Subject{}, fmt.Errorf("%s %s/%s has no pod template with images: name a pod, or what makes pods", t.Kind, namespace, t.Name)
		}
		subject.readPods(ctx, s, b.selector())
	}
	if len(subject.Images) > maxImages {
		return Subject{}, fmt.Errorf("%s %s/%s names more than %d images", t.Kind, namespace, t.Name, maxImages)
	}
	for _, c := range b.Status.Conditions {
		if about(c.Message) {
			subject.Said = append(subject.Said, Saying{What: c.Type, Text: c.Message})
		}
	}
	subject.readEvents(ctx, s, b)
	return subject, nil
}

// states are what the node says, by place.
func (b body) states() map[string]string {
	all := map[string]string{}
	for kind, list := range map[string][]containerStatus{placeInit: b.Status.Init, placeContainer: b.Status.Containers, placeEphemeral: b.Status.Ephemeral} {
		for _, c := range list {
			all[kind+c.Name] = c.text()
		}
	}
	return all
}

const (
	placeInit      = "init container "
	placeContainer = "container "
	placeEphemeral = "ephemeral container "
	placeVolume    = "image volume "
)

func images(spec podSpec, states map[string]string) []Image {
	var all []Image
	for _, l := range []struct {
		place string
		list  []container
	}{{placeInit, spec.Init}, {placeContainer, spec.Containers}, {placeEphemeral, spec.Ephemeral}} {
		for _, c := range l.list {
			if c.Image != "" {
				all = append(all, Image{l.place + c.Name, c.Image, states[l.place+c.Name]})
			}
		}
	}
	for _, v := range spec.Volumes {
		if v.Image.Reference != "" {
			all = append(all, Image{Place: placeVolume + v.Name, Image: v.Image.Reference})
		}
	}
	return all
}

// readPods looks for containers that wait because of an image.
func (subject *Subject) readPods(ctx context.Context, s *kube.Server, selector string) {
	if selector == "" {
		return
	}
	pods := kube.Objects{Version: "v1", Resource: "pods", Namespace: subject.Namespace}
	err := s.ReadList(ctx, pods, kube.Selection{Labels: selector, Most: maxPods}, func(raw json.RawMessage) error {
		var b body
		if err := unmarshal(raw, &b); err != nil {
			return err
		}
		for place, state := range b.states() {
			if about(state) {
				subject.Held = append(subject.Held, Held{b.Metadata.Name, b.Spec.NodeName, place, state})
			}
		}
		return nil
	})
	slices.SortFunc(subject.Held, func(a, b Held) int { return strings.Compare(a.Pod+a.Place, b.Pod+b.Place) })
	subject.Held = subject.Held[:min(len(subject.Held), maxHeld)]
	if err != nil {
		subject.Untold = append(subject.Untold, "its pods: "+err.Error())
	}
}
