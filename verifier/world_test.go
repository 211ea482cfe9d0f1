package verifier

import (
	"testing"
	"time"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world is what a node knows: contents and attestations, and what goes wrong with both.
type world struct {
	// digests by Reference.Name; names that belong to what runs.
	digests      map[string][]Digest
	names        map[string]bool
	digestsErr   error
	namedErr     error
	attestations map[Digest][]Attestation
	sourceErr    map[Digest]error
	lookups      []string
}

func (w *world) Digests(r Reference) ([]Digest, error) {
	if w.digestsErr != nil {
		return nil, w.digestsErr
	}
	return w.digests[r.Name()], nil
}

func (w *world) Named(r Reference) (bool, error) { return w.names[r.Name()], w.namedErr }

func (w *world) Attestations(repository string, d Digest) ([]Attestation, error) {
	w.lookups = append(w.lookups, repository+"@"+string(d))
	if repository != appRepo {
		return nil, nil
	}
	return w.attestations[d], w.sourceErr[d]
}

const (
	appTagged = appRepo + ":v1"
	sidecar   = "vendor.example/acs/proxy:1.2"
)

var appPinned = appRepo + "@" + string(appDigest)

func honestWorld() *world {
	return &world{
		digests: map[string][]Digest{
			appPinned: {appDigest, platformDigest},
			appTagged: {appDigest, platformDigest},
		},
		names:        map[string]bool{appPinned: true, appTagged: true, sidecar: true},
		attestations: map[Digest][]Attestation{},
		sourceErr:    map[Digest]error{},
	}
}

func (w *world) attested(d Digest, as ...Attestation) *world {
	w.attestations[d] = append(w.attestations[d], as...)
	return w
}

func qaSpec(ns string) AuthoritySpec {
	return AuthoritySpec{Namespace: ns, Name: "qa", Keys: []KeySpec{{ID: "kms-qa", PEM: publicPEM(qaKey())}}}
}

func prodSpec(ns string) AuthoritySpec {
	return AuthoritySpec{Namespace: ns, Name: "prod", Keys: []KeySpec{{ID: "kms-prod", PEM: publicPEM(prodKey())}}}
}

// document requires qa in namespace default.
func document() Document {
	return Document{
		Authorities: []AuthoritySpec{qaSpec("default"), prodSpec("default")},
		Policies:    []PolicySpec{{Namespace: "default", Name: "main", AuthorityNames: []string{"qa"}}},
	}
}

func compiled(doc Document) *PolicySet { s, _ := Compile(doc); return s }

func floorOf(t *testing.T, spec FloorSpec) *Floor {
	t.Helper()
	f, err := CompileFloor(spec)
	if err != nil {
		t.Fatalf("CompileFloor: %v", err)
	}
	return f
}

func floorDocument() Document {
	return Document{
		Authorities: []AuthoritySpec{prodSpec("")},
		Policies:    []PolicySpec{{Namespace: "def*", Name: "node", AuthorityNames: []string{"prod"}}},
	}
}

func app(image string) Request { return Request{Namespace: "default", Image: image, Now: now} }
