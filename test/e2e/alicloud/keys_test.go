package alicloud

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/alicloudtest"
	"github.com/kritis-node/kritis-node/test/site"
)

// testRotation lets the witness name a new version of its key: old attestations stop counting, or go on, as configured. Then the key is
// disabled: what it signed stays valid, and that is shown.
func (s *suite) testRotation(t *testing.T, signed string) {
	ctx := t.Context()
	version, err := s.cloud.AddKeyVersion(region, s.key.ID)
	check(t, err)
	check(t, s.Upgrade(ctx, s.values(site.Values{"securityCenter": site.Values{"clusterID": clusterID, "syncInterval": interval.String(), "keyVersions": "KeepOld"}})))
	s.cloud.PutWitness(alicloudtest.Witness{Name: witness, KeyID: s.key.ID, KeyRegion: region, KeyVersion: version.ID})
	again := s.pushSigned(t, "rotated")
	s.awaitAdmitted(t, "default", again)
	s.awaitAdmitted(t, "default", signed)

	check(t, s.Upgrade(ctx, s.values()))
	s.awaitDenied(t, "default", signed)
	s.awaitAdmitted(t, "default", again)

	// Keys are looked at rarely: here more often.
	check(t, s.Upgrade(ctx, s.values(), site.Values{"controller": site.Values{"extraArgs": []any{"--key-refresh=5s"}}}))
	check(t, s.cloud.SetKeyState(region, s.key.ID, alicloudtest.Disabled))
	s.condition(t, "default", "attestationauthority/"+witness, "KeyDisabled")
	s.awaitAdmitted(t, "default", again)
	check(t, s.cloud.SetKeyState(region, s.key.ID, alicloudtest.Enabled))
	s.condition(t, "default", "attestationauthority/"+witness, "InSync")
}

// testKMSKey signs with a key that never leaves KMS, from a workstation, and asks KMS about it.
func (s *suite) testKMSKey(t *testing.T) {
	user := s.cloud.AddUser(alicloudtest.User{Name: "pipeline", Allow: []string{"kms:DescribeKey", "kms:GetPublicKey", "kms:ListKeyVersions", "kms:AsymmetricSign", "kms:AsymmetricVerify"}})
	dir := t.TempDir()
	config := filepath.Join(dir, "alicloud.yaml")
	check(t, os.WriteFile(config, []byte("region: "+region+"\ncredentials: {source: AccessKey}\ncaFile: "+s.cloud.CAFile()+"\nendpoints: {kms: "+s.cloud.Host()+"}\n"), 0o644))
	registries := filepath.Join(dir, "registries.yaml")
	check(t, os.WriteFile(registries, []byte("hosts: [{host: '"+s.cloud.RegistryHost()+"', plainHTTP: true}]\n"), 0o644))
	policies := filepath.Join(dir, "policies")
	check(t, os.Mkdir(policies, 0o755))
	_, digest, _ := strings.Cut(s.push(t, unsignedIn+"/by-hand"), "@")
	image := s.cloud.RegistryHost() + "/unsigned/by-hand@" + digest
	kritis := func(want int, words []string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), s.Program, append(args, "--registry-config", registries, "--alicloud-config", config)...)
		cmd.Env = append(os.Environ(), "ALIBABA_CLOUD_ACCESS_KEY_ID="+user.AccessKeyID, "ALIBABA_CLOUD_ACCESS_KEY_SECRET="+user.AccessKeySecret)
		raw, _ := cmd.CombinedOutput()
		output := strings.Join(strings.Fields(string(raw)), " ") // columns
		for _, w := range words {
			if !strings.Contains(output, w) {
				t.Errorf("kritis %v: no %q in: %s", args, w, output)
			}
		}
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("kritis %v: exit code %d, want %d: %s", args, got, want, output)
		}
		if strings.Contains(output, user.AccessKeySecret) {
			t.Errorf("kritis %v: the secret is printed", args)
		}
	}
	for _, algorithm := range []string{"RSA_PKCS1_SHA_256", "RSA_PSS_SHA_256"} {
		kritis(0, []string{"SIGNED " + image, algorithm}, "sign", "--key", "alikms://"+s.key.ARN, "--algorithm", algorithm, image)
	}
	check(t, os.WriteFile(filepath.Join(policies, "prod.yaml"), []byte(strings.ReplaceAll(`
apiVersion: kritis.grafeas.io/v1beta1
kind: AttestationAuthority
metadata: {namespace: prod, name: release}
spec:
  publicKeys:
  - keyId: `+s.key.ID+`
    keyType: PKIX
    pkixPublicKey:
      publicKeyPem: |
        PEM
---
apiVersion: kritis.grafeas.io/v1beta1
kind: GenericAttestationPolicy
metadata: {namespace: prod, name: signed}
spec: {attestationAuthorityNames: [release]}
`, "PEM", strings.ReplaceAll(strings.TrimSpace(s.key.Versions[0].PEM), "\n", "\n        "))), 0o644))
	verify := []string{"verify", "--policy-dir", policies, "-n", "prod", "--remote", image}
	kritis(0, []string{"VERDICT allowed (Attested)", "KMS agrees: key " + s.key.ID}, verify...)
	check(t, s.cloud.Allow("pipeline", "kms:DescribeKey", "kms:GetPublicKey", "kms:ListKeyVersions"))
	kritis(2, []string{"kms:AsymmetricVerify"}, verify...)
	kritis(2, []string{"kms:AsymmetricSign"}, "sign", "--key", "alikms://alias/release", image)
	other, err := s.cloud.CreateKey(alicloudtest.NewKey{Spec: "EC_P256"})
	check(t, err)
	kritis(2, []string{"RSA_2048"}, "sign", "--key", "alikms://"+other.ID, image)
}
