package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/kritis-node/kritis-node/policyagent/kube"
)

// DaemonSet is the one whose pods install the service.
type DaemonSet struct {
	Server          *kube.Server
	Namespace, Name string
}

// daemonSet is what matters of the object.
type daemonSet struct {
	Metadata struct {
		Name              string     `json:"name"`
		DeletionTimestamp *time.Time `json:"deletionTimestamp"`
	} `json:"metadata"`
	Spec struct {
		Template struct {
			Spec struct {
				Containers []struct {
					Args []string `json:"args"`
				} `json:"containers"`
			} `json:"spec"`
		} `json:"template"`
	} `json:"spec"`
}

func (d DaemonSet) objects() kube.Objects {
	return kube.Objects{Group: "apps", Version: "v1", Resource: "daemonsets", Namespace: d.Namespace}
}

// Remove implements Leaving: the service goes if the DaemonSet is gone, is being deleted, or has its plugin elsewhere now.
func (d DaemonSet) Remove(ctx context.Context) (bool, string, error) {
	var found daemonSet
	err := d.Server.ReadObject(ctx, d.objects(), d.Name, &found)
	switch {
	case d.gone(err):
		return true, fmt.Sprintf("DaemonSet %s/%s is gone", d.Namespace, d.Name), nil
	case err != nil:
		return false, "", err
	case found.Metadata.Name != d.Name:
		return false, "", fmt.Errorf("the API server answered with something else than DaemonSet %s/%s", d.Namespace, d.Name)
	case found.Metadata.DeletionTimestamp != nil:
		return true, fmt.Sprintf("DaemonSet %s/%s is being deleted", d.Namespace, d.Name), nil
	}
	for _, c := range found.Spec.Template.Spec.Containers {
		if len(c.Args) > 1 && c.Args[0] == "install" && c.Args[1] == "host" {
			return false, fmt.Sprintf("DaemonSet %s/%s still wants it", d.Namespace, d.Name), nil
		}
	}
	return true, fmt.Sprintf("DaemonSet %s/%s has its plugin elsewhere now", d.Namespace, d.Name), nil
}

// gone says whether an API server that knows DaemonSets said that this one does not exist. A 404 alone may be a proxy's.
func (d DaemonSet) gone(err error) bool {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok || !kube.IsNotFound(err) {
		return false
	}
	details := status.Status().Details
	return details != nil && details.Kind == "daemonsets" && details.Name == d.Name && len(details.Causes) == 0
}

// Drain deletes the DaemonSet, and waits until its pods are gone: each of them, seeing that, removes the service from its
// node. Without a DaemonSet there is nothing to do.
func (d DaemonSet) Drain(ctx context.Context) error {
	err := d.Server.DeleteForeground(ctx, d.objects(), d.Name)
	for err == nil {
		var found daemonSet
		if err = d.Server.ReadObject(ctx, d.objects(), d.Name, &found); err != nil {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("pods of DaemonSet %s/%s are left: %w; look at `kubectl get pods -o wide`: on a node that is gone, delete the Node", d.Namespace, d.Name, ctx.Err())
		case <-time.After(time.Second):
		}
	}
	if d.gone(err) {
		return nil
	}
	return fmt.Errorf("delete DaemonSet %s/%s: %w", d.Namespace, d.Name, err)
}
