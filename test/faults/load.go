package faults

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
	"sigs.k8s.io/yaml"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// pauseBetween is between two tries to start the same container, callLimit the longest that one call to the runtime may take.
const (
	pauseBetween = 500 * time.Millisecond
	callLimit    = 15 * time.Second
)

// item is one container that somebody wants.
type item struct {
	Load
	namespace string
	image     string

	mu    sync.Mutex
	name  string // of the pod, as the kubelet knows it
	ran   time.Time
	tries int
	said  string // why the last try failed
}

func (p *place) newItem(l Load, name, image string) *item {
	namespace := map[Way]string{Admitted: soaked, Bare: bare, InCloud: clouded, Static: bare, Direct: bare, Forged: bare}[l.Way]
	i := &item{Load: l, namespace: namespace, image: image, name: name}
	if l.Way == Static {
		i.name += "-" + p.NodeName()
	}
	return i
}

func (i *item) String() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	what := unattested
	if i.Attested {
		what = attested
	}
	if i.Fresh {
		what += ", fresh"
	}
	return fmt.Sprintf("%s %s/%s (%s, image %s)", i.Way, i.namespace, i.name, what, i.image)
}

func (i *item) podName() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.name
}

// tried notes a try that failed, and says how often it was tried.
func (i *item) tried(format string, args ...any) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tries++
	i.said = fmt.Sprintf(format, args...)
	return i.tries
}

func (i *item) runs() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ran.IsZero() {
		i.ran = time.Now()
	}
}

// lastSaid is why the last try failed, and how many there were.
func (i *item) lastSaid() (string, int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.said, i.tries
}

// started says whether it has run by the runtime's word.
func (i *item) started() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return !i.ran.IsZero()
}

// waits says whether it has to run and has not yet.
func (i *item) waits() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.Attested && i.ran.IsZero()
}

// viaAPI says whether the API server has a part in starting it.
func (i *item) viaAPI() bool { return i.Way == Admitted || i.Way == Bare || i.Way == InCloud }

// start asks for the container until there is somebody who takes it, or ctx ends.
func (p *place) start(ctx context.Context, i *item) {
	switch i.Way {
	case Static:
		if err := p.writeStatic(i); err != nil {
			i.tried("%v", err)
		}
	case Direct, Forged:
		p.call(ctx, i)
	default:
		p.create(ctx, i)
	}
}

// create makes a pod object. As whatever makes pods in a cluster does, it tries again for as long as it is refused.
func (p *place) create(ctx context.Context, i *item) {
	for ctx.Err() == nil {
		status, said, err := p.api.create(ctx, pod(i.namespace, i.podName(), p.NodeName(), i.image))
		switch {
		case err != nil:
			i.tried("%v", err)
		case status == http.StatusCreated || status == http.StatusConflict: // an answer may have been lost
			return
		default:
			i.tried("%d: %s", status, said)
			if !i.Attested && status == http.StatusForbidden {
				return
			}
		}
		wait(ctx, pauseBetween)
	}
}

func (p *place) staticFile(name string) string {
	return filepath.Join(p.StaticPodDir(), strings.TrimSuffix(name, "-"+p.NodeName())+".yaml")
}

func (p *place) writeStatic(i *item) error {
	file := p.staticFile(i.podName())
	text, err := yaml.Marshal(pod(i.namespace, strings.TrimSuffix(filepath.Base(file), ".yaml"), "", i.image))
	if err != nil {
		return err
	}
	// Kubelet does not look at names that begin with a dot: it shall not see half a file.
	half := filepath.Join(filepath.Dir(file), "."+filepath.Base(file))
	if err := os.WriteFile(half, text, 0o644); err != nil {
		return err
	}
	return os.Rename(half, file)
}

// attempts is how often a container that must not run is asked of the runtime: some of it hits the moment at which something fails.
const attempts = 60

// call asks the runtime itself, until the container runs.
func (p *place) call(ctx context.Context, i *item) {
	for ctx.Err() == nil && !p.callInPod(ctx, i) {
		wait(ctx, pauseBetween)
	}
}

