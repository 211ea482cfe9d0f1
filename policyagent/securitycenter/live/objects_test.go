package live

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/securitycenter"
	"github.com/kritis-node/kritis-node/test/alicloudtest"
)

// Whatever somebody does to an object of ours is put right, and told.
func testTampering(s *site) {
	s.start()
	s.policy("prod", true, "default")
	s.awaitReason("gap", "default", "prod", inSync)
	p, a := s.awaitReason("gap", "default", "prod", inSync), s.awaitReason("aa", "default", "qa", inSync)
	same := func(before *object) func(*object) bool {
		return func(now *object) bool {
			return reflect.DeepEqual(now.Spec, before.Spec) && now.Labels[securitycenter.Label] == securitycenter.LabelValue &&
				reflect.DeepEqual(now.Annotations, before.Annotations)
		}
	}
	patch := func(what, object, patch string) {
		s.t.Helper()
		s.t.Log(what)
		s.kubectl("patch", object, "--namespace", "default", "--type=merge", "--patch", patch)
		s.await("gap", "default", "prod", "as before", same(p))
		s.await("aa", "default", "qa", "as before", same(a))
	}
	patch("dry run", "gap/prod", `{"spec":{"dryRun":true}}`)
	patch("allow-list", "gap/prod", `{"spec":{"admissionAllowlistPatterns":[{"namePattern":"*"}]}}`)
	patch("other authorities", "gap/prod", `{"spec":{"attestationAuthorityNames":["mine"]}}`)
	patch("tags", "gap/prod", `{"spec":{"tagPolicy":"Resolve"}}`)
	patch("another key", "aa/qa", `{"spec":{"publicKeyData":"eA=="}}`)
	patch("another form of keys", "aa/qa", `{"spec":{"publicKeyData":null,"publicKeyId":null,"publicKeys":[{"keyType":"PKIX","pkixPublicKey":{"publicKeyPem":"x"}}]}}`)
	patch("the label", "gap/prod", `{"metadata":{"labels":{"`+securitycenter.Label+`":null}}}`)
	patch("all marks", "aa/qa", `{"metadata":{"labels":null,"annotations":null}}`)
	s.awaitEvent("default", "prod", securitycenter.EventPutRight)
	s.awaitEvent("default", "qa", securitycenter.EventPutRight)

	s.t.Log("deleted")
	s.kubectl("delete", "gap/prod", "aa/qa", "--namespace", "default")
	s.await("gap", "default", "prod", "as before", same(p))
	s.await("aa", "default", "qa", "as before", same(a))

	s.t.Log("conditions")
	s.kubectl("patch", "gap/prod", "--namespace", "default", "--subresource=status", "--type=merge", "--patch", `{"status":{"conditions":[]}}`)
	s.awaitReason("gap", "default", "prod", inSync)
	s.await("gap", "default", "prod", "ready", func(o *object) bool { return o.reason("Ready") == "Usable" })

	s.t.Log("what makes it stricter is the user's")
	s.kubectl("patch", "aa/qa", "--namespace", "default", "--type=merge", "--patch", `{"spec":{"repositoryBound":true,"algorithm":"RSA_PKCS1_SHA_256"}}`)
	s.awaitSyncs(1)
	if o := s.object("aa", "default", "qa"); !o.Spec.RepositoryBound || o.Spec.Algorithm != "RSA_PKCS1_SHA_256" {
		s.t.Errorf("%+v", o.Spec)
	}
}

