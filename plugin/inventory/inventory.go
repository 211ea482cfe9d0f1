package inventory

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
)

// Limits of what is kept of an answer. More is an error: a part of what runs would look like all of it.
const (
	maxTasks      = 20_000
	maxNamespaces = 1_000
)

// Client asks containerd. It may be used by several goroutines.
type Client struct{ conn grpc.ClientConnInterface }

// New returns a client that uses the connection and does not close it.
func New(conn grpc.ClientConnInterface) *Client { return &Client{conn} }

// Pod is a pod as CRI has it.
type Pod struct{ Namespace, Name, UID, Handler string }

// Container is a container of CRI.
type Container struct {
	ID, Pod, Name string
	// Image is what CRI was asked to run, Written what the user wrote, if CRI was told. Nothing checks either.
	Image, Written string
	// Config is the digest of the image's config, from containerd's own record.
	Config string
	// Created is when the container was created, by the node's clock.
	Created time.Time
}

// Record is a container as containerd has it, of CRI or not.
type Record struct {
	// Image is containerd's name of the image; nobody has to give one.
	Image string
	// Annotations and Mounts (their sources) are those of the container's OCI specification.
	Annotations map[string]string
	Mounts      []string
}

// Pods returns the pods of CRI, in whatever state, by ID.
func (c *Client) Pods(ctx context.Context) (map[string]Pod, error) {
	pods := map[string]Pod{}
	err := c.call(ctx, "/runtime.v1.RuntimeService/ListPodSandbox", nil, func(number protowire.Number, item message, _ uint64) error {
		if number != 1 {
			return nil
		}
		id, pod, err := parsePod(item)
		if len(pods) >= maxTasks {
			return fmt.Errorf("the runtime has more than %d pods: remove some", maxTasks)
		}
		pods[id] = pod
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the runtime's pods: %w", err)
	}
	return pods, nil
}

func parsePod(m message) (id string, p Pod, err error) {
	err = m.each(func(number protowire.Number, value message, _ uint64) error {
		switch number {
		case 1:
			id = string(value)
		case 2:
			return value.each(func(number protowire.Number, value message, _ uint64) error {
				switch number {
				case 1:
					p.Name = string(value)
				case 2:
					p.UID = string(value)
				case 3:
					p.Namespace = string(value)
				}
				return nil
			})
		case 7:
			p.Handler = string(value)
		}
		return nil
	})
	return id, p, err
}

// Containers returns the containers of CRI, in whatever state, whose IDs are wanted.
func (c *Client) Containers(ctx context.Context, wanted func(id string) bool) ([]Container, error) {
	var all []Container
	err := c.call(ctx, "/runtime.v1.RuntimeService/ListContainers", nil, func(number protowire.Number, item message, _ uint64) error {
		if number != 1 {
			return nil
		}
		ctr, err := parseContainer(item)
		if err == nil && wanted(ctr.ID) {
			all = append(all, ctr)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the runtime's containers: %w", err)
	}
	return all, nil
}

func parseContainer(m message) (c Container, err error) {
	err = m.each(func(number protowire.Number, value message, n uint64) error {
		switch number {
		case 1:
			c.ID = string(value)
		case 2:
			c.Pod = string(value)
		case 3:
			return value.each(func(number protowire.Number, value message, _ uint64) error {
				if number == 1 {
					c.Name = string(value)
				}
				return nil
			})
		case 4:
			return value.each(func(number protowire.Number, value message, _ uint64) error {
				switch number {
				case 1:
					c.Image = string(value)
				case 18:
					c.Written = string(value)
				}
				return nil
			})
		case 5:
			c.Config = string(value)
		case 7:
			c.Created = time.Unix(0, int64(min(n, math.MaxInt64))) //nolint:gosec // bounded
		}
		return nil
	})
	return c, err
}

// Namespaces returns containerd's namespaces.
func (c *Client) Namespaces(ctx context.Context) ([]string, error) {
	var all []string
	err := c.call(ctx, "/containerd.services.namespaces.v1.Namespaces/List", nil, func(number protowire.Number, item message, _ uint64) error {
		if number != 1 {
			return nil
		}
		if len(all) >= maxNamespaces {
			return fmt.Errorf("there are more than %d: remove some", maxNamespaces)
		}
		return item.each(func(number protowire.Number, value message, _ uint64) error {
			if number == 1 {
				all = append(all, string(value))
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list containerd's namespaces: %w", err)
	}
	return all, nil
}

// Tasks returns the IDs of the containers of a containerd namespace that have a process, running or paused.
func (c *Client) Tasks(ctx context.Context, namespace string) ([]string, error) {
	const stopped = 3 // containerd.v1.types.Status
	var all []string
	err := c.call(namespaces.WithNamespace(ctx, namespace), "/containerd.services.tasks.v1.Tasks/List", nil, func(number protowire.Number, item message, _ uint64) error {
		if number != 1 {
			return nil
		}
		var id string
		var pid, status uint64
		err := item.each(func(number protowire.Number, value message, n uint64) error {
			switch number {
			case 2:
				id = string(value)
			case 3:
				pid = n
			case 4:
				status = n
			}
			return nil
		})
		if pid == 0 || status == stopped {
			return err
		}
		if len(all) >= maxTasks {
			return fmt.Errorf("there are more than %d: remove some", maxTasks)
		}
		all = append(all, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the tasks of containerd's namespace %s: %w", namespace, err)
	}
	return all, nil
}

// Record returns containerd's record of a container. An error of which errdefs.IsNotFound is true says that there is none.
func (c *Client) Record(ctx context.Context, namespace, id string) (Record, error) {
	var r Record
	err := c.call(namespaces.WithNamespace(ctx, namespace), "/containerd.services.containers.v1.Containers/Get", text(1, id), func(number protowire.Number, item message, _ uint64) error {
		if number != 1 {
			return nil
		}
		return item.each(func(number protowire.Number, value message, _ uint64) error {
			switch number {
			case 3:
				r.Image = string(value)
			case 5:
				return value.each(func(number protowire.Number, value message, _ uint64) error {
					if number == 2 {
						return r.readSpec(value)
					}
					return nil
				})
			}
			return nil
		})
	})
	if err != nil {
		return Record{}, fmt.Errorf("read containerd's record of container %s: %w", id, err)
	}
	return r, nil
}

func (r *Record) readSpec(data []byte) error {
	var spec struct {
		Annotations map[string]string `json:"annotations"`
		Mounts      []struct {
			Source string `json:"source"`
		} `json:"mounts"`
	}
	if err := json.Unmarshal(data, &spec); err != nil {
		return fmt.Errorf("its OCI specification is not the JSON of one: %w", err)
	}
	r.Annotations = spec.Annotations
	for _, m := range spec.Mounts {
		r.Mounts = append(r.Mounts, m.Source)
	}
	return nil
}

// Stop stops a container of CRI: it is asked to end, and after the grace period, in whole seconds, made to.
func (c *Client) Stop(ctx context.Context, id string, grace time.Duration) error {
	request := protowire.AppendTag(text(1, id), 2, protowire.VarintType)
	request = protowire.AppendVarint(request, uint64(max(0, grace/time.Second))) //nolint:gosec // not negative
	err := c.call(ctx, "/runtime.v1.RuntimeService/StopContainer", request, func(protowire.Number, message, uint64) error { return nil })
	if err != nil {
		return fmt.Errorf("stop container %s: %w", id, err)
	}
	return nil
}
