package daemonset

import (
	"slices"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Who is given credentials of Alibaba Cloud: the controller; agents and webhook only if they are to log in at registries.
func TestAlicloudCredentials(t *testing.T) {
	with := func(settings ...string) []string { return append(settings, alicloud...) }
	rrsa := with("alicloud.credentials.roleARN=role", "alicloud.credentials.oidcProviderARN=provider")
	keys := with("alicloud.credentials.source=AccessKey", "alicloud.credentials.secretName=keys")
	for name, tc := range map[string]struct {
		settings []string
		mounts   string
		who      []string
	}{
		"nobody by default":         {nil, "", nil},
		"the controller, RRSA":      {rrsa, "alicloud alicloud-token", []string{"controller"}},
		"the controller, AccessKey": {keys, "alicloud alicloud-keys", []string{"controller"}},
		"the controller, ECS":       {with("alicloud.credentials.source=ECSRole"), "alicloud", []string{"controller"}},
		"an own authority":          {with("alicloud.credentials.source=ECSRole", "alicloud.caConfigMap=ca"), "alicloud alicloud-ca", []string{"controller"}},
		"logins":                    {append(rrsa, "alicloud.acr.logins=true"), "alicloud alicloud-token", []string{"controller", "policyagent", "webhook"}},
	} {
		var who []string
		for _, spec := range podSpecs(t, template(t, tc.settings...)) {
			for _, c := range append(spec.InitContainers, spec.Containers...) {
				var mounts []string
				for _, m := range c.VolumeMounts {
					if strings.HasPrefix(m.Name, "alicloud") {
						mounts = append(mounts, m.Name)
					}
				}
				told := slices.Contains(c.Args, "--alicloud-config=/etc/kritis-alicloud/alicloud.yaml")
				env := slices.ContainsFunc(c.Env, func(e core.EnvVar) bool { return e.Name == "ALIBABA_CLOUD_OIDC_TOKEN_FILE" })
				if told != (mounts != nil) || env != slices.Contains(mounts, "alicloud-token") {
					t.Errorf("%s: %s has mounts %v, is told: %t, has the environment: %t", name, c.Name, mounts, told, env)
				}
				if mounts == nil {
					continue
				}
				who = append(who, c.Name)
				if got := strings.Join(mounts, " "); got != tc.mounts {
					t.Errorf("%s: %s has %s, want %s", name, c.Name, got, tc.mounts)
				}
			}
		}
		if slices.Sort(who); !slices.Equal(who, tc.who) {
			t.Errorf("%s: %v have credentials, want %v", name, who, tc.who)
		}
	}
}

// What concerns the controller alone must not restart the plugin of every node.
func TestAlicloudRestartsNoNode(t *testing.T) {
	pods := func(settings ...string) map[string]string {
		all := map[string]string{}
		for _, o := range template(t, append(settings, alicloud...)...) {
			annotations, found, err := unstructured.NestedStringMap(o.Object, "spec", "template", "metadata", "annotations")
			if err == nil && found {
				all[o.GetName()] = annotations["kritis.grafeas.io/alicloud"]
			}
		}
		return all
	}
	ecs := "alicloud.credentials.source=ECSRole"
	before, after := pods(ecs), pods(ecs, "alicloud.securityCenter.syncInterval=1m")
	for name := range before {
		if changed := before[name] != after[name]; changed != (name == "kritis-controller") {
			t.Errorf("%s changes: %t", name, changed)
		}
	}
	if logins := pods(ecs, "alicloud.acr.logins=true"); logins["kritis-node"] == "" || logins["kritis-webhook"] == "" {
		t.Errorf("with logins a change of credentials must restart who uses them: %v", logins)
	}
}