// callInPod makes a pod and asks for the container in there, and says whether that is all. Attested: until it runs, at most once in
// this pod, for the kubelet removes pods that it did not start. Unattested: again and again until the pod is gone.
func (p *place) callInPod(ctx context.Context, i *item) (over bool) {
	cri := p.Node().CRI()
	var image, sandbox string
	err := limited(ctx, func(ctx context.Context) (err error) {
		if image, err = cri.PullImage(ctx, i.image); err == nil {
			sandbox, err = cri.RunPod(ctx, cluster.PodSpec{Namespace: i.namespace, Name: i.podName()})
		}
		return err
	})
	if err != nil {
		return i.tried("%v", err) > attempts && !i.Attested
	}
	// Kubelet removes what is left when containerd cannot be asked.
	defer func() {
		_ = limited(context.WithoutCancel(ctx), func(ctx context.Context) error { return cri.RemovePod(ctx, sandbox) })
	}()
	spec := cluster.ContainerSpec{Image: image, UserSpecifiedImage: i.image}
	if i.Way == Forged {
		spec.UserSpecifiedImage = p.images.take(Load{Way: Direct, Attested: true})
	}
	for ctx.Err() == nil {
		err := limited(ctx, func(ctx context.Context) error {
			_, err := cri.Run(ctx, sandbox, spec)
			return err
		})
		if err == nil {
			i.runs()
			return true
		}
		tries := i.tried("%v", err)
		if i.Attested || strings.Contains(err.Error(), sandbox) { // the latter: it is gone
			return false
		}
		if tries > attempts {
			return true
		}
		wait(ctx, 150*time.Millisecond)
	}
	return true
}

func limited(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return call(ctx)
}

// look notes which items run, by what the runtime says.
func (p *place) look(ctx context.Context, items []*item) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	answer, err := p.Node().CRI().Runtime.ListContainers(ctx, &runtime.ListContainersRequest{
		Filter: &runtime.ContainerFilter{State: &runtime.ContainerStateValue{State: runtime.ContainerState_CONTAINER_RUNNING}},
	})
	if err != nil {
		return err
	}
	running := map[string]bool{}
	for _, c := range answer.GetContainers() {
		running[c.GetLabels()["io.kubernetes.pod.namespace"]+"/"+c.GetLabels()["io.kubernetes.pod.name"]] = true
	}
	for _, i := range items {
		if i.Way != Direct && i.Way != Forged && running[i.namespace+"/"+i.podName()] {
			i.runs()
		}
	}
	return nil
}

// unstick makes a pod anew for which kubelet waits, up to five minutes, before it pulls again what it could not pull: that wait is
// kubelet's own, and whatever made the pod would wait as well. It says whether it did.
func (p *place) unstick(ctx context.Context, i *item) (bool, error) {
	name := i.podName()
	known, err := p.api.get(ctx, i.namespace, name)
	if err != nil || !pulling(known) {
		return false, err
	}
	anew := name + "-anew"
	if i.Way == Static {
		anew = strings.TrimSuffix(name, "-"+p.NodeName()) + "-anew-" + p.NodeName()
		if err := os.Remove(p.staticFile(name)); err != nil {
			return false, err
		}
	} else if err := p.api.delete(ctx, i.namespace, name); err != nil {
		return false, err
	}
	i.mu.Lock()
	i.name = anew
	i.mu.Unlock()
	p.start(ctx, i)
	return true, nil
}

func pulling(p *corev1.Pod) bool {
	for _, c := range p.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil && (w.Reason == "ImagePullBackOff" || w.Reason == "ErrImagePull") {
			return true
		}
	}
	return false
}

// clear removes what a round started, and waits until none of it is left on the node.
func (p *place) clear(ctx context.Context, items []*item) error {
	for _, i := range items {
		if i.Way == Static {
			if err := gone(os.Remove(p.staticFile(i.podName()))); err != nil {
				return err
			}
		}
	}
	for _, namespace := range []string{soaked, bare, clouded, controlNamespace} {
		pods, err := p.api.list(ctx, namespace)
		if err != nil {
			return err
		}
		for _, known := range pods {
			// A mirror is kubelet's to remove, and so is that of a static pod of somebody else.
			if known.Annotations[corev1.MirrorPodAnnotationKey] == "" {
				if err := p.api.delete(ctx, namespace, known.Name); err != nil {
					return err
				}
			}
		}
	}
	return patient(ctx, "the round's pods to go", func(ctx context.Context) error {
		answer, err := p.Node().CRI().Runtime.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{})
		if err != nil {
			return err
		}
		for _, s := range answer.GetItems() {
			switch ns := s.GetMetadata().GetNamespace(); ns {
			case soaked, bare, clouded, controlNamespace:
				if s.GetState() == runtime.PodSandboxState_SANDBOX_READY {
					return fmt.Errorf("pod %s/%s is left", ns, s.GetMetadata().GetName())
				}
			}
		}
		return nil
	})
}

// patient is [cluster.Await] for what goes through many hands.
func patient(ctx context.Context, what string, ready func(context.Context) error) (err error) {
	for range 3 {
		if err = cluster.Await(ctx, what, ready); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}
