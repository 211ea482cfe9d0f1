package main

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// runtime is the runtime side of NRI, the code that containerd runs, and a content store.
type runtime struct {
	nri                    *adaptation.Adaptation
	server                 *grpc.Server
	nriSocket, storeSocket string
	// synchronized is closed when the first plugin is registered.
	synchronized chan struct{}
}

func startRuntime(dir string, store blobs) (*runtime, error) {
	logrus.SetOutput(io.Discard) // NRI's runtime side tells every step
	r := &runtime{nriSocket: filepath.Join(dir, "nri.sock"), storeSocket: filepath.Join(dir, "containerd.sock"), synchronized: make(chan struct{})}
	empty := filepath.Join(dir, "empty")
	if err := os.Mkdir(empty, 0o755); err != nil {
		return nil, err
	}
	once := sync.OnceFunc(func() { close(r.synchronized) })
	var serving atomic.Bool // before that, the runtime synchronizes with itself
	synchronize := func(ctx context.Context, cb adaptation.SyncCB) error {
		_, err := cb(ctx, nil, nil)
		if serving.Load() {
			once()
		}
		return err
	}
	update := func(context.Context, []*api.ContainerUpdate) ([]*api.ContainerUpdate, error) { return nil, nil }
	var err error
	r.nri, err = adaptation.New("containerd", "v2.4.2", synchronize, update, adaptation.WithSocketPath(r.nriSocket),
		adaptation.WithPluginPath(empty), adaptation.WithPluginConfigPath(empty))
	if err != nil {
		return nil, err
	}
	if err := r.nri.Start(); err != nil {
		return nil, err
	}
	serving.Store(true)
	listener, err := net.Listen("unix", r.storeSocket)
	if err != nil {
		r.nri.Stop()
		return nil, err
	}
	r.server = grpc.NewServer()
	contentapi.RegisterContentServer(r.server, &contentServer{store: store})
	go r.server.Serve(listener) // ends with stop
	return r, nil
}

func (r *runtime) stop() {
	r.server.Stop()
	r.nri.Stop()
}

// create asks the plugin about a container as containerd does.
func (r *runtime) create(ctx context.Context, c *api.Container) error {
	pod := &api.PodSandbox{Id: "pod", Name: "pod", Namespace: "prod"}
	_, err := r.nri.CreateContainer(ctx, &api.CreateContainerRequest{Pod: pod, Container: c})
	return err
}

type contentServer struct {
	contentapi.UnimplementedContentServer
	store blobs
}

// Read implements the part of the content service that the plugin uses.
func (c *contentServer) Read(req *contentapi.ReadContentRequest, out contentapi.Content_ReadServer) error {
	data, ok := c.store[digest.Digest(req.Digest)]
	if !ok {
		return status.Error(codes.NotFound, "content not found")
	}
	return out.Send(&contentapi.ReadContentResponse{Data: data})
}
