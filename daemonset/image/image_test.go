package image

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// programs writes files that stand for programs: what they hold does not matter to an image.
func programs(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	var all []string
	for _, pkg := range Packages() {
		path := filepath.Join(dir, filepath.Base(pkg))
		if err := os.WriteFile(path, []byte("program "+pkg), 0o600); err != nil {
			t.Fatal(err)
		}
		all = append(all, path)
	}
	return all
}

func makeIndex(t *testing.T, info Info) v1.ImageIndex {
	t.Helper()
	var images []v1.Image
	for _, architecture := range []string{"amd64", "arm64"} {
		img, err := New(info, architecture, programs(t)...)
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, img)
	}
	index, err := Index(info, images...)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// files returns what an image holds, by path, with modes.
func files(t *testing.T, img v1.Image) map[string]*tar.Header {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*tar.Header{}
	for _, l := range layers {
		content, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		defer content.Close()
		for r := tar.NewReader(content); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			found["/"+strings.TrimSuffix(h.Name, "/")] = h
		}
	}
	return found
}

func TestImageHoldsProgramsAndRoots(t *testing.T) {
	info := Info{Version: "v1.2.3", Revision: "abc", Created: time.Unix(1700000000, 0)}
	img, err := New(info, "arm64", programs(t)...)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		if err := validate.Layer(l); err != nil {
			t.Error(err)
		}
	}
	var names []string
	for name, h := range files(t, img) {
		if h.Typeflag == tar.TypeDir {
			continue
		}
		names = append(names, name)
		if want := map[bool]int64{true: 0o755, false: 0o644}[strings.HasPrefix(name, "/usr/bin/")]; h.Mode != want || h.Uid != 0 || h.Gid != 0 || !h.ModTime.Equal(info.Created) {
			t.Errorf("%s: mode %o, owner %d:%d, time %v", name, h.Mode, h.Uid, h.Gid, h.ModTime)
		}
	}
	slices.Sort(names)
	if want := []string{"/etc/passwd", "/etc/ssl/certs/ca-certificates.crt", "/usr/bin/kritis", "/usr/bin/kritis-controller"}; !slices.Equal(names, want) {
		t.Errorf("files: %v", names)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := config.Config
	if config.OS != "linux" || config.Architecture != "arm64" || !config.Created.Equal(info.Created) || c.User != "65532:65532" ||
		!slices.Equal(c.Entrypoint, []string{"/usr/bin/kritis"}) || c.Labels["org.opencontainers.image.version"] != "v1.2.3" || c.Labels["org.opencontainers.image.revision"] != "abc" {
		t.Errorf("%+v", config)
	}
}

func TestImageNeedsAVersion(t *testing.T) {
	if _, err := New(Info{}, "amd64", programs(t)...); err == nil {
		t.Error("an image without a version")
	}
}

func TestRootsAreAuthorities(t *testing.T) {
	data, err := Roots()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if !cert.IsCA {
			t.Errorf("%s is no authority", cert.Subject)
		}
		n++
	}
	if n < 50 {
		t.Errorf("there are %d", n)
	}
}

// The same files give the same bytes, wherever and whenever they are packed.
func TestImageIsReproducible(t *testing.T) {
	info := Info{Version: "v1"}
	var archives [2]bytes.Buffer
	for i := range archives {
		if err := WriteArchive(&archives[i], makeIndex(t, info), "example.com/kritis-node:v1"); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0].Bytes(), archives[1].Bytes()) {
		t.Error("two archives differ")
	}
	one, err := makeIndex(t, info).Digest()
	if err != nil {
		t.Fatal(err)
	}
	other, err := makeIndex(t, Info{Version: "v2"}).Digest()
	if err != nil {
		t.Fatal(err)
	}
	if one == other {
		t.Error("another version has the same digest")
	}
}

func TestArchiveIsAnImageLayout(t *testing.T) {
	const reference = "example.com/kritis-node:v1"
	index := makeIndex(t, Info{Version: "v1"})
	var archive bytes.Buffer
	if err := WriteArchive(&archive, index, reference); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for r := tar.NewReader(&archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.Clean("/"+h.Name))
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o755)
		} else {
			var content []byte
			if content, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(path, content, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	found, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := found.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	want, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 || manifest.Manifests[0].Digest != want || manifest.Manifests[0].Annotations["io.containerd.image.name"] != reference {
		t.Fatalf("%+v", manifest)
	}
	inner, err := found.ImageIndex(want)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(inner); err != nil {
		t.Error(err)
	}
}

// The Dockerfile cannot be run here; what it says has to be what is made.
func TestDockerfileSaysTheSame(t *testing.T) {
	data, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	entrypoint, err := json.Marshal([]string{Entrypoint})
	if err != nil {
		t.Fatal(err)
	}
	wants := []string{"FROM scratch", "USER " + User, "ENTRYPOINT " + string(entrypoint), "/image/" + rootsFile, "/image/" + programFolder + "/",
		"ENV PATH=/" + programFolder, "-trimpath -buildvcs=false -ldflags \"-s -w -buildid= -X main.version=$VERSION\""}
	wants = append(wants, Packages()...)
	for line := range strings.Lines(accounts) {
		wants = append(wants, "'"+strings.TrimSpace(line)+"'")
	}
	for label, value := range (Info{Version: "$VERSION"}).labels() {
		wants = append(wants, label+`="`+value+`"`)
	}
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)
	if version == nil || !strings.Contains(text, "golang:"+string(version[1])) {
		t.Errorf("it builds with another Go than go.mod's %s", version)
	}
}
