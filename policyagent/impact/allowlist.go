package impact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/policyagent/attestations/registry"
	"github.com/kritis-node/kritis-node/policyagent/offnode"
	"github.com/kritis-node/kritis-node/verifier"
)

// maxEntries is how many entries one allow-list gets: objects of the cluster have a limit.
const maxEntries = 1000

// Allowlist is an AdmissionAllowlist without what only the API server and the controller write.
type Allowlist struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec v1beta1.AllowlistSpec `json:"spec"`
}

// Allow returns the allow-lists that would admit the images that are denied, one or more for each namespace, and notes in an
// image why there is no entry for it. Each entry is tried: what it does not admit, because the floor does not let it say, it is
// not offered for. The lists have names that none of the cluster's has: applied, they replace nothing.
func Allow(images []Image, policies verifier.Document, floor *verifier.Floor, cluster verifier.Document, now time.Time) []Allowlist {
	with := policies
	with.Allowlist = slices.Clone(policies.Allowlist)
	for _, i := range images {
		// What is not a name would be text of somebody else's in a list that an administrator applies.
		if _, err := verifier.ParseReference(i.Image); err == nil && i.Verdict.Outcome == verifier.Denied {
			with.Allowlist = append(with.Allowlist, verifier.AllowSpec{List: "tried", Pattern: i.Image, Namespace: i.Namespace})
		}
	}
	rules := verifier.Rules{Floor: floor}
	rules.Cluster, _ = verifier.Compile(with)
	var lists []Allowlist
	names := usedNames(cluster)
	listed := map[[2]string]bool{}
	for n := range images {
		i := &images[n]
		if i.Verdict.Outcome != verifier.Denied {
			continue
		}
		req := verifier.Request{Namespace: i.Namespace, Image: i.Image, RuntimeHandler: i.RuntimeHandler, Now: now}
		if v := offnode.Judge(context.Background(), rules, req, "", nobody{}); v.Outcome != verifier.Allowed {
			i.NoEntry = whyNot(v)
			continue
		}
		name := [2]string{i.Namespace, i.Image}
		if listed[name] { // with another digest or handler
			continue
		}
		listed[name] = true
		if last := len(lists) - 1; last < 0 || lists[last].Spec.Patterns[0].Namespace != i.Namespace || len(lists[last].Spec.Patterns) == maxEntries {
			lists = append(lists, newAllowlist(i.Namespace, names))
		}
		spec := &lists[len(lists)-1].Spec
		spec.Patterns = append(spec.Patterns, v1beta1.AllowPattern{NamePattern: i.Image, Namespace: i.Namespace, Reason: i.reason()})
	}
	return lists
}

// whyNot says why an entry would not do.
func whyNot(v verifier.Verdict) string {
	switch v.Reason {
	case verifier.InvalidReference, verifier.RuntimeHandler, verifier.NoPolicyDenied, verifier.Checkpoint:
		return v.Detail // which comes before allow-lists
	}
	return "the nodes' floor does not leave it to the cluster's allow-lists: see docs/floor.md"
}

// reason is what an entry says about itself.
func (i Image) reason() string {
	switch {
	case i.ByDigest != nil && i.ByDigest.Verdict.Outcome == verifier.Allowed:
		return "ran before enforcement, by tag; its digest is attested: write that and remove this"
	case i.Verdict.Reason == verifier.TagReference:
		return "ran before enforcement, by tag: whoever may push it decides what runs"
	default:
		return "ran before enforcement: " + string(i.Verdict.Reason)
	}
}

func usedNames(d verifier.Document) map[string]bool {
	used := map[string]bool{}
	for _, l := range d.Allowlist {
		used[l.List] = true
	}
	return used
}

func newAllowlist(namespace string, used map[string]bool) Allowlist {
	l := Allowlist{APIVersion: v1beta1.APIVersion, Kind: v1beta1.KindAllowlist}
	l.Metadata.Name = "ran-in-" + namespace
	for n := 2; used[l.Metadata.Name]; n++ {
		l.Metadata.Name = "ran-in-" + namespace + "-" + strconv.Itoa(n)
	}
	used[l.Metadata.Name] = true
	return l
}

// YAML writes allow-lists for kubectl apply, and in comments the images that they do not admit.
func YAML(lists []Allowlist, images []Image) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Images that run and would be denied. Each entry lets one run without attestation: remove those that are not needed.\n")
	if len(lists) == 0 {
		b.WriteString("# There are none for which an entry is needed and would do.\n")
	}
	for _, i := range images {
		// Names are what somebody wrote: quoted, they stay in their line.
		switch {
		case i.Verdict.Outcome == verifier.CouldNotTell:
			fmt.Fprintf(&b, "# No entry, nobody could tell: %s %s: %s\n", strconv.QuoteToASCII(i.Namespace), strconv.QuoteToASCII(i.Image), strconv.QuoteToASCII(i.Verdict.Detail))
		case i.NoEntry != "":
			fmt.Fprintf(&b, "# No entry would do: %s %s: %s\n", strconv.QuoteToASCII(i.Namespace), strconv.QuoteToASCII(i.Image), strconv.QuoteToASCII(i.NoEntry))
		}
	}
	for _, l := range lists {
		text, err := yaml.Marshal(l)
		if err != nil {
			return nil, fmt.Errorf("writing allow-lists: %w", err)
		}
		b.WriteString("---\n")
		b.Write(text)
	}
	return b.Bytes(), nil
}

// nobody is a registry that is not there: names on allow-lists need none.
type nobody struct{}

func (nobody) Resolve(context.Context, verifier.Reference) (registry.Image, error) {
	return registry.Image{}, errors.New("no registry is asked")
}
