package plugin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/kritis-node/kritis-node/plugin/inventory"
	"github.com/kritis-node/kritis-node/verifier"
)

// maxNamed is how many tasks that are not CRI's get the name of their image.
const maxNamed = 32

// task is a process tree that containerd runs and that did not come through CRI.
type task struct{ namespace, id, image string }

// key cannot be a container's ID, which has no slash.
func (t task) key() string { return t.namespace + "/" + t.id }

// running is a container of CRI whose processes run.
type running struct {
	inventory.Container
	pod inventory.Pod
}

// survey is what runs on a node.
type survey struct {
	containers []running
	unmanaged  []task
}

// runningNode is the node, as the re-check needs it.
type runningNode interface {
	survey(ctx context.Context) (survey, error)
	// subject returns what is judged about a container, and what it is bound to. errAbsent: there is no such container any more.
	subject(ctx context.Context, c running) (subject, error)
	stop(ctx context.Context, id string, grace time.Duration) error
}

// containerdNode is a node's containerd.
type containerdNode struct {
	inventory *inventory.Client
	store     runtimeStore
}

// survey implements runningNode. Tasks are listed before containers and pods: those were there before their tasks.
func (n containerdNode) survey(ctx context.Context) (survey, error) {
	names, err := n.inventory.Namespaces(ctx)
	if err != nil {
		return survey{}, err
	}
	var all survey
	tasks := map[string]bool{}
	for _, name := range names {
		ids, err := n.inventory.Tasks(ctx, name)
		if errdefs.IsNotFound(err) {
			continue // the namespace has just gone
		}
		if err != nil {
			return survey{}, err
		}
		for _, id := range ids {
			if name == criNamespace {
				tasks[id] = true
			} else {
				all.unmanaged = append(all.unmanaged, task{namespace: name, id: id})
			}
		}
	}
	containers, err := n.inventory.Containers(ctx, func(id string) bool { return tasks[id] })
	if err != nil {
		return survey{}, err
	}
	pods, err := n.inventory.Pods(ctx)
	if err != nil {
		return survey{}, err
	}
	for _, c := range containers {
		delete(tasks, c.ID)
		pod, ok := pods[c.Pod]
		if !ok {
			// It is being removed with its pod, or somebody hides it.
			all.unmanaged = append(all.unmanaged, task{namespace: criNamespace, id: c.ID})
			continue
		}
		all.containers = append(all.containers, running{c, pod})
	}
	for id := range pods {
		delete(tasks, id)
	}
	for id := range tasks {
		all.unmanaged = append(all.unmanaged, task{namespace: criNamespace, id: id})
	}
	n.name(ctx, all.unmanaged)
	return all, nil
}

// name finds out what the first of some tasks run, as far as containerd was told.
func (n containerdNode) name(ctx context.Context, tasks []task) {
	for i := range tasks[:min(len(tasks), maxNamed)] {
		if record, err := n.inventory.Record(ctx, tasks[i].namespace, tasks[i].id); err == nil {
			tasks[i].image = record.Image
		}
	}
}

// subject implements runningNode.
func (n containerdNode) subject(ctx context.Context, c running) (subject, error) {
	record, err := n.inventory.Record(ctx, criNamespace, c.ID)
	s := newRunningSubject(c.Container, c.pod, record)
	if errdefs.IsNotFound(err) {
		return s, errAbsent
	}
	if err != nil {
		return s, err
	}
	// The config is that of containerd's own record, not what a client said. Should there be none, the layers tell.
	if config, err := verifier.ParseDigest(c.Config); err == nil {
		s.bound.config = config
		return s, nil
	}
	snap, err := n.store.snapshot(ctx, c.ID)
	if errors.Is(err, errAbsent) {
		return s, errors.New(textNoSnapshot)
	}
	if err != nil {
		return s, fmt.Errorf("read the container's snapshot: %w", err)
	}
	s.bound.below = snap
	return s, nil
}

// stop implements runningNode.
func (n containerdNode) stop(ctx context.Context, id string, grace time.Duration) error {
	return n.inventory.Stop(ctx, id, grace)
}
