package supply

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/kritis-node/kritis-node/daemonset/image"
)

const (
	version = "v0.0.1-test"
	// architecture is one of those that are shipped. The other differs in nothing that is tested here.
	architecture = "arm64"
)

// release is what `make image` leaves.
type release struct {
	digest, archive, bill string
}

// TestRelease builds the image twice, as two people would: from sources in other folders, of other times and modes, on
// another day, with another environment. The first pushes it, and what is in the registry is looked at.
func TestRelease(t *testing.T) {
	sources := filepath.Join(t.TempDir(), "first")
	copySources(t, "../..", sources)
	elsewhere := filepath.Join(t.TempDir(), "a longer name, with a blank", "second")
	copySources(t, sources, elsewhere)
	age(t, elsewhere)

	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	first := build(t, sources, []string{"-push", host + "/kritis-node:" + version, "-insecure-push"})
	pushed := pull(t, host, first.digest)
	t.Run("bill of materials is a referrer", func(t *testing.T) { pushed.expectBill(t, first.bill) })
	t.Run("bill of materials is what the programs say", func(t *testing.T) { pushed.expectTrueBill(t, first.bill) })
	t.Run("documented commands verify the signature", func(t *testing.T) { verify(t, host, first.digest) })
	t.Run("second build is the same", func(t *testing.T) {
		// What is set here would change the programs, if the build let it.
		second := build(t, elsewhere, nil, "TZ=Asia/Shanghai", "LANG=tr_TR.UTF-8", "GOFLAGS=-v", "GOARM64=v9.0")
		expectSame(t, first, second)
	})
}

// build runs what `make image` runs, in a copy of the sources.
func build(t *testing.T, sources string, args []string, env ...string) release {
	t.Helper()
	archive := filepath.Join(t.TempDir(), "image.tar")
	args = append([]string{"run", "./daemonset/image/makeimage", "-version", version, "-architectures", architecture, "-output", archive}, args...)
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = sources
	cmd.Env = append(append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000", "GIT_DIR=/nonexistent"), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("making the image: %v: %s", err, stderr.String())
	}
	return release{digest: strings.TrimSpace(string(output)), archive: archive, bill: strings.TrimSuffix(archive, ".tar") + ".cdx.json"}
}

