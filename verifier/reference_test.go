package verifier

import (
	"strings"
	"testing"

	"github.com/distribution/reference"
)

const hexA = "ddba4d27a7ffc3f86dd6c2f92041af252a1f23a8e742c90e6e1297bfa1bc0c45"

func TestParseReference(t *testing.T) {
	const at = "@sha256:" + hexA
	for _, test := range []struct{ name, in, repository, tag, digest string }{
		{"bare name", "nginx", "docker.io/library/nginx", "latest", ""},
		{"library", "library/nginx:1", "docker.io/library/nginx", "1", ""},
		{"docker.io", "docker.io/nginx:1", "docker.io/library/nginx", "1", ""},
		{"docker.io and library", "docker.io/library/nginx:1", "docker.io/library/nginx", "1", ""},
		{"index.docker.io", "index.docker.io/nginx:1", "docker.io/library/nginx", "1", ""},
		{"user on docker.io", "grafana/grafana", "docker.io/grafana/grafana", "latest", ""},
		{"digest", "alpine" + at, "docker.io/library/alpine", "", "sha256:" + hexA},
		{"tag and digest", "alpine:3.11" + at, "docker.io/library/alpine", "3.11", "sha256:" + hexA},
		{"port", "registry.example:5000/app" + at, "registry.example:5000/app", "", "sha256:" + hexA},
		{"port and tag", "registry.example:5000/app:v1", "registry.example:5000/app", "v1", ""},
		{"localhost", "localhost/app", "localhost/app", "latest", ""},
		{"address", "[::1]:5000/app:v1", "[::1]:5000/app", "v1", ""},
		{"tag in upper case", "nginx:V1-RC", "docker.io/library/nginx", "V1-RC", ""},
		{"deep repository", "r.example/a/b/c/d:1", "r.example/a/b/c/d", "1", ""},
		{"look-alike of docker.io", "docker.io.evil.example/library/nginx:1", "docker.io.evil.example/library/nginx", "1", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := ParseReference(test.in)
			if err != nil {
				t.Fatal(err)
			}
			want := Reference{Written: test.in, Repository: test.repository, Tag: test.tag, Digest: Digest(test.digest)}
			if r != want {
				t.Errorf("got %+v, want %+v", r, want)
			}
			// The runtime's own reading is the measure.
			docker, err := reference.ParseDockerRef(test.in)
			if err != nil || docker.String() != r.Name() {
				t.Errorf("name: got %s, containerd says %v (%v)", r.Name(), docker, err)
			}
		})
	}
}

func TestParseReferenceRefuses(t *testing.T) {
	long := "a" + strings.Repeat(".a", MaxReference/2-2)
	if r, err := ParseReference(long + "/a"); err != nil || len(r.Written) != MaxReference-1 {
		t.Errorf("%d bytes: %v", len(long)+2, err)
	}
	if _, err := ParseReference(long + "/aa"); err != nil {
		t.Errorf("%d bytes: %v", len(long)+3, err)
	}
	for _, test := range []struct{ name, in, want string }{
		{"nothing", "", errReferenceEmpty},
		{"4 KiB and one", long + "/aaa", "the image's name is longer than 4096 bytes"},
		{"image ID", hexA, errReferenceID},
		{"image ID with algorithm", "sha256:" + hexA, errReferenceID},
		{"image ID in upper case", "sha256:" + strings.ToUpper(hexA), errReferenceID},
		{"repository in upper case", "Nginx", errReferenceCase},
		{"host in upper case", "Registry.example/app:1", errReferenceCase},
		{"digest in upper case", "nginx@sha256:" + strings.ToUpper(hexA), errDigest},
		{"algorithm in upper case", "nginx@SHA256:" + hexA, errDigest},
		{"sha512", "nginx@sha512:" + hexA + hexA, errDigest},
		{"short digest", "nginx@sha256:" + hexA[1:], errDigest},
		{"long digest", "nginx@sha256:" + hexA + "0", errDigest},
		{"two digests", "nginx@sha256:" + hexA + "@sha256:" + hexA, errDigest},
		{"empty digest", "nginx@", errDigest},
		{"empty tag", "nginx:", errReferenceForm},
		{"two tags", "nginx:a:b", errReferenceForm},
		{"trailing dot in the host", "docker.io./library/nginx", errReferenceForm},
		{"trailing slash", "nginx/", errReferenceForm},
		{"leading slash", "/nginx", errReferenceForm},
		{"scheme", "https://registry.example/app", errReferenceForm},
		{"path out", "registry.example/../app", errReferenceForm},
		{"trailing newline", "nginx\n", errReferenceASCII},
		{"space", "nginx :1", errReferenceASCII},
		{"NUL", "nginx\x00", errReferenceASCII},
		{"look-alike letter", "ngіnx", errReferenceASCII},
		{"no UTF-8", "nginx\xff", errReferenceASCII},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := ParseReference(test.in)
			if err == nil || err.Error() != test.want {
				t.Errorf("got %+v, %v; want %s", r, err, test.want)
			}
		})
	}
}

func TestParseDigest(t *testing.T) {
	d, err := ParseDigest("sha256:" + hexA)
	if err != nil || d.Hex() != hexA {
		t.Errorf("got %v, %v", d, err)
	}
	for _, s := range []string{"", hexA, "sha256:", "sha256:" + hexA + "\n", "sha256:g" + hexA[1:], " sha256:" + hexA, "sha384:" + hexA} {
		if d, err := ParseDigest(s); err == nil || d != "" {
			t.Errorf("%q: got %q, %v", s, d, err)
		}
	}
}

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"nginx", "a.b:1/c:d@sha256:" + hexA, "sha256:" + hexA, "index.docker.io/x", "A/b", "[::1]/x", "x@sha512:" + hexA + hexA} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseReference(s)
		if err != nil {
			if r != (Reference{}) {
				t.Errorf("%q: an error and %+v", s, r)
			}
			return
		}
		docker, err := reference.ParseDockerRef(s)
		if err != nil || docker.String() != r.Name() {
			t.Errorf("%q: got %s, containerd says %v (%v)", s, r.Name(), docker, err)
		}
		again, err := ParseReference(r.Name())
		if err != nil || again.Name() != r.Name() {
			t.Errorf("%q: its name %s reads as %s (%v)", s, r.Name(), again.Name(), err)
		}
		if strings.ToLower(r.Repository) != r.Repository {
			t.Errorf("%q: repository %s", s, r.Repository)
		}
	})
}
