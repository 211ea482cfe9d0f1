package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// CRI is a client that behaves as kubelet does where that matters, and lets a caller say what kubelet would not. It
// survives restarts of containerd. Its methods may be called from any goroutine.
type CRI struct {
	connection *grpc.ClientConn
	// Runtime and Image are the raw clients, for calls that have no method here.
	Runtime runtime.RuntimeServiceClient
	Image   runtime.ImageServiceClient

	logs   string // folder for the output of containers
	cgroup string
	// sequence makes names unique: CRI refuses a second pod or container of the same name and attempt.
	sequence atomic.Uint32

	mutex sync.Mutex // guards pods
	// pods holds what pods were made with, because CreateContainer has to repeat it.
	pods map[string]*runtime.PodSandboxConfig
}

func newCRI(n *Node) (*CRI, error) {
	connection, err := grpc.NewClient("unix://"+n.CRISocket(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		// After a restart the connection must come back at once.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 5 * time.Millisecond, Multiplier: 1.5, MaxDelay: 50 * time.Millisecond},
			MinConnectTimeout: time.Second,
		}))
	if err != nil {
		return nil, fmt.Errorf("creating a CRI client: %w", err)
	}
	return &CRI{
		connection: connection,
		Runtime:    runtime.NewRuntimeServiceClient(connection),
		Image:      runtime.NewImageServiceClient(connection),
		logs:       n.path("logs"),
		cgroup:     n.cgroup,
		pods:       map[string]*runtime.PodSandboxConfig{},
	}, nil
}

func (c *CRI) close() error { return c.connection.Close() }

// ready says why containers cannot be run. The network's readiness does not matter: pods use the node's.
func (c *CRI) ready(ctx context.Context) error {
	status, err := c.Runtime.Status(ctx, &runtime.StatusRequest{})
	if err != nil {
		return err
	}
	for _, condition := range status.GetStatus().GetConditions() {
		if condition.GetType() == runtime.RuntimeReady && !condition.GetStatus() {
			return fmt.Errorf("the runtime is not ready: %s", condition.GetMessage())
		}
	}
	return nil
}

// Login is what a registry asks for.
type Login struct{ Username, Password string }

// PullImage pulls as kubelet does and returns the image ID, which is the config digest ("sha256:…").
func (c *CRI) PullImage(ctx context.Context, reference string) (string, error) {
	return c.pull(ctx, reference, nil)
}

// PullImageWithLogin pulls with a pull secret.
func (c *CRI) PullImageWithLogin(ctx context.Context, reference string, login Login) (string, error) {
	return c.pull(ctx, reference, &runtime.AuthConfig{Username: login.Username, Password: login.Password})
}

func (c *CRI) pull(ctx context.Context, reference string, auth *runtime.AuthConfig) (string, error) {
	response, err := c.Image.PullImage(ctx, &runtime.PullImageRequest{
		Image: &runtime.ImageSpec{Image: reference, UserSpecifiedImage: reference},
		Auth:  auth,
	})
	if err != nil {
		return "", fmt.Errorf("pulling image %s: %w", reference, err)
	}
	return response.GetImageRef(), nil
}

// Image is an image as CRI lists it.
type Image struct {
	ID      string   // config digest
	Tags    []string // references with tags
	Digests []string // references with digests
}

// Images lists the images of the node, the pause image among them.
func (c *CRI) Images(ctx context.Context) ([]Image, error) {
	response, err := c.Image.ListImages(ctx, &runtime.ListImagesRequest{})
	if err != nil {
		return nil, fmt.Errorf("listing images: %w", err)
	}
	var images []Image
	for _, image := range response.GetImages() {
		images = append(images, Image{ID: image.GetId(), Tags: image.GetRepoTags(), Digests: image.GetRepoDigests()})
	}
	return images, nil
}

// ImageID returns the ID of an image that the node has, given by a reference or an ID.
func (c *CRI) ImageID(ctx context.Context, reference string) (string, error) {
	response, err := c.Image.ImageStatus(ctx, &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: reference}})
	if err != nil {
		return "", fmt.Errorf("looking up image %s: %w", reference, err)
	}
	if response.GetImage() == nil {
		return "", errors.New("no image " + reference + " on this node")
	}
	return response.GetImage().GetId(), nil
}

// HaveImage makes sure that the node has an image, and returns its ID.
func (c *CRI) HaveImage(ctx context.Context, reference string) (string, error) {
	if id, err := c.ImageID(ctx, reference); err == nil {
		return id, nil
	}
	return c.PullImage(ctx, reference)
}

// RemoveImage removes an image with all its names, given by a reference or an ID.
func (c *CRI) RemoveImage(ctx context.Context, reference string) error {
	_, err := c.Image.RemoveImage(ctx, &runtime.RemoveImageRequest{Image: &runtime.ImageSpec{Image: reference}})
	if err != nil {
		return fmt.Errorf("removing image %s: %w", reference, err)
	}
	return nil
}
