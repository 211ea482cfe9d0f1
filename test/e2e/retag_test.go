package e2e

import (
	"os"
	"path/filepath"
	"testing"

	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// moves is how often a name is moved. CRI learns of each move by an event, a moment later; in between it takes the
// configuration from its cache and the layers from the live store.
const moves = 40

// testRetagged moves the name of an attested image to other content and back, behind the back of CRI. Whatever the
// runtime makes of it, under the attested name nothing else may run.
func (s *site) testRetagged(t *testing.T) {
	for _, image := range []string{"by ID", "by reference"} {
		t.Run(image, func(t *testing.T) {
			signed, other := s.pushSigned(t, "retag/signed"), s.push(t, "retag/other")
			spec := cluster.ContainerSpec{Image: s.pull(t, signed), UserSpecifiedImage: signed}
			if image == "by reference" {
				spec.Image = signed
			}
			s.pull(t, other)
			container, err := s.runSpec(t, prod, spec)
			check(t, err)
			content := s.marker(t, container)
			move := s.mover(t, signed)
			started, refused := 0, 0
			for i := range moves {
				move([]string{other, signed}[i%2])
				container, err := s.runSpec(t, prod, spec)
				if err != nil {
					refused++
					continue
				}
				started++
				if got := s.marker(t, container); got != content {
					t.Fatalf("a container of %s runs the content of another image: %q", signed, got)
				}
				check(t, s.Node.CRI().RemoveContainer(t.Context(), container))
			}
			t.Logf("%d containers started, %d were refused", started, refused)
			expectRefused(t, s.run(t, prod, other))
		})
	}
}

// mover returns a function that makes a name in containerd's store lead to what another name leads to.
func (s *site) mover(t *testing.T, name string) func(target string) {
	t.Helper()
	connection, err := grpc.NewClient("unix://"+s.Node.ContainerdSocket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(t, err)
	t.Cleanup(func() {
		if err := connection.Close(); err != nil {
			t.Error(err)
		}
	})
	images := imagesapi.NewImagesClient(connection)
	ctx := namespaces.WithNamespace(t.Context(), "k8s.io")
	// As they are before anything moves.
	targets := map[string]*imagesapi.Image{}
	list, err := images.List(ctx, &imagesapi.ListImagesRequest{})
	check(t, err)
	for _, image := range list.GetImages() {
		targets[image.GetName()] = image
	}
	return func(target string) {
		t.Helper()
		moved := &imagesapi.Image{Name: name, Labels: targets[name].GetLabels(), Target: targets[target].GetTarget()}
		_, err := images.Update(ctx, &imagesapi.UpdateImageRequest{Image: moved})
		check(t, err)
	}
}

// marker reads, through the mounted root of a running container, which image it was made from.
func (s *site) marker(t *testing.T, container string) string {
	t.Helper()
	root := filepath.Join(s.Node.StateDir(), "io.containerd.runtime.v2.task", "k8s.io", container, "rootfs")
	content, err := os.ReadFile(filepath.Join(root, cluster.MarkerFile))
	check(t, err)
	return string(content)
}
