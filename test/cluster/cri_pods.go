package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// PodSpec describes a pod. Namespace and name default to "default" and "pod"; several pods may have the same.
type PodSpec struct {
	Namespace, Name string
	UID             string // empty: a new one
	RuntimeHandler  string // empty: runc
	Annotations     map[string]string
	Labels          map[string]string // added to those that kubelet sets
}

// ContainerSpec describes a container.
type ContainerSpec struct {
	Name string // empty: "main"
	// Image is what CRI calls image.image: from kubelet it is the image ID that a pull returned; a reference that the
	// node has works as well.
	Image string
	// UserSpecifiedImage is, from kubelet, the string in the pod's specification. Nothing checks it.
	UserSpecifiedImage string
	Annotations        map[string]string
	Command, Args      []string // empty: the image's
	Env                map[string]string
	ImageMounts        []ImageMount
}

// ImageMount is a volume whose content is an image.
type ImageMount struct {
	// Image must be a reference that the node has; containerd does not find an ID here.
	Image              string
	UserSpecifiedImage string
	ContainerPath      string
	SubPath            string
}

// RunPod starts a pod's sandbox, in the network of the node, and returns its ID.
func (c *CRI) RunPod(ctx context.Context, spec PodSpec) (string, error) {
	number := c.sequence.Add(1)
	name, namespace := cmp.Or(spec.Name, "pod"), cmp.Or(spec.Namespace, "default")
	uid := cmp.Or(spec.UID, fmt.Sprintf("00000000-0000-4000-8000-%012d", number))
	labels := map[string]string{
		"io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": namespace, "io.kubernetes.pod.uid": uid,
	}
	maps.Copy(labels, spec.Labels)
	config := &runtime.PodSandboxConfig{
		Metadata:     &runtime.PodSandboxMetadata{Name: name, Namespace: namespace, Uid: uid, Attempt: number},
		LogDirectory: filepath.Join(c.logs, fmt.Sprintf("%s_%s_%d", namespace, name, number)),
		Labels:       labels,
		Annotations:  spec.Annotations,
		Linux: &runtime.LinuxPodSandboxConfig{
			CgroupParent: c.cgroup,
			SecurityContext: &runtime.LinuxSandboxSecurityContext{
				NamespaceOptions: &runtime.NamespaceOption{Network: runtime.NamespaceMode_NODE, Pid: runtime.NamespaceMode_CONTAINER},
			},
		},
	}
	response, err := c.Runtime.RunPodSandbox(ctx, &runtime.RunPodSandboxRequest{Config: config, RuntimeHandler: spec.RuntimeHandler})
	if err != nil {
		return "", fmt.Errorf("running pod %s/%s: %w", namespace, name, err)
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.pods[response.GetPodSandboxId()] = config
	return response.GetPodSandboxId(), nil
}

// CreateContainer creates a container in a pod and returns its ID. This is the call that NRI plugins can deny.
func (c *CRI) CreateContainer(ctx context.Context, pod string, spec ContainerSpec) (string, error) {
	c.mutex.Lock()
	sandbox := c.pods[pod]
	c.mutex.Unlock()
	if sandbox == nil {
		return "", fmt.Errorf("no pod %s was made by this client", pod)
	}
	name, number := cmp.Or(spec.Name, "main"), c.sequence.Add(1)
	meta := sandbox.GetMetadata()
	config := &runtime.ContainerConfig{
		Metadata:    &runtime.ContainerMetadata{Name: name, Attempt: number},
		Image:       &runtime.ImageSpec{Image: spec.Image, UserSpecifiedImage: spec.UserSpecifiedImage},
		Command:     spec.Command,
		Args:        spec.Args,
		Annotations: spec.Annotations,
		Labels: map[string]string{
			"io.kubernetes.container.name": name, "io.kubernetes.pod.name": meta.GetName(),
			"io.kubernetes.pod.namespace": meta.GetNamespace(), "io.kubernetes.pod.uid": meta.GetUid(),
		},
		LogPath: name + "_" + strconv.FormatUint(uint64(number), 10) + ".log",
		Linux: &runtime.LinuxContainerConfig{SecurityContext: &runtime.LinuxContainerSecurityContext{
			NamespaceOptions: sandbox.GetLinux().GetSecurityContext().GetNamespaceOptions(),
		}},
	}
	for key, value := range spec.Env {
		config.Envs = append(config.Envs, &runtime.KeyValue{Key: key, Value: []byte(value)})
	}
	for _, mount := range spec.ImageMounts {
		config.Mounts = append(config.Mounts, &runtime.Mount{
			ContainerPath: mount.ContainerPath,
			Readonly:      true, // CRI refuses others
			Image:         &runtime.ImageSpec{Image: mount.Image, UserSpecifiedImage: mount.UserSpecifiedImage},
			ImageSubPath:  mount.SubPath,
		})
	}
	response, err := c.Runtime.CreateContainer(ctx, &runtime.CreateContainerRequest{
		PodSandboxId: pod, Config: config, SandboxConfig: sandbox,
	})
	if err != nil {
		return "", fmt.Errorf("creating container %s: %w", name, err)
	}
	return response.GetContainerId(), nil
}

// StartContainer starts a created container.
func (c *CRI) StartContainer(ctx context.Context, container string) error {
	_, err := c.Runtime.StartContainer(ctx, &runtime.StartContainerRequest{ContainerId: container})
	if err != nil {
		return fmt.Errorf("starting container %s: %w", container, err)
	}
	return nil
}

// Run creates and starts a container and returns its ID once it runs.
func (c *CRI) Run(ctx context.Context, pod string, spec ContainerSpec) (string, error) {
	container, err := c.CreateContainer(ctx, pod, spec)
	if err != nil {
		return "", err
	}
	if err := c.StartContainer(ctx, container); err != nil {
		return "", err
	}
	state, err := c.ContainerState(ctx, container)
	if err != nil {
		return "", err
	}
	if state != runtime.ContainerState_CONTAINER_RUNNING {
		return "", fmt.Errorf("container %s was started and is in state %s", container, state)
	}
	return container, nil
}

// RunAsKubelet does what kubelet does for a pod with one container: pulls the reference, runs a pod, runs a container
// by image ID with the reference as the user's. It returns the container's ID.
func (c *CRI) RunAsKubelet(ctx context.Context, namespace, reference string) (string, error) {
	image, err := c.PullImage(ctx, reference)
	if err != nil {
		return "", err
	}
	pod, err := c.RunPod(ctx, PodSpec{Namespace: namespace})
	if err != nil {
		return "", err
	}
	return c.Run(ctx, pod, ContainerSpec{Image: image, UserSpecifiedImage: reference})
}

// ContainerState asks for the state of a container.
func (c *CRI) ContainerState(ctx context.Context, container string) (runtime.ContainerState, error) {
	response, err := c.Runtime.ContainerStatus(ctx, &runtime.ContainerStatusRequest{ContainerId: container})
	if err != nil {
		return runtime.ContainerState_CONTAINER_UNKNOWN, fmt.Errorf("asking for the state of container %s: %w", container, err)
	}
	return response.GetStatus().GetState(), nil
}

// StopContainer stops a container: SIGTERM, and SIGKILL when it has not ended after grace, in whole seconds.
func (c *CRI) StopContainer(ctx context.Context, container string, grace time.Duration) error {
	_, err := c.Runtime.StopContainer(ctx, &runtime.StopContainerRequest{
		ContainerId: container, Timeout: int64(grace.Seconds()),
	})
	if err != nil {
		return fmt.Errorf("stopping container %s: %w", container, err)
	}
	return nil
}

// RemoveContainer removes a container, also a running one. Who measures creating containers removes them one by one:
// the runtime takes longer the more there are.
func (c *CRI) RemoveContainer(ctx context.Context, container string) error {
	_, err := c.Runtime.RemoveContainer(ctx, &runtime.RemoveContainerRequest{ContainerId: container})
	if err != nil {
		return fmt.Errorf("removing container %s: %w", container, err)
	}
	return nil
}

// RemovePod stops and removes a pod with its containers.
func (c *CRI) RemovePod(ctx context.Context, pod string) error {
	if _, err := c.Runtime.StopPodSandbox(ctx, &runtime.StopPodSandboxRequest{PodSandboxId: pod}); err != nil {
		return fmt.Errorf("stopping pod %s: %w", pod, err)
	}
	if _, err := c.Runtime.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: pod}); err != nil {
		return fmt.Errorf("removing pod %s: %w", pod, err)
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	delete(c.pods, pod)
	return nil
}

// removePods removes all pods of the node, whoever made them.
func (c *CRI) removePods(ctx context.Context) error {
	response, err := c.Runtime.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{})
	if err != nil {
		return fmt.Errorf("listing pods: %w", err)
	}
	var failures []error
	for _, pod := range response.GetItems() {
		failures = append(failures, c.RemovePod(ctx, pod.GetId()))
	}
	return errors.Join(failures...)
}
