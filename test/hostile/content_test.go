package hostile

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// resolve is a namespace whose policy lets the content decide that a tag has on this node.
const resolve = "resolve"

// TestSomethingElseRuns makes what is checked and what would run two things. (Forged CRI fields and names moved in containerd's
// store are in test/e2e's TestIdentity.)
func TestSomethingElseRuns(t *testing.T) {
	t.Parallel()
	var p *proxy
	s := startSite(t, stack.Options{}, func(s *site) []string {
		p = startProxy(t, s.Registry.Host())
		check(t, s.TrustAt(p.host, p.host))
		return nil
	})
	authority, err := stack.Authority(resolve, "team", "", s.team)
	check(t, err)
	check(t, s.WritePolicies(t.Context(), "resolve.yaml", authority, stack.Policy(resolve, "tags", "tagPolicy: Resolve", "team")))
	t.Run("tag moved between check and start", s.testTagMoved)
	t.Run("registry with two faces", func(t *testing.T) { s.testTwoFaces(t, p) })
	t.Run("image cached for another namespace and never pulled again", s.testCached)
	t.Run("one config under two manifests", s.testTwoManifests)
	t.Run("checkpoint image", s.testCheckpointImage)
	t.Run("allow-listed name given to other content", s.testListedNames)
}

// variant is an image with a marker of its own, by which one sees what runs.
func (s *site) variant(t *testing.T, marker string) v1.Image {
	t.Helper()
	image, err := cluster.BusyboxImage(marker)
	check(t, err)
	return image
}

// testTagMoved moves the tag when the container has been created: what was checked runs. A later container is judged by what
// the tag means then.
func (s *site) testTagMoved(t *testing.T) {
	ctx, cri := t.Context(), s.Node.CRI()
	attested := s.pushImage(t, "moves/app", s.variant(t, "attested"))
	check(t, s.Sign(ctx, s.team, attested))
	tag := tagOf(attested)
	container, err := cri.CreateContainer(ctx, s.pod(t, resolve), cluster.ContainerSpec{Image: s.pull(t, tag), UserSpecifiedImage: tag})
	check(t, err)

	s.pushImage(t, "moves/app", s.variant(t, "other"))
	other, err := cri.PullImage(ctx, tag)
	check(t, err)
	check(t, cri.StartContainer(ctx, container))
	root := filepath.Join(s.Node.StateDir(), "io.containerd.runtime.v2.task", "k8s.io", container, "rootfs")
	if content, err := os.ReadFile(filepath.Join(root, cluster.MarkerFile)); err != nil || string(content) != "attested" {
		t.Errorf("there runs %q, %v", content, err)
	}
	check(t, cri.RemoveContainer(ctx, container))
	expectDenied(t, s.runAs(t, resolve, other, tag))
	expectStarts(t, s.run(t, resolve, attested))
}

// testTwoFaces gives the runtime another manifest than whoever looks for attestations gets.
func (s *site) testTwoFaces(t *testing.T, p *proxy) {
	through := func(reference string) string { return strings.Replace(reference, s.Registry.Host(), p.host, 1) }
	other := through(s.push(t, "faces/app"))
	signed := through(s.push(t, "faces/app")) // has the tag
	check(t, s.Sign(t.Context(), s.team, signed))
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request(t, "http://"+s.Registry.Host()+"/v2/faces/app/manifests/"+digestOf(other)))
	check(t, err)
	defer resp.Body.Close()
	manifest, err := io.ReadAll(resp.Body)
	check(t, err)
	lie := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			p.pass.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w.Header().Set("Docker-Content-Digest", digestOf(other))
		w.Header().Set("Content-Length", fmt.Sprint(len(manifest)))
		w.Write(manifest)
	})
	p.toRuntime.Store(&lie)
	tag := tagOf(signed)
	id, err := s.Node.CRI().PullImage(t.Context(), tag)
	check(t, err)
	expectDenied(t, s.runAs(t, resolve, id, tag))
	// By digest the runtime itself notices, and nothing is there to start.
	if _, err := s.Node.CRI().PullImage(t.Context(), signed); err == nil {
		t.Error("the runtime took another manifest for the digest")
	}
	expectDenied(t, s.runAs(t, prod, id, signed))

	p.toRuntime.Store(nil)
	// containerd may still hold what it was sent for the digest, and then fails once more.
	check(t, cluster.Await(t.Context(), "the runtime to pull the honest image", func(ctx context.Context) (err error) {
		id, err = s.Node.CRI().PullImage(ctx, tag)
		return err
	}))
	expectStarts(t, s.runAs(t, resolve, id, tag))
	expectStarts(t, s.run(t, prod, signed))
}

