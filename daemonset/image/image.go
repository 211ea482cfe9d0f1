package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	// programFolder is where programs are, and Entrypoint the one that a container starts unless it is told otherwise.
	programFolder = "usr/bin"
	// Entrypoint is the program that a container starts, unless its pod names another one.
	Entrypoint = "/usr/bin/kritis"
	// rootsFile is where Go's programs look first.
	rootsFile = "etc/ssl/certs/ca-certificates.crt"
	// User is who a container runs as unless its pod says otherwise: nobody in particular.
	User = "65532:65532"
	// accounts is /etc/passwd: it names the user, for what asks who it is.
	accounts = "root:x:0:0:root:/:/nonexistent\nnonroot:x:65532:65532:nonroot:/nonexistent:/nonexistent\n"
)

// Info is what an image says of itself. Version is required.
type Info struct {
	Version string
	// Revision is the commit, if known.
	Revision string
	// Created is the time of the image and of all files in it; the zero value is 1970, not today.
	Created time.Time
}

func (i Info) created() time.Time {
	if i.Created.IsZero() {
		return time.Unix(0, 0).UTC()
	}
	return i.Created.UTC()
}

// labels are those of the OCI image specification.
func (i Info) labels() map[string]string {
	labels := map[string]string{
		"org.opencontainers.image.title":         "kritis-node",
		"org.opencontainers.image.description":   "keeps unattested container images from running",
		"org.opencontainers.image.source":        "https://github.com/kritis-node/kritis-node",
		"org.opencontainers.image.documentation": "https://github.com/kritis-node/kritis-node/tree/main/docs",
		"org.opencontainers.image.licenses":      "Apache-2.0",
		"org.opencontainers.image.version":       i.Version,
	}
	if i.Revision != "" {
		labels["org.opencontainers.image.revision"] = i.Revision
	}
	return labels
}

// New returns the image of one architecture with these programs.
func New(info Info, architecture string, programs ...string) (v1.Image, error) {
	if info.Version == "" {
		return nil, errors.New("making an image: it has no version")
	}
	roots, err := Roots()
	if err != nil {
		return nil, err
	}
	// What seldom changes comes first: it is pulled once.
	base, err := layer(info.created(), file{rootsFile, 0o644, roots}, file{"etc/passwd", 0o644, []byte(accounts)})
	if err != nil {
		return nil, err
	}
	var files []file
	for _, program := range programs {
		content, err := os.ReadFile(program)
		if err != nil {
			return nil, fmt.Errorf("making an image: %w", err)
		}
		files = append(files, file{programFolder + "/" + filepath.Base(program), 0o755, content})
	}
	top, err := layer(info.created(), files...)
	if err != nil {
		return nil, err
	}
	at := v1.Time{Time: info.created()}
	img, err := mutate.Append(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON),
		mutate.Addendum{Layer: base, History: v1.History{Created: at, CreatedBy: "roots of certificate authorities"}},
		mutate.Addendum{Layer: top, History: v1.History{Created: at, CreatedBy: "programs of kritis-node " + info.Version}})
	if err != nil {
		return nil, fmt.Errorf("making an image: %w", err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("making an image: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", architecture, at
	config.Config = v1.Config{
		Entrypoint: []string{Entrypoint}, Env: []string{"PATH=/" + programFolder}, User: User, WorkingDir: "/", Labels: info.labels(),
	}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return nil, fmt.Errorf("making an image: %w", err)
	}
	return img, nil
}

// Index returns an index of images of several architectures.
func Index(info Info, images ...v1.Image) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, img := range images {
		config, err := img.ConfigFile()
		if err != nil {
			return nil, fmt.Errorf("making an index: %w", err)
		}
		platform := v1.Platform{OS: config.OS, Architecture: config.Architecture}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &platform}})
	}
	annotated, ok := mutate.Annotations(index, info.labels()).(v1.ImageIndex)
	if !ok {
		return nil, errors.New("making an index: annotating it gave something else")
	}
	return annotated, nil
}