// A user's object keeps its name, and is not touched; ours has another one, which the policy means.
func testClash(s *site) {
	mine := func(kind, spec string) string {
		return fmt.Sprintf("---\napiVersion: kritis.grafeas.io/v1beta1\nkind: %s\nmetadata: {name: %s, namespace: clash}\nspec: %s\n",
			kind, map[string]string{"AttestationAuthority": "qa", "GenericAttestationPolicy": "prod"}[kind], spec)
	}
	s.kubectl("create", "namespace", "clash")
	check(s.t, s.kube.Apply(s.t.Context(), mine("AttestationAuthority", "{noteReference: namespaces/mine}")+mine("GenericAttestationPolicy", "{attestationAuthorityNames: [mine]}")))
	s.policy("prod", true, "default", "clash")
	c := s.start()
	other := func(kind, name string) string {
		s.t.Helper()
		found := ""
		s.await(kind, "clash", s.alternative(kind, "clash", name), "there", func(o *object) bool { found = o.Name; return true })
		return found
	}
	authority, policy := other("aa", "qa"), other("gap", "prod")
	if o := s.object("gap", "clash", policy); !slices.Equal(o.Spec.AttestationAuthorityNames, []string{authority}) {
		s.t.Errorf("the policy means %v, not %s", o.Spec.AttestationAuthorityNames, authority)
	}
	s.awaitEvent("clash", "qa", securitycenter.EventNameTaken)
	s.awaitEvent("clash", "prod", securitycenter.EventNameTaken)
	s.awaitSyncs(1)
	for _, object := range []string{"aa/qa", "gap/prod"} {
		if text := s.kubectl("get", object, "--namespace", "clash", "--output", "yaml", "--show-managed-fields"); strings.Contains(text, securitycenter.FieldManager) || strings.Contains(text, securitycenter.Label) {
			s.t.Errorf("a user's object was written:\n%s", text)
		}
	}
	// A restart finds the same names, though they are free now.
	s.kubectl("delete", "aa/qa", "gap/prod", "--namespace", "clash")
	c.Stop()
	s.start()
	s.awaitSyncs(1)
	if s.object("aa", "clash", "qa") != nil || s.object("gap", "clash", "prod") != nil || s.object("gap", "clash", policy) == nil {
		s.t.Errorf("other names: %s", s.kubectl("get", "aa,gap", "--namespace", "clash"))
	}
	s.policy("prod", true, "default")
	s.awaitGone("gap", "clash", policy)
	s.awaitGone("aa", "clash", authority)
}

