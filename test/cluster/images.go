package cluster

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// MarkerFile is where an image of [BusyboxImage] holds its marker.
const MarkerFile = "/marker"

// idle waits for ever and ends at once on SIGTERM, which PID 1 of a container ignores unless it says otherwise.
const idle = `trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done`

// busybox is the layer that many images share. To pack it takes seconds under the race detector.
var busybox = sync.OnceValues(func() (v1.Layer, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("%w: run test/tools/install packages", err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading busybox: %w", err)
	}
	return layer(
		file{name: "bin/busybox", mode: 0o755, content: program},
		file{name: "bin/sh", link: "busybox"},
		file{name: "bin/sleep", link: "busybox"},
		file{name: "bin/cat", link: "busybox"},
	)
})

// BusyboxImage returns a small image that can run: Debian's static busybox, and a file that holds marker. Images with
// the same marker are the same; with another, they differ in layers and config. Its process waits until it is stopped.
func BusyboxImage(marker string) (v1.Image, error) {
	base, err := busybox()
	if err != nil {
		return nil, err
	}
	mark, err := layer(file{name: MarkerFile[1:], mode: 0o644, content: []byte(marker)})
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), base, mark)
	if err != nil {
		return nil, fmt.Errorf("adding layers: %w", err)
	}
	image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	return changeConfig(image, func(config *v1.ConfigFile) {
		config.OS, config.Architecture = "linux", runtime.GOARCH
		config.Config.Env = []string{"PATH=/bin"}
		config.Config.Entrypoint = []string{"/bin/sh", "-c", idle}
	})
}

// ProgramImage returns an image that holds a statically linked program, such as [Build] makes, and starts it without
// arguments.
func ProgramImage(path string) (v1.Image, error) {
	program, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading a program: %w", err)
	}
	target := "bin/" + filepath.Base(path)
	content, err := layer(file{name: target, mode: 0o755, content: program})
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), content)
	if err != nil {
		return nil, fmt.Errorf("adding a layer: %w", err)
	}
	return changeConfig(mutate.ConfigMediaType(image, types.OCIConfigJSON), func(config *v1.ConfigFile) {
		config.OS, config.Architecture = "linux", runtime.GOARCH
		config.Config.Env = []string{"PATH=/bin"}
		config.Config.Entrypoint = []string{"/" + target}
	})
}

// WithEnv returns the image with another environment variable ("NAME=value"): same layers, another config.
func WithEnv(image v1.Image, variable string) (v1.Image, error) {
	return changeConfig(image, func(config *v1.ConfigFile) {
		config.Config.Env = append(config.Config.Env, variable)
	})
}

// Index returns an index of two manifests, linux/amd64 and linux/arm64: for the architecture that this runs on the
// image, for the other one the same layers with a config that says so, which therefore cannot run there.
func Index(image v1.Image) (v1.ImageIndex, error) {
	foreign := "arm64"
	if runtime.GOARCH == foreign {
		foreign = "amd64"
	}
	other, err := changeConfig(image, func(config *v1.ConfigFile) { config.Architecture = foreign })
	if err != nil {
		return nil, err
	}
	platform := func(architecture string) v1.Descriptor {
		return v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}}
	}
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: image, Descriptor: platform(runtime.GOARCH)},
		mutate.IndexAddendum{Add: other, Descriptor: platform(foreign)},
	), nil
}

func changeConfig(image v1.Image, change func(*v1.ConfigFile)) (v1.Image, error) {
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("reading the image's config: %w", err)
	}
	config = config.DeepCopy()
	change(config)
	changed, err := mutate.ConfigFile(image, config)
	if err != nil {
		return nil, fmt.Errorf("changing the image's config: %w", err)
	}
	return changed, nil
}

type file struct {
	name    string
	mode    int64
	content []byte
	link    string // the target, for a symbolic link
}

// layer packs files without times or owners, so that the same files always give the same digest.
func layer(files ...file) (v1.Layer, error) {
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	for _, file := range files {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: file.name, Mode: file.mode, Size: int64(len(file.content))}
		if file.link != "" {
			header = &tar.Header{Typeflag: tar.TypeSymlink, Name: file.name, Linkname: file.link, Mode: 0o777}
		}
		if err := writer.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("packing %s: %w", file.name, err)
		}
		if _, err := writer.Write(file.content); err != nil {
			return nil, fmt.Errorf("packing %s: %w", file.name, err)
		}
	}
	if err := writer.Close(); err != nil {
		return nil, fmt.Errorf("packing a layer: %w", err)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil }
	packed, err := tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
	if err != nil {
		return nil, fmt.Errorf("packing a layer: %w", err)
	}
	return packed, nil
}
