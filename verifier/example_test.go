package verifier_test

import (
	"fmt"
	"os"
	"strings"

	"github.com/kritis-node/kritis-node/verifier"
)

// node answers for one image that runs as its name says, and holds one bundle that cosign made.
type node struct{ bundle []byte }

func (node) Digests(r verifier.Reference) ([]verifier.Digest, error) {
	return []verifier.Digest{r.Digest}, nil
}
func (node) Named(verifier.Reference) (bool, error) { return true, nil }

func (n node) Attestations(string, verifier.Digest) ([]verifier.Attestation, error) {
	return []verifier.Attestation{{Format: verifier.FormatBundle, Payload: n.bundle}}, nil
}

func Example() {
	read := func(name string) string {
		b, err := os.ReadFile("testdata/cosign-3.1.3/" + name)
		if err != nil {
			panic(err)
		}
		return strings.TrimSpace(string(b))
	}
	set, problems := verifier.Compile(verifier.Document{
		Authorities: []verifier.AuthoritySpec{{Namespace: "shop", Name: "qa", Keys: []verifier.KeySpec{{PEM: read("cosign.pub")}}}},
		Policies:    []verifier.PolicySpec{{Namespace: "shop", Name: "signed", AuthorityNames: []string{"qa"}}},
	})
	fmt.Println("problems:", len(problems))

	rules := verifier.Rules{Cluster: set}
	here := node{bundle: []byte(read("bundle.json"))}
	for _, image := range []string{read("image"), "alpine:3.11"} {
		v := rules.Decide(verifier.Request{Namespace: "shop", Image: image}, here, here)
		fmt.Println(v.Admits(), v.Reason)
		if !v.Admits() {
			fmt.Println(verifier.Message(image, v))
		}
	}
	// Output:
	// problems: 0
	// true Attested
	// false TagReference
	// image alpine:3.11 is not attested: it is named by tag: name it by its digest, as `kritis resolve` does in manifests
}
