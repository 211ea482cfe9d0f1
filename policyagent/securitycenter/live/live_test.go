package live

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/securitycenter"
	"github.com/kritis-node/kritis-node/test/alicloudtest"
	"github.com/kritis-node/kritis-node/test/cluster/clustertest"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
)

// One cluster and one cloud serve all these tests, in order.
func TestLive(t *testing.T) {
	kube := clustertest.StartKubernetes(t, kubernetes.Options{})
	cloud, err := alicloudtest.Start(alicloudtest.Options{})
	check(t, err)
	t.Cleanup(func() { check(t, cloud.Close()) })
	s := &site{t: t, kube: kube, cloud: cloud}
	check(t, kube.Apply(t.Context(), rights))
	s.kubectl("apply", "--filename", crds)
	s.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	account := cloud.AddUser(alicloudtest.User{Name: "controller"})
	check(t, cloud.Allow("controller", "yundun-sas:Describe*", "kms:*"))
	s.env = account.Environment()
	s.key, err = cloud.CreateKey(alicloudtest.NewKey{})
	check(t, err)
	cloud.PutWitness(alicloudtest.Witness{Name: "qa", KeyID: s.key.ID, KeyVersion: s.key.Versions[0].ID})
	for _, test := range []struct {
		name string
		run  func(*site)
	}{
		{"switched on", testSwitch},
		{"tampering", testTampering},
		{"a name that is taken", testClash},
		{"a namespace that comes later", testNamespace},
		{"restart", testRestart},
		{"faults", testFaults},
		{"keys", testKeys},
		{"switched off", testOff},
	} {
		t.Run(test.name, func(t *testing.T) {
			here := *s
			here.t = t
			test.run(&here)
		})
	}
}

const inSync = securitycenter.ReasonInSync

// A policy whose switch is off changes nothing; on, its objects are there within the interval, are as users would write
// them, and nothing more is written.
func testSwitch(s *site) {
	s.start()
	s.policy("prod", false, "default")
	s.awaitSyncs(2)
	if s.object("gap", "default", "prod") != nil || s.object("aa", "default", "qa") != nil {
		s.t.Fatal("a policy that is off has objects")
	}
	s.policy("prod", true, "default")
	began := time.Now()
	s.await("gap", "default", "prod", "there", func(*object) bool { return true })
	took := time.Since(began)
	s.t.Logf("from switch to object: %s", took)
	if took > interval+2*time.Second {
		s.t.Errorf("that is too long")
	}
	p := s.awaitReason("gap", "default", "prod", inSync)
	a := s.awaitReason("aa", "default", "qa", inSync)
	if !slices.Equal(p.Spec.AttestationAuthorityNames, []string{"qa"}) || p.Labels[securitycenter.Label] != securitycenter.LabelValue {
		s.t.Errorf("%+v", p)
	}
	if a.Spec.NoteReference != "namespaces/qa" || a.Spec.PublicKeyID != s.key.ID || len(a.Spec.PublicKeys) != 0 ||
		a.Spec.PublicKeyData != base64.StdEncoding.EncodeToString([]byte(s.key.Versions[0].PEM)) {
		s.t.Errorf("%+v", a.Spec)
	}
	if !strings.Contains(s.kubectl("get", "gap,aa", "--output", "yaml", "--show-managed-fields"), "manager: "+securitycenter.FieldManager) {
		s.t.Error("the fields are somebody else's")
	}
	usable := func(o *object) bool { return o.reason("Ready") == "Usable" }
	p = s.await("gap", "default", "prod", "usable", usable)
	a = s.await("aa", "default", "qa", "usable", usable)
	s.awaitSyncs(2)
	if q, b := s.object("gap", "default", "prod"), s.object("aa", "default", "qa"); q.ResourceVersion != p.ResourceVersion || b.ResourceVersion != a.ResourceVersion {
		s.t.Errorf("written although settled:\n%+v\n%+v\n%+v\n%+v", p, q, a, b)
	}
	if n := s.cloud.Calls(alicloudtest.Call{Service: "kms"}); n > 2 {
		s.t.Errorf("%d calls to KMS", n)
	}
}
