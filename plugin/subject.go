package plugin

import (
	"strings"
	"time"

	"github.com/containerd/nri/pkg/api"

	"github.com/kritis-node/kritis-node/verifier"
)

// imageNameAnnotation carries the reference that the user wrote. A CRI client can forge it, so it only says what
// was asked for; whether that leads to what runs is checked against the runtime's stores.
const imageNameAnnotation = "io.kubernetes.cri.image-name"

// checkpointAnnotations are set by the containerd versions that restore checkpoints through CreateContainer (2.1,
// 2.2 to 2.2.6, early 2.3). Such a container does not run what its image says.
var checkpointAnnotations = [...]string{"restored", "checkpointedAt", "checkpointImage"}

// subject is one container that wants to be created or started.
type subject struct {
	containerID string
	podName     string
	podUID      string
	container   string
	namespace   string
	handler     string
	// image is the reference as written.
	image string
	bound bound
	// volumes are the image volumes among the container's mounts.
	volumes    []imageVolume
	checkpoint bool
}

// imageVolume is an image that is mounted into the container as a volume. containerd gives its digest, no name.
type imageVolume struct {
	// key is the path on which the volume is mounted, which is also the key of its snapshot.
	key    string
	target verifier.Digest
}

// newSubject reads what is asked for. What it cannot read stays zero, which denies later.
func newSubject(pod *api.PodSandbox, ctr *api.Container) subject {
	s := subject{
		containerID: ctr.GetId(),
		podName:     pod.GetName(),
		podUID:      pod.GetUid(),
		container:   ctr.GetName(),
		namespace:   pod.GetNamespace(),
		handler:     pod.GetRuntimeHandler(),
		image:       ctr.GetAnnotations()[imageNameAnnotation],
	}
	if image := ctr.GetImage(); image != nil {
		s.bound = bound{digest: verifier.Digest(image.GetDigest()), config: verifier.Digest(image.GetConfigDigest())}
		if s.image == "" {
			s.image = image.GetName()
		}
	}
	for _, key := range checkpointAnnotations {
		if _, ok := ctr.GetAnnotations()[key]; ok {
			s.checkpoint = true
		}
	}
	for _, m := range ctr.GetMounts() {
		if v, ok := volumeOf(m.GetSource()); ok {
			s.volumes = append(s.volumes, v)
		}
	}
	return s
}

// request is what the verifier is asked about one of the subject's images.
func (s *subject) request(image string, now time.Time) verifier.Request {
	return verifier.Request{Namespace: s.namespace, Image: image, RuntimeHandler: s.handler, Restored: s.checkpoint, Now: now}
}

// volumeOf recognizes the source of an image volume: <cri state>/image-volumes/<sandbox>/<64 hex>[/subpath]. The
// first match counts: what follows it is a path inside the image, which the image's author chose.
func volumeOf(source string) (imageVolume, bool) {
	const dir = "/image-volumes/"
	for start := 0; ; {
		at := strings.Index(source[start:], dir)
		if at < 0 {
			return imageVolume{}, false
		}
		start += at + len(dir)
		sandbox, rest, ok := strings.Cut(source[start:], "/")
		if !ok || sandbox == "" {
			continue
		}
		hex, _, _ := strings.Cut(rest, "/")
		if target, err := verifier.ParseDigest("sha256:" + hex); err == nil {
			return imageVolume{key: source[:start] + sandbox + "/" + hex, target: target}, true
		}
	}
}
