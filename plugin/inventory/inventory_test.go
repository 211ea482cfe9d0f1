package inventory

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server answers with the types that containerd and CRI generate, so that a wrong field number shows.
type server struct {
	runtime.UnimplementedRuntimeServiceServer
	containersapi.UnimplementedContainersServer

	stopped *runtime.StopContainerRequest
}

type namespaceServer struct {
	namespacesapi.UnimplementedNamespacesServer
}

type taskServer struct {
	tasksapi.UnimplementedTasksServer
}

func (*server) ListPodSandbox(context.Context, *runtime.ListPodSandboxRequest) (*runtime.ListPodSandboxResponse, error) {
	return &runtime.ListPodSandboxResponse{Items: []*runtime.PodSandbox{
		{Id: "p1", Metadata: &runtime.PodSandboxMetadata{Name: "name", Uid: "uid", Namespace: "ns", Attempt: 3}, State: runtime.PodSandboxState_SANDBOX_NOTREADY,
			CreatedAt: 9, Labels: map[string]string{"a": "b"}, RuntimeHandler: "kata"},
		{Id: "p2"},
	}}, nil
}

func (*server) ListContainers(context.Context, *runtime.ListContainersRequest) (*runtime.ListContainersResponse, error) {
	return &runtime.ListContainersResponse{Containers: []*runtime.Container{
		{Id: "c1", PodSandboxId: "p1", Metadata: &runtime.ContainerMetadata{Name: "main", Attempt: 2}, State: runtime.ContainerState_CONTAINER_RUNNING, CreatedAt: 1e18 + 5,
			Image:    &runtime.ImageSpec{Image: "image", UserSpecifiedImage: "written", RuntimeHandler: "x", Annotations: map[string]string{"a": "b"}},
			ImageRef: "sha256:config", ImageId: "other", Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"}},
		{Id: "unwanted"},
	}}, nil
}

func (s *server) StopContainer(_ context.Context, r *runtime.StopContainerRequest) (*runtime.StopContainerResponse, error) {
	s.stopped = r
	return &runtime.StopContainerResponse{}, nil
}

func (*server) Get(ctx context.Context, r *containersapi.GetContainerRequest) (*containersapi.GetContainerResponse, error) {
	if ns, _ := namespaces.Namespace(ctx); ns != "k8s.io" || r.ID != "c1" {
		return nil, status.Error(codes.NotFound, "no such container")
	}
	return &containersapi.GetContainerResponse{Container: &containersapi.Container{
		ID: "c1", Image: "name", Labels: map[string]string{"a": "b"}, SnapshotKey: "k", Extensions: map[string]*anypb.Any{"x": {TypeUrl: "t", Value: []byte("v")}},
		Spec: &anypb.Any{TypeUrl: "t", Value: []byte(`{"annotations":{"k":"v"},"mounts":[{"source":"/a","destination":"/b"},{"source":"/c"}],"process":{}}`)},
	}}, nil
}

func (namespaceServer) List(context.Context, *namespacesapi.ListNamespacesRequest) (*namespacesapi.ListNamespacesResponse, error) {
	return &namespacesapi.ListNamespacesResponse{Namespaces: []*namespacesapi.Namespace{{Name: "k8s.io", Labels: map[string]string{"a": "b"}}, {Name: "moby"}}}, nil
}

func (taskServer) List(ctx context.Context, _ *tasksapi.ListTasksRequest) (*tasksapi.ListTasksResponse, error) {
	ns, _ := namespaces.Namespace(ctx)
	return &tasksapi.ListTasksResponse{Tasks: []*task.Process{
		{ID: ns + "-runs", ContainerID: "x", Pid: 7, Status: task.Status_RUNNING}, {ID: ns + "-paused", Pid: 8, Status: task.Status_PAUSED},
		{ID: ns + "-over", Pid: 9, Status: task.Status_STOPPED}, {ID: ns + "-created"},
	}}, nil
}

func start(t *testing.T) (*Client, *server) {
	t.Helper()
	dir, err := os.MkdirTemp("", "inventory-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{}
	g := grpc.NewServer()
	runtime.RegisterRuntimeServiceServer(g, s)
	containersapi.RegisterContainersServer(g, s)
	namespacesapi.RegisterNamespacesServer(g, namespaceServer{})
	tasksapi.RegisterTasksServer(g, taskServer{})
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(listener) }()
	conn, err := grpc.NewClient("unix://"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		g.Stop()
		<-ended
	})
	return New(conn), s
}

func TestAgainstGeneratedTypes(t *testing.T) {
	c, s := start(t)
	ctx := t.Context()
	for name, ask := range map[string]struct {
		ask  func() (any, error)
		want any
	}{
		"pods": {func() (any, error) { return c.Pods(ctx) }, map[string]Pod{"p1": {"ns", "name", "uid", "kata"}, "p2": {}}},
		"containers": {func() (any, error) { return c.Containers(ctx, func(id string) bool { return id == "c1" }) },
			[]Container{{"c1", "p1", "main", "image", "written", "sha256:config", time.Unix(0, 1e18+5)}}},
		"namespaces": {func() (any, error) { return c.Namespaces(ctx) }, []string{"k8s.io", "moby"}},
		"tasks":      {func() (any, error) { return c.Tasks(ctx, "moby") }, []string{"moby-runs", "moby-paused"}},
		"record":     {func() (any, error) { return c.Record(ctx, "k8s.io", "c1") }, Record{"name", map[string]string{"k": "v"}, []string{"/a", "/c"}}},
	} {
		got, err := ask.ask()
		if err != nil || !cmp.Equal(got, ask.want) {
			t.Errorf("%s: %v: %s", name, err, cmp.Diff(ask.want, got))
		}
	}
	if _, err := c.Record(ctx, "moby", "c1"); !errdefs.IsNotFound(err) {
		t.Errorf("a container that is not there: %v", err)
	}
	if err := c.Stop(ctx, "c1", 90*time.Second); err != nil || s.stopped.GetContainerId() != "c1" || s.stopped.GetTimeout() != 90 {
		t.Errorf("%v: %v", err, s.stopped)
	}
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte{10, 3, 'a', 'b', 'c', 24, 1})
	f.Add([]byte{10, 255, 255, 255, 255, 15})
	f.Add([]byte{11, 12})
	f.Fuzz(func(t *testing.T, data []byte) {
		read := 0
		err := message(data).each(func(_ protowire.Number, value message, _ uint64) error {
			read += len(value)
			return nil
		})
		if read > len(data) || err != nil && !errors.Is(err, errWire) {
			t.Errorf("%d of %d bytes, %v", read, len(data), err)
		}
		_, _, _ = parsePod(data)
		_, _ = parseContainer(data)
	})
}
