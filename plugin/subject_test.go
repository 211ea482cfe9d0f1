package plugin

import (
	"strings"
	"testing"

	"github.com/containerd/nri/pkg/api"

	"github.com/kritis-node/kritis-node/verifier"
)

var (
	hexA = strings.Repeat("a", 64)
	hexB = strings.Repeat("b", 64)
)

func TestVolumeOf(t *testing.T) {
	const dir = "/run/containerd/io.containerd.grpc.v1.cri/image-volumes/"
	for name, tc := range map[string]struct {
		source, key, target string
	}{
		"volume":               {dir + "pod/" + hexA, dir + "pod/" + hexA, "sha256:" + hexA},
		"subpath":              {dir + "pod/" + hexA + "/etc/x", dir + "pod/" + hexA, "sha256:" + hexA},
		"subpath that poses":   {dir + "pod/" + hexA + "/image-volumes/pod/" + hexB, dir + "pod/" + hexA, "sha256:" + hexA},
		"state below the word": {"/image-volumes/x/state/image-volumes/pod/" + hexA, "/image-volumes/x/state/image-volumes/pod/" + hexA, "sha256:" + hexA},
		"no digest":            {dir + "pod/etc", "", ""},
		"short digest":         {dir + "pod/" + hexA[1:], "", ""},
		"upper case":           {dir + "pod/" + strings.ToUpper(hexA), "", ""},
		"no sandbox":           {dir + "/" + hexA, "", ""},
		"host path":            {"/etc/hosts", "", ""},
		"empty":                {"", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			v, ok := volumeOf(tc.source)
			if ok != (tc.key != "") || v.key != tc.key || string(v.target) != tc.target {
				t.Errorf("volumeOf(%q) = %+v, %v", tc.source, v, ok)
			}
		})
	}
}

func FuzzVolumeOf(f *testing.F) {
	f.Add("/run/image-volumes/pod/" + hexA + "/sub")
	f.Add("/image-volumes//" + hexA)
	f.Fuzz(func(t *testing.T, source string) {
		v, ok := volumeOf(source)
		if ok && !strings.HasPrefix(source, v.key) {
			t.Errorf("volumeOf(%q) has key %q, which is no prefix", source, v.key)
		}
		if ok && !strings.HasSuffix(v.key, v.target.Hex()) {
			t.Errorf("volumeOf(%q) has key %q for %s", source, v.key, v.target)
		}
	})
}

func TestNewSubject(t *testing.T) {
	pod := &api.PodSandbox{Name: "pod", Uid: "uid", Namespace: "prod", RuntimeHandler: "kata"}
	image := &api.Image{Name: "r.example/first:v1", Digest: "sha256:" + hexA, ConfigDigest: "sha256:" + hexB}
	for name, tc := range map[string]struct {
		ctr  *api.Container
		want subject
	}{
		"reference as written": {
			&api.Container{Id: "id", Name: "c", Image: image, Annotations: map[string]string{imageNameAnnotation: "app@sha256:x"}},
			subject{image: "app@sha256:x", bound: bound{verifier.Digest("sha256:" + hexA), verifier.Digest("sha256:" + hexB), snapshot{}}},
		},
		"no annotation": {
			&api.Container{Id: "id", Name: "c", Image: image},
			subject{image: "r.example/first:v1", bound: bound{verifier.Digest("sha256:" + hexA), verifier.Digest("sha256:" + hexB), snapshot{}}},
		},
		"older runtime": {
			&api.Container{Id: "id", Name: "c", Annotations: map[string]string{imageNameAnnotation: "app"}},
			subject{image: "app"},
		},
		"restored": {
			&api.Container{Id: "id", Name: "c", Annotations: map[string]string{imageNameAnnotation: "app", "checkpointedAt": "now"}},
			subject{image: "app", checkpoint: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := newSubject(pod, tc.ctr)
			if got.namespace != "prod" || got.handler != "kata" || got.podName != "pod" || got.containerID != "id" || got.container != "c" {
				t.Errorf("subject = %+v", got)
			}
			if got.image != tc.want.image || got.bound != tc.want.bound || got.checkpoint != tc.want.checkpoint {
				t.Errorf("subject = %+v, want %+v", got, tc.want)
			}
		})
	}
	if got := newSubject(nil, nil); got.image != "" || got.bound != (bound{}) {
		t.Errorf("subject of nothing = %+v", got)
	}
}
