package workstation

import (
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kritis-node/kritis-node/policyagent/kube"
)

// Target is an object that runs images: a pod, or what makes pods.
type Target struct {
	// Kind is as the cluster calls it, "Deployment".
	Kind string
	// Name is the object's.
	Name    string
	objects kube.Objects
}

// String returns "deployment/app".
func (t Target) String() string { return strings.ToLower(t.Kind) + "/" + t.Name }

// known are Kubernetes' own kinds with the names that kubectl takes for them.
func known() map[string]Target {
	all := map[string]Target{}
	for _, k := range []struct {
		kind, group string
		names       []string // the first is the resource
	}{
		{"Pod", "", []string{"pods", "pod", "po"}},
		{"ReplicationController", "", []string{"replicationcontrollers", "replicationcontroller", "rc"}},
		{"Deployment", "apps", []string{"deployments", "deployment", "deploy"}},
		{"DaemonSet", "apps", []string{"daemonsets", "daemonset", "ds"}},
		{"ReplicaSet", "apps", []string{"replicasets", "replicaset", "rs"}},
		{"StatefulSet", "apps", []string{"statefulsets", "statefulset", "sts"}},
		{"Job", "batch", []string{"jobs", "job"}},
		{"CronJob", "batch", []string{"cronjobs", "cronjob", "cj"}},
	} {
		for _, name := range k.names {
			target := Target{Kind: k.kind, objects: kube.Objects{Group: k.group, Version: "v1", Resource: k.names[0]}}
			all[name] = target
			if k.group != "" {
				all[name+"."+k.group] = target
			}
		}
	}
	return all
}

// ParseTarget reads "pod/NAME" and the like. It is false for what names none of Kubernetes' own kinds: an image, or an
// object of another kind (see FindTarget).
func ParseTarget(s string) (Target, bool) {
	kind, name, ok := split(s)
	if !ok {
		return Target{}, false
	}
	t, ok := known()[strings.ToLower(kind)]
	t.Name = name
	return t, ok
}

// FindTarget reads "KIND.GROUP/NAME", such as "cloneset.apps.kruise.io/app", if the cluster has that group. It is false
// for what can only be an image: "registry.example/app".
func FindTarget(ctx context.Context, s *kube.Server, text string) (Target, bool, error) {
	kind, name, ok := split(text)
	kind, group, dotted := strings.Cut(strings.ToLower(kind), ".")
	if !ok || !dotted || strings.Contains(group, ":") {
		return Target{}, false, nil
	}
	resources, version, err := s.Discover(ctx, group)
	if kube.IsNotFound(err) {
		return Target{}, false, nil
	}
	if err != nil {
		return Target{}, false, err
	}
	for _, r := range resources {
		names := append([]string{r.Name, r.SingularName, strings.ToLower(r.Kind)}, r.ShortNames...)
		if slices.Contains(names, kind) && !strings.Contains(r.Name, "/") && r.Namespaced {
			return Target{Kind: r.Kind, Name: name, objects: kube.Objects{Group: group, Version: version, Resource: r.Name}}, true, nil
		}
	}
	return Target{}, false, fmt.Errorf("the cluster has group %s, and no kind %q in it: correct it, or name an image with its tag or digest", group, kind)
}

// split takes "a/b" apart. Names of objects have neither tags nor digests nor further slashes.
func split(s string) (kind, name string, ok bool) {
	kind, name, ok = strings.Cut(s, "/")
	return kind, name, ok && kind != "" && name != "" && !strings.ContainsAny(name, "/:@")
}

// selector is the label selector of what makes pods; empty if it has none.
func (b body) selector() string {
	if len(b.Spec.Selector) == 0 {
		return ""
	}
	var labels map[string]string // ReplicationController
	if unmarshal(b.Spec.Selector, &labels) == nil {
		return metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: labels})
	}
	var s metav1.LabelSelector
	if unmarshal(b.Spec.Selector, &s) != nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		return ""
	}
	return metav1.FormatLabelSelector(&s)
}
