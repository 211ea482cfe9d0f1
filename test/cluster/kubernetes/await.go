package kubernetes

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// AwaitNode waits until a node is ready.
func (c *Cluster) AwaitNode(ctx context.Context, name string) error {
	return c.await(ctx, "", "node/"+name, "condition=Ready")
}

// AwaitPod waits until a pod is in a phase ("Running", "Succeeded", "Failed"). It need not exist yet.
func (c *Cluster) AwaitPod(ctx context.Context, namespace, name, phase string) error {
	return c.await(ctx, namespace, "pod/"+name, "jsonpath={.status.phase}="+phase)
}

// AwaitPodReady waits until all containers of a pod run and are ready. It need not exist yet.
func (c *Cluster) AwaitPodReady(ctx context.Context, namespace, name string) error {
	return c.await(ctx, namespace, "pod/"+name, "condition=Ready")
}

// AwaitDeployment waits until a deployment is available. It need not exist yet.
func (c *Cluster) AwaitDeployment(ctx context.Context, namespace, name string) error {
	return c.await(ctx, namespace, "deployment/"+name, "condition=Available")
}

// AwaitObject waits for a condition of an object ("pod/app"), as "kubectl wait --for" takes it. It need not exist yet,
// except when the condition is "delete".
func (c *Cluster) AwaitObject(ctx context.Context, namespace, object, condition string) error {
	return c.await(ctx, namespace, object, condition)
}

// await lets kubectl watch, first for the object, then for what is wanted of it. When that does not come, the error
// shows the object.
func (c *Cluster) await(ctx context.Context, namespace, object, condition string) error {
	ctx, cancel := context.WithTimeout(ctx, awaitLimit)
	defer cancel()
	steps := []string{"create", condition}
	if condition == "create" || condition == "delete" {
		steps = steps[1:]
	}
	var err error
	for _, wanted := range steps {
		if err == nil {
			// It ends with ctx; without a timeout of its own, kubectl would wait half a minute.
			_, err = c.KubectlOutput(ctx, "wait", object, "--namespace", namespace, "--for", wanted, "--timeout", awaitLimit.String())
		}
	}
	if err == nil {
		return nil
	}
	// The wait used up its own time.
	describing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	description, describeErr := c.KubectlOutput(describing, "describe", object, "--namespace", namespace)
	if describeErr != nil {
		description = describeErr.Error()
	}
	return fmt.Errorf("waited for %s of %s: %w\n%s", condition, object, err, strings.TrimRight(description, "\n"))
}
