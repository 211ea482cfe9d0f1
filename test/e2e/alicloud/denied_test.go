package alicloud

import (
	"slices"
	"testing"

	"github.com/kritis-node/kritis-node/test/alicloudtest"
)

// testDenied takes RAM actions away, one after the other: the status of the objects that suffer says which one, and enforcement goes on.
func (s *suite) testDenied(t *testing.T, signed, unsigned string) {
	ctx := t.Context()
	for _, action := range []string{"yundun-sas:DescribeAttestors", "yundun-sas:DescribeBinarySecurityPolicies"} {
		check(t, s.cloud.Allow(role, slices.DeleteFunc(slices.Clone(controllerActions), func(a string) bool { return a == action })...))
		s.condition(t, "default", "genericattestationpolicy/"+policy, "CloudUnavailable", action)
		s.awaitDenied(t, "default", unsigned)
		s.awaitAdmitted(t, "default", signed)
		check(t, s.cloud.Allow(role, controllerActions...))
		s.condition(t, "default", "genericattestationpolicy/"+policy, "InSync")
	}
	// A new witness whose key cannot be read: its authority says why, and the policy that needs it is not satisfied.
	check(t, s.cloud.Allow(role, slices.DeleteFunc(slices.Clone(controllerActions), func(a string) bool { return a == "kms:GetPublicKey" })...))
	key, err := s.cloud.CreateKey(alicloudtest.NewKey{})
	check(t, err)
	s.cloud.PutWitness(alicloudtest.Witness{Name: "second", KeyID: key.ID, KeyRegion: region, KeyVersion: key.Versions[0].ID})
	_, err = s.KubectlOutput(ctx, "create", "namespace", "both")
	check(t, err)
	s.cloud.PutPolicy(alicloudtest.Policy{Name: "both", Enabled: true, Required: []string{witness, "second"}, Scopes: []alicloudtest.Scope{{ClusterID: clusterID, Namespaces: []string{"both"}}}})
	s.condition(t, "both", "attestationauthority/second", "KeyUnavailable", "kms:GetPublicKey")
	s.awaitDenied(t, "both", signed)
	check(t, s.cloud.Allow(role, controllerActions...))
	s.condition(t, "both", "attestationauthority/second", "InSync")
	// A key that is not for images is refused with the reason.
	wrong, err := s.cloud.CreateKey(alicloudtest.NewKey{Spec: "RSA_3072"})
	check(t, err)
	s.cloud.PutWitness(alicloudtest.Witness{Name: "third", KeyID: wrong.ID, KeyRegion: region, KeyVersion: wrong.Versions[0].ID})
	s.cloud.PutPolicy(alicloudtest.Policy{Name: "unfit", Enabled: true, Required: []string{"third"}, Scopes: []alicloudtest.Scope{{ClusterID: clusterID, Namespaces: []string{"both"}}}})
	s.condition(t, "both", "attestationauthority/third", "KeyUnfit", "RSA_2048")
	// Left as it was found.
	for _, name := range []string{"both", "unfit"} {
		check(t, s.cloud.EnablePolicy(name, false))
	}
	check(t, s.AwaitPolicies(ctx, 2))
}
