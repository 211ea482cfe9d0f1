package verifier

import (
	"fmt"
	"strings"
	"testing"
)

func TestSameRepository(t *testing.T) {
	const public, private = "acme-registry.cn-hangzhou.cr.aliyuncs.com", "acme-registry-vpc.cn-hangzhou.cr.aliyuncs.com"
	for name, tc := range map[string]struct {
		a, b string
		same bool
	}{
		"the same":                     {public + "/team/app", public + "/team/app", true},
		"both hosts of an instance":    {public + "/team/app", private + "/team/app", true},
		"both the private one":         {private + "/team/app", private + "/team/app", true},
		"another path":                 {public + "/team/app", private + "/team/other", false},
		"another instance":             {public + "/team/app", "evil-registry-vpc.cn-hangzhou.cr.aliyuncs.com/team/app", false},
		"another region":               {public + "/team/app", "acme-registry-vpc.cn-beijing.cr.aliyuncs.com/team/app", false},
		"the short host":               {public + "/team/app", "acme.cn-hangzhou.cr.aliyuncs.com/team/app", false},
		"a domain that only looks so":  {public + "/team/app", "acme-registry-vpc.cn-hangzhou.cr.aliyuncs.com.evil.example/team/app", false},
		"a longer domain":              {public + "/team/app", "acme-registry-vpc.x.cn-hangzhou.cr.aliyuncs.com/team/app", false},
		"a label more, both hosts":     {"acme-registry.x.cn-hangzhou.cr.aliyuncs.com/a", "acme-registry-vpc.x.cn-hangzhou.cr.aliyuncs.com/a", false},
		"no region":                    {"acme-registry.cr.aliyuncs.com/a", "acme-registry-vpc.cr.aliyuncs.com/a", false},
		"an empty region":              {"acme-registry..cr.aliyuncs.com/a", "acme-registry-vpc..cr.aliyuncs.com/a", false},
		"no name":                      {"-registry.cn-hangzhou.cr.aliyuncs.com/a", "-registry-vpc.cn-hangzhou.cr.aliyuncs.com/a", false},
		"a port":                       {public + ":5000/a", private + ":5000/a", false},
		"elsewhere":                    {"acme-registry.cn-hangzhou.example/a", "acme-registry-vpc.cn-hangzhou.example/a", false},
		"the name twice":               {"a-registry-vpc-registry.r.cr.aliyuncs.com/x", "a-registry-vpc-registry-vpc.r.cr.aliyuncs.com/x", true},
		"in the path, not in the host": {"docker.io/acme-registry.r.cr.aliyuncs.com/a", "docker.io/acme-registry-vpc.r.cr.aliyuncs.com/a", false},
	} {
		if got := sameRepository(tc.a, tc.b); got != tc.same || sameRepository(tc.b, tc.a) != got {
			t.Errorf("%s: %s and %s are the same: %t", name, tc.a, tc.b, got)
		}
	}
}

// A payload signed for one host of an instance counts for the other, and for no other instance.
func TestPayloadOfACR(t *testing.T) {
	digest := Digest("sha256:" + strings.Repeat("a", 64))
	payload := fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":"acme-registry.cn-hangzhou.cr.aliyuncs.com/team/app"},"image":{"docker-manifest-digest":%q},"type":%q}}`, digest, typeKritis)
	if failed := checkPayload(payload, typeKritis, "acme-registry-vpc.cn-hangzhou.cr.aliyuncs.com/team/app", digest); failed != nil {
		t.Errorf("the other host: %+v", failed)
	}
	if failed := checkPayload(payload, typeKritis, "evil-registry-vpc.cn-hangzhou.cr.aliyuncs.com/team/app", digest); failed == nil || failed.check != checkRepository {
		t.Errorf("another instance: %+v", failed)
	}
}