func expectSame(t *testing.T, a, b release) {
	t.Helper()
	if a.digest != b.digest {
		t.Errorf("digests of the images: %s and %s", a.digest, b.digest)
	}
	for what, files := range map[string][2]string{"archives": {a.archive, b.archive}, "bills of materials": {a.bill, b.bill}} {
		var contents [2][]byte
		for i, file := range files {
			var err error
			if contents[i], err = os.ReadFile(file); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(contents[0], contents[1]) {
			t.Errorf("the %s differ", what)
		}
	}
}

// pushed is an image in a registry.
type pushed struct {
	at      name.Digest
	options []remote.Option
	index   v1.ImageIndex
}

func pull(t *testing.T, host, digest string) pushed {
	t.Helper()
	at, err := name.NewDigest(host+"/kritis-node@"+digest, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	p := pushed{at: at, options: []remote.Option{remote.WithContext(t.Context()), remote.WithTransport(&http.Transport{DisableKeepAlives: true})}}
	if p.index, err = remote.Index(at, p.options...); err != nil {
		t.Fatal(err)
	}
	return p
}

// expectBill expects exactly one referrer of the bill's type, which is the file.
func (p pushed) expectBill(t *testing.T, file string) {
	// Not filtered: this registry takes the type from the config only, where others look at the artifact's own.
	referrers, err := remote.Referrers(p.at, p.options...)
	if err != nil {
		t.Fatal(err)
	}
	listed, err := referrers.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(listed.Manifests) != 1 {
		t.Fatalf("referrers: %+v", listed.Manifests)
	}
	artifact, err := remote.Image(p.at.Context().Digest(listed.Manifests[0].Digest.String()), p.options...)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := artifact.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if manifest.ArtifactType != image.BillType || manifest.Subject == nil || manifest.Subject.Digest.String() != p.at.DigestStr() {
		t.Errorf("the artifact is %+v", manifest)
	}
	layers, err := artifact.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("layers: %v, %v", layers, err)
	}
	content, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	attached, err := io.ReadAll(content)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(attached, want) {
		t.Error("what is attached is not the file")
	}
}

// expectTrueBill takes the programs out of the image, asks `go version -m` what they are made of, and compares.
func (p pushed) expectTrueBill(t *testing.T, file string) {
	programs := p.programs(t)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var bom cyclonedx.BOM
	if err := cyclonedx.NewBOMDecoder(f, cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	components, needs := map[string]cyclonedx.Component{}, map[string][]string{}
	for _, c := range *bom.Components {
		components[c.BOMRef] = c
	}
	for _, d := range *bom.Dependencies {
		needs[d.Ref] = *d.Dependencies
	}
	if bom.Metadata.Component.Version != version || bom.Metadata.Timestamp != time.Unix(1700000000, 0).UTC().Format(time.RFC3339) {
		t.Errorf("the bill is one of %+v", bom.Metadata)
	}
	if len(programs) != len(image.Packages()) {
		t.Errorf("programs in the image: %v", programs)
	}
	used := map[string]bool{}
	for program, hash := range programs {
		ref := filepath.Base(program) + "/linux/" + architecture
		if c := components[ref]; c.Hashes == nil || (*c.Hashes)[0].Value != hash || !slices.Contains(needs["image"], ref) {
			t.Errorf("%s has the SHA-256 %s, the bill has %+v", program, hash, c)
		}
		used[ref] = true
		var listed []string
		for _, module := range needs[ref] {
			c := components[module]
			used[module] = true
			listed = append(listed, strings.Join([]string{c.Name, c.Version, hashOf(c)}, " "))
		}
		if want := linked(t, program); !slices.Equal(sorted(listed), want) {
			t.Errorf("%s: the bill has\n%s\n`go version -m` says\n%s", ref, strings.Join(sorted(listed), "\n"), strings.Join(want, "\n"))
		}
	}
	for ref, c := range components {
		if !used[ref] && c.Name != "golang.org/x/crypto/x509roots/fallback" {
			t.Errorf("the bill has %s, and nothing in the image does", ref)
		}
	}
	if len(components) != len(used)+1 {
		t.Errorf("the bill does not tell where the root certificates are from: %v", slices.Collect(maps.Keys(components)))
	}
}

// programs writes the programs of the image into a folder, and returns their hashes by path.
func (p pushed) programs(t *testing.T) map[string]string {
	t.Helper()
	manifest, err := p.index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	img, err := p.index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	files := mutate.Extract(img)
	defer files.Close()
	dir, found := t.TempDir(), map[string]string{}
	for r := tar.NewReader(files); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg || filepath.Dir(h.Name) != "usr/bin" {
			continue
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.Base(h.Name))
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		hash, _, err := v1.SHA256(bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		found[path] = hash.Hex
	}
}

// linked returns what a program was linked from as "module version hash", by Go's own tool; the standard library first has
// no hash.
func linked(t *testing.T, program string) []string {
	t.Helper()
	output, err := exec.CommandContext(context.WithoutCancel(t.Context()), "go", "version", "-m", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	var modules []string
	for line := range strings.Lines(string(output)) {
		fields := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, program):
			modules = append(modules, "stdlib "+strings.TrimPrefix(fields[len(fields)-1], "go")+" ")
		case fields[0] == "dep":
			hash, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(fields[3], "h1:"))
			if err != nil {
				t.Fatal(err)
			}
			modules = append(modules, strings.Join([]string{fields[1], fields[2], hex.EncodeToString(hash)}, " "))
		}
	}
	if len(modules) < 10 {
		t.Fatalf("%s is made of %v: this test shows nothing", program, modules)
	}
	return sorted(modules)
}

func hashOf(c cyclonedx.Component) string {
	if c.Hashes == nil {
		return ""
	}
	return (*c.Hashes)[0].Value
}

func sorted(lines []string) []string { return slices.Sorted(slices.Values(lines)) }

// copySources copies a checkout without what was built in it and without its history.
func copySources(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if name == ".git" || name == "bin" {
			return filepath.SkipDir
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(to, name), 0o755)
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), content, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// age gives the files another time and other modes.
func age(t *testing.T, dir string) {
	t.Helper()
	at := time.Now().Add(-1000 * time.Hour)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			err = os.Chmod(path, 0o600)
		}
		if err == nil {
			err = os.Chtimes(path, at, at)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
