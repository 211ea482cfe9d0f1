package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// WriteArchive writes an OCI image layout with the index in it, as one tar file. reference ("host/repository:tag") is the
// name under which `ctr images import` and others know it.
func WriteArchive(w io.Writer, index v1.ImageIndex, reference string) error {
	dir, err := os.MkdirTemp("", "kritis-image-")
	if err != nil {
		return fmt.Errorf("writing the image: %w", err)
	}
	defer os.RemoveAll(dir)
	to, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("writing the image: %w", err)
	}
	// The first is the specification's; containerd looks for the second first.
	err = to.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": reference, "io.containerd.image.name": reference,
	}))
	if err != nil {
		return fmt.Errorf("writing the image: %w", err)
	}
	if err := archive(w, dir); err != nil {
		return fmt.Errorf("writing the image: %w", err)
	}
	return nil
}

// archive packs a folder. WalkDir goes by name, so the same files give the same bytes.
func archive(w io.Writer, dir string) error {
	t := tar.NewWriter(w)
	files := os.DirFS(dir)
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		header := tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, ModTime: time.Unix(0, 0)}
		if entry.IsDir() {
			return t.WriteHeader(&header)
		}
		content, err := files.Open(name)
		if err != nil {
			return err
		}
		defer content.Close()
		info, err := content.Stat()
		if err != nil {
			return err
		}
		header.Typeflag, header.Name, header.Mode, header.Size = tar.TypeReg, name, 0o644, info.Size()
		if err := t.WriteHeader(&header); err != nil {
			return err
		}
		_, err = io.Copy(t, content)
		return err
	})
	return errors.Join(err, t.Close())
}