func (s *site) testCached(t *testing.T) {
	unsigned, signed := s.push(t, "cached/unsigned"), s.pushSigned(t, "cached/signed")
	expectStarts(t, s.run(t, sandbox, unsigned))
	expectStarts(t, s.run(t, sandbox, signed))
	check(t, s.Registry.Pause(t.Context())) // nobody can pull
	expectRefused(t, s.runAs(t, prod, s.pull(t, unsigned), unsigned))
	check(t, s.Registry.Resume())
	s.awaitStarts(t, prod, signed)
	expectDenied(t, s.run(t, prod, unsigned))
	expectDenied(t, s.run(t, prod, tagOf(unsigned)))
	expectStarts(t, s.run(t, sandbox, unsigned))
}

// testTwoManifests names one content by two manifests, of which one is attested. The name as written decides, in whichever order
// the runtime came to know them.
func (s *site) testTwoManifests(t *testing.T) {
	for name, attestedFirst := range map[string]bool{"attested pulled first": true, "attested pulled last": false} {
		t.Run(name, func(t *testing.T) {
			image := s.image(t)
			twin, ok := mutate.Annotations(image, map[string]string{"org.opencontainers.image.version": "2"}).(v1.Image)
			if !ok {
				t.Fatal("no image")
			}
			attested, plain := s.pushImage(t, "manifests/app", image), s.pushImage(t, "manifests/app", twin)
			check(t, s.Sign(t.Context(), s.team, attested))
			order := []string{plain, attested}
			if attestedFirst {
				order = []string{attested, plain}
			}
			if s.pull(t, order[0]) != s.pull(t, order[1]) {
				t.Fatal("they are two contents")
			}
			for range 2 { // what was decided of one must not be remembered of the other
				for _, reference := range order {
					if err := s.run(t, prod, reference); reference == attested {
						expectStarts(t, err)
					} else {
						expectDenied(t, err, reference)
					}
				}
			}
		})
	}
}

// testCheckpointImage: an image that says that it is a checkpoint is an image as any other, and no way around the check.
func (s *site) testCheckpointImage(t *testing.T) {
	checkpoint := func() string {
		image, ok := mutate.Annotations(s.image(t), map[string]string{
			"org.criu.checkpoint.container.name": "main", "org.criu.checkpoint.engine.name": "containerd",
			"io.kubernetes.cri-o.annotations.checkpoint.name": "main",
		}).(v1.Image)
		if !ok {
			t.Fatal("no image")
		}
		return s.pushImage(t, "checkpoints/app", image)
	}
	unsigned, signed := checkpoint(), checkpoint()
	check(t, s.Sign(t.Context(), s.team, signed))
	expectDenied(t, s.run(t, prod, unsigned))
	// On this version it starts from the beginning, as what it says.
	expectStarts(t, s.run(t, prod, signed))
}

// testListedNames gives a name that is on an allow-list to other content in the node's own store. A name with a digest means that
// digest and nothing else, whatever is imported or tagged under it.
func (s *site) testListedNames(t *testing.T) {
	ctx := t.Context()
	listed, other := s.push(t, "listed/agent"), s.push(t, "listed/other")
	both := tagOf(listed) + "@" + digestOf(listed)
	check(t, s.WritePolicies(ctx, "listed.yaml", stack.Allowlist("listed", listed, both)))
	expectStarts(t, s.run(t, prod, listed))
	expectStarts(t, s.runAs(t, prod, s.pull(t, listed), both))
	id := s.pull(t, other)
	t.Run("imported", func(t *testing.T) {
		image := s.image(t)
		check(t, s.Node.ImportImage(ctx, tagOf(listed), image))
		imported, err := s.Node.CRI().ImageID(ctx, tagOf(listed))
		check(t, err)
		for _, name := range []string{listed, both} {
			expectDenied(t, s.runAs(t, prod, imported, name))
		}
		expectStarts(t, s.run(t, prod, listed))
	})
	t.Run("tagged", func(t *testing.T) {
		_, err := s.Node.Ctr(ctx, "images", "tag", "--force", other, listed)
		check(t, err)
		for _, name := range []string{listed, both} {
			expectRefused(t, s.runAs(t, prod, id, name))
		}
		// Under its own name it is as before.
		expectDenied(t, s.runAs(t, prod, id, other))
		honest := s.push(t, "listed/agent")
		check(t, s.WritePolicies(ctx, "listed.yaml", stack.Allowlist("listed", honest)))
		expectStarts(t, s.run(t, prod, honest))
	})
}

func request(t *testing.T, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	check(t, err)
	r.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	return r
}
