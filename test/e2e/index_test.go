package e2e

import (
	"runtime"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// testIndex names an image of several platforms by its index. An attestation of the index or of the manifest that runs
// here counts, one of another platform does not.
func (s *site) testIndex(t *testing.T) {
	for _, row := range []struct {
		name string
		// signed returns the digest that is attested.
		signed func(index v1.Hash, here, sibling v1.Hash) v1.Hash
		starts bool
	}{
		{"index attested", func(index, _, _ v1.Hash) v1.Hash { return index }, true},
		{"manifest that runs here attested", func(_, here, _ v1.Hash) v1.Hash { return here }, true},
		{"sibling attested", func(_, _, sibling v1.Hash) v1.Hash { return sibling }, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			image, err := cluster.BusyboxImage(row.name)
			check(t, err)
			index, err := cluster.Index(image)
			check(t, err)
			reference, err := stack.PushTo(t.Context(), s.Registry, "platforms/app", index)
			check(t, err)
			digest, err := index.Digest()
			check(t, err)
			manifest, err := index.IndexManifest()
			check(t, err)
			var here, sibling v1.Hash
			for _, m := range manifest.Manifests {
				if m.Platform.Architecture == runtime.GOARCH {
					here = m.Digest
				} else {
					sibling = m.Digest
				}
			}
			signed := repositoryOf(reference) + "@" + row.signed(digest, here, sibling).String()
			check(t, s.Sign(t.Context(), s.team, signed))
			if err := s.run(t, prod, reference); row.starts {
				expectStarts(t, err)
			} else {
				expectDenied(t, err, reference)
			}
		})
	}
}
