package offnode

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/policyagent/attestations/registry"
	"github.com/kritis-node/kritis-node/policyagent/signing"
	"github.com/kritis-node/kritis-node/verifier"
)

var (
	index = verifier.Digest("sha256:" + strings.Repeat("a", 64))
	amd   = verifier.Digest("sha256:" + strings.Repeat("b", 64))
	arm   = verifier.Digest("sha256:" + strings.Repeat("c", 64))
)

type resolver struct{ err error }

func (r resolver) Resolve(context.Context, verifier.Reference) (registry.Image, error) {
	return registry.Image{Digest: index, Manifests: []registry.Platform{{Name: "linux/arm64/v8", Digest: arm}, {Name: "linux/amd64", Digest: amd}}}, r.err
}

// held has attestations of some digests.
type held struct {
	by  map[verifier.Digest]verifier.Attestation
	err error
}

func (held) Name() string { return "held" }
func (h held) Attestations(_ context.Context, _ string, d verifier.Digest) ([]verifier.Attestation, error) {
	if a, ok := h.by[d]; ok {
		return []verifier.Attestation{a}, h.err
	}
	return nil, h.err
}

func TestJudge(t *testing.T) {
	const repository = "r.example/app"
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := signing.ReadKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	attest := func(digests ...verifier.Digest) held {
		h := held{by: map[verifier.Digest]verifier.Attestation{}}
		for _, d := range digests {
			payload, err := signing.Payload(repository, d)
			if err != nil {
				t.Fatal(err)
			}
			signature, err := key.Sign(t.Context(), payload)
			if err != nil {
				t.Fatal(err)
			}
			h.by[d] = verifier.Attestation{Format: verifier.FormatCosign, Payload: payload, Signatures: []verifier.Signature{{Value: signature}}}
		}
		return h
	}
	down := errors.New("registry is down")
	for name, tc := range map[string]struct {
		image    string
		tags     string
		platform string
		resolver resolver
		sources  []attestations.Source
		want     verifier.Reason
	}{
		"index attested":                      {image: "@" + string(index), sources: []attestations.Source{attest(index)}, want: verifier.Attested},
		"index attested, registry down":       {image: "@" + string(index), resolver: resolver{down}, sources: []attestations.Source{attest(index)}, want: verifier.Attested},
		"platform attested":                   {image: "@" + string(index), sources: []attestations.Source{attest(amd)}, want: verifier.Attested},
		"platform variant attested":           {image: "@" + string(index), platform: "linux/arm64", sources: []attestations.Source{attest(arm)}, want: verifier.Attested},
		"sibling platform attested":           {image: "@" + string(index), sources: []attestations.Source{attest(arm)}, want: verifier.NotAttested},
		"nothing attested":                    {image: "@" + string(index), sources: []attestations.Source{attest()}, want: verifier.NotAttested},
		"nothing attested, registry down":     {image: "@" + string(index), resolver: resolver{down}, sources: []attestations.Source{attest()}, want: verifier.RuntimeFailed},
		"one source fails, the other has it":  {image: "@" + string(index), sources: []attestations.Source{held{err: down}, attest(index)}, want: verifier.Attested},
		"one source fails, the other has not": {image: "@" + string(index), sources: []attestations.Source{held{err: down}, attest()}, want: verifier.SourceFailed},
		"tag":                                 {image: ":v1", sources: []attestations.Source{attest(index)}, want: verifier.TagReference},
		"tag that is resolved":                {image: ":v1", tags: "Resolve", sources: []attestations.Source{attest(index)}, want: verifier.Attested},
	} {
		t.Run(name, func(t *testing.T) {
			var rules verifier.Rules
			rules.Cluster, _ = verifier.Compile(verifier.Document{
				Authorities: []verifier.AuthoritySpec{{Namespace: "prod", Name: "team", Keys: []verifier.KeySpec{{PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))}}}},
				Policies:    []verifier.PolicySpec{{Namespace: "prod", Name: "p", AuthorityNames: []string{"team"}, TagPolicy: tc.tags}},
			})
			platform := tc.platform
			if platform == "" {
				platform = "linux/amd64"
			}
			v := Judge(t.Context(), rules, verifier.Request{Namespace: "prod", Image: repository + tc.image, Now: time.Now()}, platform, tc.resolver, tc.sources...)
			if v.Reason != tc.want || v.Admits() != (tc.want == verifier.Attested) {
				t.Errorf("verdict = %s %s (%s), want %s", v.Outcome, v.Reason, v.Detail, tc.want)
			}
		})
	}
	// One platform that is attested does not make up for one that is not.
	var rules verifier.Rules
	rules.Cluster, _ = verifier.Compile(verifier.Document{
		Authorities: []verifier.AuthoritySpec{{Namespace: "prod", Name: "team", Keys: []verifier.KeySpec{{PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))}}}},
		Policies:    []verifier.PolicySpec{{Namespace: "prod", Name: "p", AuthorityNames: []string{"team"}}},
	})
	req := verifier.Request{Namespace: "prod", Image: repository + "@" + string(index), Now: time.Now()}
	for _, platforms := range [][]string{{"linux/amd64", "linux/arm64"}, {"linux/arm64", "linux/amd64"}} {
		if v, at := JudgeAll(t.Context(), rules, req, platforms, resolver{}, attest(amd)); v.Reason != verifier.NotAttested || at != "linux/arm64" {
			t.Errorf("%v: %s at %s", platforms, v.Reason, at)
		}
	}
}

// An image for several platforms is as good as the worst of them.
func TestJudgeAll(t *testing.T) {
	admitted := verifier.Verdict{Outcome: verifier.Allowed}
	dry := verifier.Verdict{Outcome: verifier.Denied, DryRun: true}
	untold := verifier.Verdict{Outcome: verifier.CouldNotTell}
	order := []verifier.Verdict{admitted, dry, untold, {}} // the zero verdict is a denial
	for i := range len(order) - 1 {
		if badness(order[i]) >= badness(order[i+1]) {
			t.Errorf("%+v is no better than %+v", order[i], order[i+1])
		}
	}
	var rules verifier.Rules
	rules.Cluster, _ = verifier.Compile(verifier.Document{Policies: []verifier.PolicySpec{{Namespace: "prod", Name: "p", AuthorityNames: []string{"team"}}}})
	req := verifier.Request{Namespace: "prod", Image: "r.example/app@" + string(index), Now: time.Now()}
	v, at := JudgeAll(t.Context(), rules, req, []string{"linux/amd64", "linux/arm64"}, resolver{}, held{})
	if v.Outcome != verifier.Denied || at != "linux/amd64" {
		t.Errorf("%+v at %s", v, at)
	}
	if v, _ := JudgeAll(t.Context(), verifier.Rules{}, req, nil, resolver{}, held{}); v.Admits() || v.Outcome != verifier.CouldNotTell {
		t.Errorf("without platforms: %+v", v)
	}
}
