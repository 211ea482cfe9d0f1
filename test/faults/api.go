package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// api makes pods by REST: kubectl would take more of the processor than what is tested.
type api struct {
	url    string
	client *http.Client
}

func newAPI(kubeconfig string) (*api, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	// Longer than the webhook may take.
	config.Timeout, config.DisableCompression = 15*time.Second, true
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return &api{url: config.Host, client: client}, nil
}

func (a *api) close() { a.client.CloseIdleConnections() }

// maxAnswer bounds what is read, in bytes.
const maxAnswer = 16 << 20

// do returns the status and the answer; err is about a server that cannot be asked.
func (a *api) do(ctx context.Context, method, path string, body []byte) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, a.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := a.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return response.StatusCode, answer, err
}

// pod returns a pod of one container that needs nothing but its image: neither volumes nor a network of its own.
func pod(namespace, name, node, image string) *corev1.Pod {
	off, grace := false, int64(1)
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PodSpec{
			// The scheduler is not what is tested.
			NodeName: node, HostNetwork: true, AutomountServiceAccountToken: &off, EnableServiceLinks: &off,
			TerminationGracePeriodSeconds: &grace,
			Containers:                    []corev1.Container{{Name: "main", Image: image}},
		},
	}
}

// create returns the status, and what was said when it is no success.
func (a *api) create(ctx context.Context, p *corev1.Pod) (int, string, error) {
	body, err := json.Marshal(p)
	if err != nil {
		return 0, "", err
	}
	status, answer, err := a.do(ctx, http.MethodPost, "/api/v1/namespaces/"+p.Namespace+"/pods", body)
	if err != nil || status == http.StatusCreated {
		return status, "", err
	}
	var said metav1.Status
	if json.Unmarshal(answer, &said) == nil && said.Message != "" {
		return status, said.Message, nil
	}
	return status, string(answer), nil
}

func (a *api) get(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	status, answer, err := a.do(ctx, http.MethodGet, "/api/v1/namespaces/"+namespace+"/pods/"+name, nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("pod %s/%s: status %d", namespace, name, status)
	}
	if err != nil {
		return nil, err
	}
	p := &corev1.Pod{}
	return p, json.Unmarshal(answer, p)
}

func (a *api) list(ctx context.Context, namespace string) ([]corev1.Pod, error) {
	status, answer, err := a.do(ctx, http.MethodGet, "/api/v1/namespaces/"+namespace+"/pods", nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("pods of %s: status %d", namespace, status)
	}
	if err != nil {
		return nil, err
	}
	var list corev1.PodList
	return list.Items, json.Unmarshal(answer, &list)
}

// delete removes a pod; one that is not there is removed.
func (a *api) delete(ctx context.Context, namespace, name string) error {
	status, answer, err := a.do(ctx, http.MethodDelete, "/api/v1/namespaces/"+namespace+"/pods/"+name, []byte(`{"gracePeriodSeconds":1}`))
	if err == nil && status != http.StatusOK && status != http.StatusAccepted && status != http.StatusNotFound {
		err = fmt.Errorf("deleting pod %s/%s: status %d: %s", namespace, name, status, answer)
	}
	return err
}
