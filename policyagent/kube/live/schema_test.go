package live

import (
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
)

const head = "apiVersion: kritis.grafeas.io/v1beta1\nkind: "

// Manifests of either ancestor are accepted as they are, by a kubectl that validates strictly.
func testManifests(t *testing.T, kube *kubernetes.Cluster) {
	for name, manifest := range map[string]string{
		"ACK authority":      head + "AttestationAuthority\nmetadata: {name: a1}\nspec: {noteReference: namespaces/a1, publicKeyData: eA==, publicKeyId: kms}\n",
		"upstream authority": head + "AttestationAuthority\nmetadata: {name: a2}\nspec: {noteReference: projects/p/notes/n, policyType: x, publicKeys: [{keyId: k, keyType: PKIX, pkixPublicKey: {publicKeyPem: p, signatureAlgorithm: s}}]}\n",
		"PGP":                head + "AttestationAuthority\nmetadata: {name: a3}\nspec: {noteReference: note, publicKeys: [{keyType: PGP, asciiArmoredPgpPublicKey: p, extra: x}]}\n",
		"nulls":              head + "AttestationAuthority\nmetadata: {name: a4}\nspec: {noteReference: null, publicKeyData: eA==, publicKeyId: , publicKeys: null}\n",
		"nulls in a key":     head + "AttestationAuthority\nmetadata: {name: a5}\nspec: {publicKeys: [{keyId: , keyType: PGP, pkixPublicKey: }]}\n",
		"empty list beside":  head + "AttestationAuthority\nmetadata: {name: a6}\nspec: {publicKeyData: eA==, publicKeys: []}\n",
		"no keys":            head + "AttestationAuthority\nmetadata: {name: a7}\nspec: {}\n",
		"no spec":            head + "AttestationAuthority\nmetadata: {name: a8}\n",
		"ours":               head + "AttestationAuthority\nmetadata: {name: a9}\nspec: {publicKeyData: eA==, algorithm: ECDSA_SHA_256, repositoryBound: true}\n",
		"policy":             head + "GenericAttestationPolicy\nmetadata: {name: m1}\nspec: {attestationAuthorityNames: [a1], admissionAllowlistPatterns: [{namePattern: nginx*}]}\n",
		"old upstream":       head + "GenericAttestationPolicy\nmetadata: {name: m2}\nspec: {attestationAuthorityNames: [a1], admissionWhitelistPatterns: [{namePattern: nginx*}]}\n",
		"names nothing":      head + "GenericAttestationPolicy\nmetadata: {name: m3}\nspec: {attestationAuthorityNames: null}\n",
		"policy, ours":       head + "GenericAttestationPolicy\nmetadata: {name: m4}\nspec: {attestationAuthorityNames: [a1], tagPolicy: Resolve, dryRun: true}\n",
		"list":               head + "AdmissionAllowlist\nmetadata: {name: l1}\nspec: {patterns: [{namePattern: 'registry*.*.aliyuncs.com/acs/*'}, {namePattern: x, namespace: web}]}\n",
		"list, ours":         head + "AdmissionAllowlist\nmetadata: {name: l2}\nspec: {patterns: [{namePattern: x, expires: '2027-01-02T03:04:05Z', reason: r}]}\n",
	} {
		if err := kube.Apply(t.Context(), manifest); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is ours alone, and cannot be meant, is refused at once.
func testRefused(t *testing.T, kube *kubernetes.Cluster) {
	for name, c := range map[string]struct{ manifest, want string }{
		"both forms":             {head + "AttestationAuthority\nmetadata: {name: r}\nspec: {publicKeyData: eA==, publicKeys: [{keyType: PKIX}]}\n", "write the keys in one form"},
		"algorithm beside keys":  {head + "AttestationAuthority\nmetadata: {name: r}\nspec: {algorithm: x, publicKeys: [{keyType: PKIX}]}\n", "algorithm goes with publicKeyData"},
		"tag policy":             {head + "GenericAttestationPolicy\nmetadata: {name: r}\nspec: {tagPolicy: Allow}\n", "Unsupported value"},
		"dry run of text":        {head + "GenericAttestationPolicy\nmetadata: {name: r}\nspec: {dryRun: 'yes'}\n", "boolean"},
		"expires without a time": {head + "AdmissionAllowlist\nmetadata: {name: r}\nspec: {patterns: [{namePattern: x, expires: 2027-01-02}]}\n", "date-time"},
	} {
		if err := kube.Apply(t.Context(), c.manifest); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func testColumns(t *testing.T, kube *kubernetes.Cluster) {
	for what, want := range map[string]string{
		"admissionallowlists.kritis.grafeas.io": "NAME AGE READY REASON", "aal": "NAME AGE READY REASON",
		"aa": "NAME AGE READY REASON KEYS", "gap": "NAME AGE READY REASON AUTHORITIES DRYRUN",
	} {
		out, err := kube.KubectlOutput(t.Context(), "get", what)
		if first, _, _ := strings.Cut(out, "\n"); err != nil || strings.Join(strings.Fields(first), " ") != want {
			t.Errorf("%s: %q, %v", what, first, err)
		}
	}
	if out, err := kube.KubectlOutput(t.Context(), "get", "kritis"); err != nil || !strings.Contains(out, "attestationauthority") {
		t.Errorf("the category: %q, %v", out, err)
	}
}
