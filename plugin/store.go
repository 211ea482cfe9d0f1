package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/snapshots"
	snapshotsproxy "github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kritis-node/kritis-node/verifier"
)

// criNamespace is containerd's namespace for everything that came through CRI.
const criNamespace = "k8s.io"

// errAbsent says that the runtime has no such blob or snapshot, as opposed to "could not ask".
var errAbsent = errors.New("not in the runtime's store")

// imageRecord is one name in the runtime's image store.
type imageRecord struct {
	name   string
	target verifier.Digest
}

// snapshot is the part of a snapshot record that says what is in it.
type snapshot struct {
	parent         string
	uidMap, gidMap string
}

// runtimeStore is what the plugin reads from the runtime's own stores.
type runtimeStore interface {
	// blob returns the content of a digest, checked against it. errAbsent if the store has none.
	blob(ctx context.Context, d verifier.Digest, maxSize int64) ([]byte, error)
	// images returns every name in the image store.
	images(ctx context.Context) ([]imageRecord, error)
	// snapshot returns the snapshot with the key. errAbsent if there is none in any accepted snapshotter.
	snapshot(ctx context.Context, key string) (snapshot, error)
}

// containerdStore reads containerd's stores over its socket.
type containerdStore struct {
	conn         *grpc.ClientConn
	content      contentapi.ContentClient
	imageClient  imagesapi.ImagesClient
	snapshotters []namedSnapshotter
}

type namedSnapshotter struct {
	name string
	snapshots.Snapshotter
}

// newContainerdStore returns a store that connects when it is first needed and reconnects when containerd restarts.
func newContainerdStore(socket string, snapshotters []string) (*containerdStore, error) {
	conn, err := grpc.NewClient("unix://"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithIdleTimeout(0),
		grpc.WithConnectParams(grpc.ConnectParams{
			// A restarting containerd must not be met with gRPC's usual backoff of up to two minutes.
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond},
			MinConnectTimeout: time.Second,
		}),
		// Callers come with a deadline: within it, wait for a restarting containerd instead of failing at once.
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to containerd at %s: %w", socket, err)
	}
	s := &containerdStore{conn: conn, content: contentapi.NewContentClient(conn), imageClient: imagesapi.NewImagesClient(conn)}
	for _, name := range snapshotters {
		s.snapshotters = append(s.snapshotters, namedSnapshotter{name, snapshotsproxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), name)})
	}
	return s, nil
}

func (s *containerdStore) close() error { return s.conn.Close() }

func (s *containerdStore) blob(ctx context.Context, d verifier.Digest, maxSize int64) ([]byte, error) {
	ctx, cancel := context.WithCancel(namespaces.WithNamespace(ctx, criNamespace))
	defer cancel() // ends the stream, also when we stop reading half-way
	stream, err := s.content.Read(ctx, &contentapi.ReadContentRequest{Digest: string(d)})
	if err != nil {
		return nil, absentOr(err)
	}
	var data []byte
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, absentOr(err)
		}
		if int64(len(data)+len(part.Data)) > maxSize {
			return nil, fmt.Errorf("blob %s is larger than %d bytes", d, maxSize)
		}
		data = append(data, part.Data...)
	}
	if got := digest.FromBytes(data); got != digest.Digest(d) {
		return nil, fmt.Errorf("blob %s in containerd's content store has digest %s: the store is damaged", d, got)
	}
	return data, nil
}

func (s *containerdStore) images(ctx context.Context) ([]imageRecord, error) {
	res, err := s.imageClient.List(namespaces.WithNamespace(ctx, criNamespace), &imagesapi.ListImagesRequest{})
	if err != nil {
		return nil, errgrpc.ToNative(err)
	}
	records := make([]imageRecord, 0, len(res.Images))
	for _, i := range res.Images {
		records = append(records, imageRecord{name: i.Name, target: verifier.Digest(i.GetTarget().GetDigest())})
	}
	return records, nil
}

func (s *containerdStore) snapshot(ctx context.Context, key string) (snapshot, error) {
	ctx = namespaces.WithNamespace(ctx, criNamespace)
	for _, sn := range s.snapshotters {
		info, err := sn.Stat(ctx, key)
		if errdefs.IsNotFound(err) || errdefs.IsInvalidArgument(err) {
			continue // not in this one, or this runtime does not have it
		}
		if err != nil {
			return snapshot{}, fmt.Errorf("ask snapshotter %s: %w", sn.name, err)
		}
		return snapshot{
			parent: info.Parent,
			uidMap: info.Labels[snapshots.LabelSnapshotUIDMapping],
			gidMap: info.Labels[snapshots.LabelSnapshotGIDMapping],
		}, nil
	}
	return snapshot{}, errAbsent
}

// absentOr keeps "there is none" apart from "could not ask".
func absentOr(err error) error {
	err = errgrpc.ToNative(err)
	if errdefs.IsNotFound(err) {
		return errAbsent
	}
	return err
}