// alternative waits for an object of ours that has not the plain name.
func (s *site) alternative(kind, ns, name string) string {
	s.t.Helper()
	for range 600 {
		for _, n := range strings.Fields(s.kubectl("get", kind, "--namespace", ns, "--output", "jsonpath={.items[*].metadata.name}")) {
			if strings.HasPrefix(n, name+"-sc-") {
				return n
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.t.Fatalf("no other name for %s: %s", name, s.kubectl("get", kind, "--namespace", ns))
	return ""
}

// A namespace that comes later gets its objects at once, also while the cloud is away; one that comes again does too, even
// while a removal is held back.
func testNamespace(s *site) {
	s.start()
	s.policy("prod", true, "default", "later")
	s.awaitSyncs(1)
	repair, err := s.cloud.Break(alicloudtest.Fault{Service: "sas", Kind: alicloudtest.Hang})
	check(s.t, err)
	calls := s.cloud.Calls(alicloudtest.Call{Service: "kms"})
	began := time.Now()
	s.kubectl("create", "namespace", "later")
	s.await("gap", "later", "prod", "there", func(*object) bool { return true })
	s.t.Logf("from namespace to policy: %s", time.Since(began))
	if took := time.Since(began); took > 3*time.Second {
		s.t.Errorf("that is too long")
	}
	if s.object("aa", "later", "qa") == nil || s.cloud.Calls(alicloudtest.Call{Service: "kms"}) != calls {
		s.t.Error("no authority, or one for which KMS was asked")
	}
	repair()
	_, err = s.cloud.Break(alicloudtest.Fault{Service: "sas", Kind: alicloudtest.Empty})
	check(s.t, err)
	s.awaitReason("gap", "later", "prod", securitycenter.ReasonHeldBack)
	s.kubectl("delete", "namespace", "later")
	s.kubectl("create", "namespace", "later")
	s.awaitReason("gap", "later", "prod", securitycenter.ReasonHeldBack)
	s.cloud.Repair()
	s.awaitReason("gap", "later", "prod", inSync)
}

// A restart writes nothing, and needs no KMS; nor does one while the cloud is away.
func testRestart(s *site) {
	s.policy("prod", true, "default")
	c := s.start()
	s.awaitReason("gap", "default", "prod", inSync)
	s.awaitSyncs(1)
	p, a := s.object("gap", "default", "prod"), s.object("aa", "default", "qa")
	c.Stop()
	calls := s.cloud.Calls(alicloudtest.Call{Service: "kms"})
	again := s.start()
	s.awaitSyncs(2)
	if q, b := s.object("gap", "default", "prod"), s.object("aa", "default", "qa"); q.ResourceVersion != p.ResourceVersion || b.ResourceVersion != a.ResourceVersion {
		s.t.Errorf("written by a restart:\n%+v\n%+v\n%+v\n%+v", p, q, a, b)
	}
	again.Stop()
	_, err := s.cloud.Break(alicloudtest.Fault{Kind: alicloudtest.Unavailable})
	check(s.t, err)
	s.start()
	s.awaitReason("gap", "default", "prod", securitycenter.ReasonCloudUnavailable)
	s.awaitReason("aa", "default", "qa", securitycenter.ReasonCloudUnavailable)
	if q, b := s.object("gap", "default", "prod"), s.object("aa", "default", "qa"); !reflect.DeepEqual(q.Spec, p.Spec) || !reflect.DeepEqual(b.Spec, a.Spec) {
		s.t.Errorf("changed while the cloud is away:\n%+v\n%+v", q, b)
	}
	s.cloud.Repair()
	s.awaitReason("gap", "default", "prod", inSync)
	s.awaitReason("aa", "default", "qa", inSync)
	if got := s.cloud.Calls(alicloudtest.Call{Service: "kms"}); got != calls {
		s.t.Errorf("%d calls to KMS after restarts", got-calls)
	}
}

// Faults of Security Center take nothing away; an empty list neither, however often; what is deleted by hand then stays away. The
// other kinds of faults are shown on nodes, by test/e2e/alicloud.
func testFaults(s *site) {
	s.policy("prod", true, "default")
	s.start()
	s.awaitReason("gap", "default", "prod", inSync)
	for _, kind := range []alicloudtest.FaultKind{alicloudtest.Garbage, alicloudtest.Truncate} {
		s.t.Log(kind)
		repair, err := s.cloud.Break(alicloudtest.Fault{Service: "sas", Kind: kind})
		check(s.t, err)
		s.awaitReason("gap", "default", "prod", securitycenter.ReasonCloudUnavailable)
		repair()
		s.awaitReason("gap", "default", "prod", inSync)
	}
	s.t.Log("a right is missing")
	check(s.t, s.cloud.Allow("controller", "kms:*"))
	o := s.awaitReason("gap", "default", "prod", securitycenter.ReasonCloudUnavailable)
	if !strings.Contains(o.message(), "sas DescribeBinarySecurityPolicies: ") {
		s.t.Errorf("%q does not say which action was refused", o.message())
	}
	check(s.t, s.cloud.Allow("controller", "yundun-sas:Describe*", "kms:*"))
	s.awaitReason("gap", "default", "prod", inSync)
	s.t.Log("empty")
	_, err := s.cloud.Break(alicloudtest.Fault{Service: "sas", Kind: alicloudtest.Empty})
	check(s.t, err)
	s.awaitReason("gap", "default", "prod", securitycenter.ReasonHeldBack)
	s.awaitEvent("default", "prod", securitycenter.ReasonHeldBack)
	s.awaitSyncs(3)
	s.awaitReason("gap", "default", "prod", securitycenter.ReasonHeldBack)
	s.kubectl("delete", "gap,aa", "--namespace", "default", "--selector", securitycenter.Label+"="+securitycenter.LabelValue)
	s.awaitGone("gap", "default", "prod")
	s.awaitGone("aa", "default", "qa")
	s.awaitSyncs(1)
	if s.object("gap", "default", "prod") != nil || s.object("aa", "default", "qa") != nil {
		s.t.Error("made again")
	}
	s.cloud.Repair()
	s.awaitReason("gap", "default", "prod", inSync)
}

// Keys: a disabled one goes on counting and shows, another version replaces or joins, a denied one shows and denies.
func testKeys(s *site) {
	s.policy("prod", true, "default")
	c := s.start("--key-refresh", "5s")
	s.awaitReason("aa", "default", "qa", inSync)
	data := s.object("aa", "default", "qa").Spec.PublicKeyData
	check(s.t, s.cloud.SetKeyState(s.key.Region, s.key.ID, alicloudtest.Disabled))
	if o := s.awaitReason("aa", "default", "qa", securitycenter.ReasonKeyDisabled); o.Spec.PublicKeyData != data {
		s.t.Error("a key that is disabled no longer counts")
	}
	s.awaitEvent("default", "qa", securitycenter.ReasonKeyDisabled)
	check(s.t, s.cloud.SetKeyState(s.key.Region, s.key.ID, alicloudtest.Enabled))
	s.awaitReason("aa", "default", "qa", inSync)
	c.Stop()

	version, err := s.cloud.AddKeyVersion(s.key.Region, s.key.ID)
	check(s.t, err)
	s.cloud.PutWitness(alicloudtest.Witness{Name: "qa", KeyID: s.key.ID, KeyVersion: version.ID})
	c = s.start("--key-versions", "KeepOld")
	o := s.await("aa", "default", "qa", "two keys", func(o *object) bool {
		return len(o.Spec.PublicKeys) == 2 && o.Spec.PublicKeyData == "" && len(o.Status.KeyFingerprints) == 2
	})
	if o.Spec.PublicKeys[0].PKIXPublicKey.PublicKeyPEM != version.PEM {
		s.t.Errorf("%+v", o.Spec)
	}
	c.Stop()
	s.start("--key-versions", "Named")
	s.await("aa", "default", "qa", "one key", func(o *object) bool {
		return len(o.Spec.PublicKeys) == 0 && o.Spec.PublicKeyData != data && len(o.Status.KeyFingerprints) == 1 && o.reason("Ready") == "Usable"
	})

	check(s.t, s.cloud.Allow("controller", "yundun-sas:*"))
	other, err := s.cloud.CreateKey(alicloudtest.NewKey{})
	check(s.t, err)
	s.cloud.PutWitness(alicloudtest.Witness{Name: "other", KeyID: other.ID, KeyVersion: other.Versions[0].ID})
	s.cloud.PutPolicy(alicloudtest.Policy{Name: "denied", Enabled: true, Required: []string{"other"}, Scopes: []alicloudtest.Scope{{ClusterID: clusterID, Namespaces: []string{"default"}}}})
	o = s.awaitReason("aa", "default", "other", securitycenter.ReasonKeyUnavailable)
	if !strings.Contains(o.message(), "kms DescribeKey: ") {
		s.t.Errorf("%q does not say which action was refused", o.message())
	}
	s.await("gap", "default", "denied", "denying", func(o *object) bool { return o.reason("Ready") == "AuthorityUnusable" })
	check(s.t, s.cloud.Allow("controller", "yundun-sas:*", "kms:*"))
	s.await("gap", "default", "denied", "usable", func(o *object) bool { return o.reason("Ready") == "Usable" })
}

// Off: the objects go after two listings. A witness' name that no object can have does not keep it from counting.
func testOff(s *site) {
	s.start()
	s.cloud.PutWitness(alicloudtest.Witness{Name: "QA Team", KeyID: s.key.ARN, KeyVersion: s.key.Versions[0].ID})
	s.cloud.PutPolicy(alicloudtest.Policy{Name: "Prod_1", Enabled: true, Required: []string{"QA Team", "qa"}, Scopes: []alicloudtest.Scope{{ClusterID: clusterID, Namespaces: []string{"default"}}}})
	find := func(kind, prefix string) string {
		s.t.Helper()
		for range 600 {
			for _, n := range strings.Fields(s.kubectl("get", kind, "--output", "jsonpath={.items[*].metadata.name}")) {
				if strings.HasPrefix(n, prefix) {
					return n
				}
			}
			time.Sleep(50 * time.Millisecond)
		}
		s.t.Fatalf("no %s*: %s", prefix, s.kubectl("get", kind))
		return ""
	}
	policy, authority := find("gap", "prod-1-"), find("aa", "qa-team-")
	o := s.await("gap", "default", policy, "usable", func(o *object) bool { return o.reason("Ready") == "Usable" })
	if !slices.Equal(o.Spec.AttestationAuthorityNames, []string{authority, "qa"}) {
		s.t.Errorf("%v", o.Spec.AttestationAuthorityNames)
	}
	for _, p := range []string{"prod", "denied", "Prod_1"} {
		s.cloud.PutPolicy(alicloudtest.Policy{Name: p, Required: []string{"qa"}})
	}
	s.awaitReason("gap", "default", policy, securitycenter.ReasonHeldBack)
	s.awaitGone("gap", "default", policy)
	s.awaitGone("aa", "default", authority)
	s.awaitGone("aa", "default", "qa")
}
