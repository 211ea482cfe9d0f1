package faults

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// What a container leaves when it runs: a variable in its environment, and a file in its own layer.
const (
	markVariable = "KRITIS_SOAK_IMAGE"
	markFile     = "ran-"
	attested     = "attested"
	unattested   = "unattested"
)

// sleeping writes the file, and waits until it is stopped.
const sleeping = `echo ran > /` + markFile + `$` + markVariable + `; trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done`

// newImage returns an image that no other call returns.
func newImage(mark, marker string) (v1.Image, error) {
	img, err := cluster.BusyboxImage(marker)
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Config.Env = append(config.Config.Env, markVariable+"="+mark)
	config.Config.Entrypoint = []string{"/bin/sh", "-c", sleeping}
	return mutate.ConfigFile(img, config)
}

// kind is one sort of image.
type kind struct{ attested, cloud bool }

// images are those that containers are started of.
type images struct {
	place *place

	mu      sync.Mutex
	count   int
	usual   map[kind]string
	denied  map[string]bool // references, digests and config digests of what must not run
	pending map[kind][]string
}

func newImages(ctx context.Context, p *place) (*images, error) {
	m := &images{place: p, usual: map[kind]string{}, denied: map[string]bool{}, pending: map[kind][]string{}}
	for _, k := range []kind{{true, false}, {false, false}, {true, true}, {false, true}} {
		reference, err := m.push(ctx, k)
		if err != nil {
			return nil, err
		}
		m.usual[k] = reference
	}
	return m, nil
}

// prepare pushes, and attests, what a round needs of fresh images: later the registry may be away.
func (m *images) prepare(ctx context.Context, loads []Load) error {
	m.mu.Lock()
	m.pending = map[kind][]string{}
	m.mu.Unlock()
	for _, l := range loads {
		if !l.Fresh {
			continue
		}
		k := kind{l.Attested, l.Way == InCloud}
		reference, err := m.push(ctx, k)
		if err != nil {
			return fmt.Errorf("preparing an image: %w", err)
		}
		m.mu.Lock()
		m.pending[k] = append(m.pending[k], reference)
		m.mu.Unlock()
	}
	return nil
}

// take returns the image of a load.
func (m *images) take(l Load) string {
	k := kind{l.Attested, l.Way == InCloud}
	m.mu.Lock()
	defer m.mu.Unlock()
	if fresh := m.pending[k]; l.Fresh && len(fresh) > 0 {
		m.pending[k] = fresh[1:]
		return fresh[0]
	}
	return m.usual[k]
}

// isDenied says whether a word is a name of something that must not run.
func (m *images) isDenied(word string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.denied[word]
}

func (m *images) push(ctx context.Context, k kind) (string, error) {
	m.mu.Lock()
	m.count++
	count := m.count
	m.mu.Unlock()
	mark := unattested
	if k.attested {
		mark = attested
	}
	img, err := newImage(mark, fmt.Sprintf("soak %d %s", count, mark))
	if err != nil {
		return "", err
	}
	reference, err := m.upload(ctx, k, mark, count, img)
	if err != nil || k.attested {
		return reference, err
	}
	config, err := img.ConfigName()
	if err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, digest, _ := strings.Cut(reference, "@")
	m.denied[reference], m.denied[digest], m.denied[config.String()] = true, true, true
	return reference, nil
}

func (m *images) upload(ctx context.Context, k kind, mark string, count int, img v1.Image) (string, error) {
	if k.cloud {
		return m.uploadToCloud(ctx, k, fmt.Sprintf("image-%d", count), img)
	}
	reference, err := stack.PushTo(ctx, m.place.Registry, fmt.Sprintf("soak/%s-%d", mark, count), img)
	if err == nil && k.attested {
		err = m.place.Sign(ctx, reference)
	}
	return reference, err
}

// uploadToCloud pushes into the instance, as a user's pipeline does, and waits until its rule has signed.
func (m *images) uploadToCloud(ctx context.Context, k kind, repository string, img v1.Image) (string, error) {
	folder := unsignedIn
	if k.attested {
		folder = signedIn
	}
	repository = folder + "/" + repository
	tag, err := name.NewTag(repository+":v1", name.Insecure)
	if err != nil {
		return "", err
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, m.place.cloud.RegistryHost())
	}}
	defer transport.CloseIdleConnections()
	if err := remote.Write(tag, img, remote.WithContext(ctx), remote.WithTransport(transport)); err != nil {
		return "", err
	}
	digest, err := img.Digest()
	if err != nil || !k.attested {
		return repository + "@" + digest.String(), err
	}
	return repository + "@" + digest.String(), cluster.Await(ctx, "the signature rule to sign", func(context.Context) error {
		for _, o := range m.place.cloud.Occurrences(m.place.instance.ID) {
			if strings.HasSuffix(o.ResourceURI, "@"+digest.String()) {
				return nil
			}
		}
		return errors.New("there is no occurrence of " + repository)
	})
}
