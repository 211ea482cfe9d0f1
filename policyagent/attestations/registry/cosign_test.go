package registry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/verifier"
)

// What cosign itself stores is found, in each form, in registries with and without the referrers API, and verifier
// accepts it.
func TestCosign(t *testing.T) {
	tools, err := cluster.Tool(t.Context(), "cosign")
	if err != nil {
		t.Fatal(err)
	}
	cosign := filepath.Join(tools, "cosign")
	dir := t.TempDir()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), cosign, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "COSIGN_PASSWORD=x", "HOME="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("cosign %v: %v\n%s", args, err, out)
		}
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := os.WriteFile(filepath.Join(dir, "key.pem"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	run("import-key-pair", "--key", "key.pem", "--yes")
	keys := verifier.Document{
		Authorities: []verifier.AuthoritySpec{{Namespace: "default", Name: "qa", Keys: []verifier.KeySpec{{
			PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})), Algorithms: []string{verifier.ECDSASHA256},
		}}}},
		Policies: []verifier.PolicySpec{{Namespace: "default", Name: "p", AuthorityNames: []string{"qa"}}},
	}
	set, problems := verifier.Compile(keys)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	forms := map[verifier.Format][]string{
		verifier.FormatCosign: {"--tlog-upload=false", "--new-bundle-format=false", "--use-signing-config=false"},
		verifier.FormatBundle: {"--tlog-upload=false", "--use-signing-config=false"},
	}
	for format, flags := range forms {
		for name, api := range map[string]bool{"referrers API": true, "fallback tag": false} {
			t.Run(string(format)+" "+name, func(t *testing.T) {
				server := realRegistry(t, ggcr.WithReferrersSupport(api))
				image := encode(t, object{"schemaVersion": 2, "mediaType": ociManifest,
					"config": descriptor("application/vnd.oci.image.config.v1+json", []byte("{}"), nil), "layers": []object{}})
				pushBlob(t, server, "team/app", []byte("{}"))
				pushManifest(t, server, "team/app", "v1", ociManifest, image)
				repository, digest := hostOf(server)+"/team/app", verifier.Digest(digestOf(image))
				sign := append([]string{"sign", "--key", "import-cosign.key", "--yes", "--allow-insecure-registry", "--allow-http-registry"}, flags...)
				run(append(sign, repository+"@"+string(digest))...)
				found, err := newSource(t, Config{}, server).Attestations(t.Context(), repository, digest)
				if err != nil || len(found) != 1 || found[0].Format != format {
					t.Fatalf("%+v, %v", found, err)
				}
				verdict := verifier.Rules{Cluster: set}.Decide(verifier.Request{Namespace: "default", Image: repository + "@" + string(digest)}, content(digest), known(found))
				if verdict.Outcome != verifier.Allowed {
					t.Errorf("%+v", verdict)
				}
			})
		}
	}
}

// content is an image that runs under its digest.
type content verifier.Digest

func (c content) Digests(verifier.Reference) ([]verifier.Digest, error) {
	return []verifier.Digest{verifier.Digest(c)}, nil
}
func (content) Named(verifier.Reference) (bool, error) { return true, nil }

// known are attestations that were fetched.
type known []verifier.Attestation

func (k known) Attestations(string, verifier.Digest) ([]verifier.Attestation, error) { return k, nil }
