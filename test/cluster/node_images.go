package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// ImportImage gives the node an image under a name, without a registry.
func (n *Node) ImportImage(ctx context.Context, reference string, image v1.Image) error {
	tag, err := name.NewTag(reference)
	if err != nil {
		return fmt.Errorf("importing an image: %w", err)
	}
	archive, err := os.CreateTemp(n.dir, "import-")
	if err != nil {
		return fmt.Errorf("importing an image: %w", err)
	}
	defer os.Remove(archive.Name())
	defer archive.Close()
	if err := tarball.Write(tag, image, archive); err != nil {
		return fmt.Errorf("writing image %s: %w", reference, err)
	}
	if _, err := n.Ctr(ctx, "images", "import", "--local", archive.Name()); err != nil {
		return fmt.Errorf("importing image %s: %w", reference, err)
	}
	// CRI learns of it by an event.
	return Await(ctx, "CRI to know image "+reference, func(ctx context.Context) error {
		_, err := n.cri.ImageID(ctx, reference)
		return err
	})
}

// Ctr runs containerd's own client in the namespace of CRI, and returns its output.
func (n *Node) Ctr(ctx context.Context, args ...string) (string, error) {
	args = append([]string{"--address", n.ContainerdSocket(), "--namespace", "k8s.io"}, args...)
	output, err := exec.CommandContext(ctx, filepath.Join(n.tools, "ctr"), args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ctr: %w: %s", err, strings.TrimSpace(string(output)))
	}
	return string(output), nil
}
