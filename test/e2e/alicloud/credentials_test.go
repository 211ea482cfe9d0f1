package alicloud

import (
	"testing"

	"github.com/kritis-node/kritis-node/test/alicloudtest"
	"github.com/kritis-node/kritis-node/test/site"
)

// testCredentials uses each source of credentials, good and bad. With bad ones the status says what was refused, and enforcement goes on.
func (s *suite) testCredentials(t *testing.T, signed, unsigned string) {
	user := s.cloud.AddUser(alicloudtest.User{Name: "controller", Allow: controllerActions})
	for name, secret := range map[string]string{"good-keys": user.AccessKeySecret, "bad-keys": "wrong"} {
		_, err := s.KubectlOutput(t.Context(), "--namespace", site.Namespace, "create", "secret", "generic", name,
			"--from-literal=accessKeyId="+user.AccessKeyID, "--from-literal=accessKeySecret="+secret)
		check(t, err)
	}
	rrsa := site.Values{"source": "RRSA", "roleARN": s.cloud.RoleARN(role), "oidcProviderARN": s.cloud.OIDCProviderARN(provider)}
	stranger := site.Values{"source": "RRSA", "roleARN": s.cloud.RoleARN("nobody"), "oidcProviderARN": s.cloud.OIDCProviderARN(provider)}
	for _, tc := range []struct {
		name        string
		credentials site.Values
		reason      string
		words       []string
	}{
		{"AccessKey with a wrong secret", site.Values{"source": "AccessKey", "secretName": "bad-keys"}, "CloudUnavailable", []string{"sas Describe", "SignatureDoesNotMatch"}},
		{"AccessKey", site.Values{"source": "AccessKey", "secretName": "good-keys"}, "InSync", nil},
		{"RRSA of a role that is not there", stranger, "CloudUnavailable", []string{"sts AssumeRoleWithOIDC", "EntityNotExist.Role"}},
		{"metadata without a role", site.Values{"source": "ECSRole", "roleName": "nobody", "unsafeMetadataAddress": s.cloud.MetadataURL()}, "CloudUnavailable", []string{"ecs"}},
		{"metadata of the instance", site.Values{"source": "ECSRole", "unsafeMetadataAddress": s.cloud.MetadataURL()}, "InSync", nil},
		{"RRSA", rrsa, "InSync", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			check(t, s.Upgrade(t.Context(), s.values(site.Values{"credentials": tc.credentials})))
			s.condition(t, "default", "genericattestationpolicy/"+policy, tc.reason, tc.words...)
			if tc.reason == "InSync" {
				s.awaitDenied(t, "default", unsigned)
			} else {
				s.awaitRefused(t, "default", "image "+unsigned, unsigned) // whether there are attestations may be known or not
			}
			s.awaitAdmitted(t, "default", signed)
		})
	}
}
