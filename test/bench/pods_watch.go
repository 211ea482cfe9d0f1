package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// podClient makes pods and watches them, by REST.
type podClient struct {
	url    string
	client *http.Client

	cancel  context.CancelFunc
	watched sync.WaitGroup

	mutex   sync.Mutex // guards what follows
	waiting map[string]chan readyPod
	ended   error // of the watch
}

// readyPod is the first look at a pod that is ready.
type readyPod struct {
	at        time.Time
	container string // ID
}

// newPodClient starts to watch all pods.
func newPodClient(kubeconfig string) (*podClient, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &podClient{url: config.Host, client: client, cancel: cancel, waiting: map[string]chan readyPod{}}
	c.watched.Go(func() { c.fail(c.follow(ctx)) })
	return c, nil
}

func (c *podClient) close() {
	c.cancel()
	c.watched.Wait()
	c.client.CloseIdleConnections()
}

// follow watches, and begins anew when the API server ends a watch.
func (c *podClient) follow(ctx context.Context) error {
	for ctx.Err() == nil {
		var list corev1.PodList
		answer, err := c.do(ctx, http.MethodGet, "/api/v1/pods", nil, http.StatusOK)
		if err == nil {
			err = json.Unmarshal(answer, &list)
		}
		if err != nil {
			return fmt.Errorf("listing pods: %w", err)
		}
		for i := range list.Items {
			c.seen(&list.Items[i])
		}
		if err := c.watch(ctx, list.ResourceVersion); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// watch returns nil when the API server ends the watch.
func (c *podClient) watch(ctx context.Context, version string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/api/v1/pods?watch=true&resourceVersion="+version, nil)
	if err != nil {
		return err
	}
	response, err := c.client.Do(request)
	if err != nil {
		return fmt.Errorf("watching pods: %w", err)
	}
	defer response.Body.Close()
	events := json.NewDecoder(response.Body)
	for {
		var event struct {
			Type   string
			Object json.RawMessage
		}
		if events.Decode(&event) != nil || event.Type == "ERROR" {
			return nil
		}
		var pod corev1.Pod
		if err := json.Unmarshal(event.Object, &pod); err != nil {
			return fmt.Errorf("watching pods: %w", err)
		}
		c.seen(&pod)
	}
}

// seen tells who waits for the pod, if it is ready.
func (c *podClient) seen(pod *corev1.Pod) {
	if !isReady(pod) {
		return
	}
	at := time.Now()
	c.mutex.Lock()
	defer c.mutex.Unlock()
	name := pod.Namespace + "/" + pod.Name
	if wanted := c.waiting[name]; wanted != nil {
		wanted <- readyPod{at: at, container: pod.Status.ContainerStatuses[0].ContainerID}
		delete(c.waiting, name)
	}
}

func isReady(pod *corev1.Pod) bool {
	if pod.Status.Phase != corev1.PodRunning || len(pod.Status.ContainerStatuses) == 0 {
		return false
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

func (c *podClient) fail(err error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.ended = err
	for name, wanted := range c.waiting {
		close(wanted)
		delete(c.waiting, name)
	}
}

// create makes a pod and returns when it was asked for, and the pod once it is ready.
func (c *podClient) create(ctx context.Context, namespace, name, node, image string) (time.Time, readyPod, error) {
	ctx, cancel := context.WithTimeout(ctx, podLateLimit)
	defer cancel()
	wanted := make(chan readyPod, 1)
	c.mutex.Lock()
	ended := c.ended
	c.waiting[namespace+"/"+name] = wanted
	c.mutex.Unlock()
	if ended != nil {
		return time.Time{}, readyPod{}, ended
	}
	body, err := json.Marshal(corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PodSpec{
			NodeSelector: map[string]string{corev1.LabelHostname: node},
			Containers:   []corev1.Container{{Name: "main", Image: image}},
		},
	})
	if err != nil {
		return time.Time{}, readyPod{}, err
	}
	asked := time.Now()
	if _, err := c.do(ctx, http.MethodPost, "/api/v1/namespaces/"+namespace+"/pods", body, http.StatusCreated); err != nil {
		return asked, readyPod{}, err
	}
	select {
	case pod, ok := <-wanted:
		if !ok {
			return asked, pod, errors.New("the watch of pods ended")
		}
		return asked, pod, nil
	case <-ctx.Done():
		return asked, readyPod{}, fmt.Errorf("pod %s/%s is not ready: %w", namespace, name, ctx.Err())
	}
}

// remove deletes a pod and does not wait for its end.
func (c *podClient) remove(ctx context.Context, namespace, name string) error {
	_, err := c.do(ctx, http.MethodDelete, "/api/v1/namespaces/"+namespace+"/pods/"+name+"?gracePeriodSeconds=1", nil, http.StatusOK)
	return err
}

func (c *podClient) do(ctx context.Context, method, path string, body []byte, want int) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 16<<20))
	if err == nil && response.StatusCode != want {
		err = fmt.Errorf("%s %s: %s: %s", method, path, response.Status, answer)
	}
	return answer, err
}
