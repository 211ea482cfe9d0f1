package live

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
)

const (
	reason = `{.status.conditions[?(@.type=="Ready")].reason}`
	ready  = `{.status.conditions[?(@.type=="Ready")].status}`
)

func object(kind, ns, name, spec string) string {
	place := ""
	if ns != "" {
		place = ", namespace: " + ns
	}
	return fmt.Sprintf("---\napiVersion: kritis.grafeas.io/v1beta1\nkind: %s\nmetadata: {name: %s%s}\nspec: %s\n", kind, name, place, spec)
}

// publicKey returns a key that can be used with ECDSA_P256_SHA256, in the form of ACK.
func publicKey(t *testing.T) string {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	check(t, err)
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func usable(t *testing.T) string {
	return "{publicKeyData: " + publicKey(t) + ", publicKeyId: k, algorithm: " + algorithm + "}"
}

const algorithm = "ECDSA_SHA_256"

// Every kind, in every reason that an API server lets somebody cause.
func testReasons(t *testing.T, kube *kubernetes.Cluster) {
	c := startController(t, kube, 9101)
	const aa, gap, aal = v1beta1.KindAuthority, v1beta1.KindPolicy, v1beta1.KindAllowlist
	many := strings.Repeat("{keyType: PKIX, pkixPublicKey: {publicKeyPem: x}}, ", 17)
	tests := []struct{ kind, name, spec, ready, reason, message string }{
		{aa, "good", usable(t), "True", "Usable", "everything in it can be used"},
		{aa, "pgp", `{publicKeys: [{keyType: PGP, asciiArmoredPgpPublicKey: "-----BEGIN PGP PUBLIC KEY BLOCK-----"}]}`, "False", "KeyNotSupported", "keys[0].pem: "},
		{aa, "none", "{}", "False", "KeyMissing", "keys: "},
		{aa, "unreadable", "{publicKeyData: '%%%'}", "False", "KeyUnreadable", "spec.publicKeyData: it is not base64"},
		{aa, "two-forms", "{publicKeyId: x, publicKeys: [{keyType: PKIX}]}", "False", "KeyAmbiguous", "spec.publicKeys: "},
		{aa, "many", "{publicKeys: [" + many + "]}", "False", "KeyNotSupported", ""},
		{aa, "unknown-field", strings.Replace(usable(t), "{", "{pubicKeys: [], ", 1), "False", "FieldUnknown", "spec.pubicKeys: "},
		{gap, "good", "{attestationAuthorityNames: [good]}", "True", "Usable", "everything in it can be used"},
		{gap, "missing", "{attestationAuthorityNames: [good, nobody]}", "False", "AuthorityMissing", "authorityNames[1]: "},
		{gap, "useless", "{attestationAuthorityNames: [pgp]}", "False", "AuthorityUnusable", "authorityNames[0]: "},
		{gap, "empty", "{}", "False", "NoAuthorities", "authorityNames: "},
		{gap, "pattern", "{attestationAuthorityNames: [good], admissionAllowlistPatterns: [{namePattern: 'a b'}]}", "False", "PatternInvalid", "allow[0]: "},
		{aal, "good", "{patterns: [{namePattern: registry.example/app}]}", "True", "Usable", "everything in it can be used"},
		{aal, "pattern", "{patterns: [{namePattern: x}, {namePattern: 'a b'}]}", "False", "PatternInvalid", "patterns[1]: "},
		{aal, "namespace", "{patterns: [{namePattern: x, namespace: 'team-*'}]}", "False", "PatternInvalid", "spec.patterns[0].namespace: "},
		{aal, "over", "{patterns: [{namePattern: x, expires: '2020-01-01T00:00:00Z'}]}", "False", "PatternsExpired", "every pattern has expired"},
		{aal, "over-partly", "{patterns: [{namePattern: z}, {namePattern: x, expires: '2020-01-01T00:00:00Z'}]}", "True", "SomePatternsExpired", "expired, and without effect: spec.patterns[1];"},
	}
	var all strings.Builder
	for _, tc := range tests {
		ns := "default"
		if tc.kind == aal {
			ns = ""
		}
		all.WriteString(object(tc.kind, ns, tc.name, tc.spec))
	}
	apply(t, kube, all.String())
	for _, tc := range tests {
		await(t, kube, "default", tc.kind+"/"+tc.name, reason, tc.reason)
		var o v1beta1.AttestationAuthority
		get(t, kube, &o, tc.kind, tc.name)
		if len(o.Status.Conditions) != 1 {
			t.Fatalf("%s %s: %+v", tc.kind, tc.name, o.Status)
		}
		r := o.Status.Conditions[0]
		if string(r.Status) != tc.ready || !strings.HasPrefix(r.Message, tc.message) || r.ObservedGeneration != 1 || o.Status.ObservedGeneration != 1 || r.LastTransitionTime.IsZero() {
			t.Errorf("%s %s: %+v", tc.kind, tc.name, o.Status)
		}
		prints := o.Status.KeyFingerprints
		if want := tc.kind == aa && (tc.name == "good" || tc.name == "unknown-field"); want != (len(prints) == 1) || want && !strings.HasPrefix(prints[0], "SHA256:") {
			t.Errorf("%s %s: fingerprints %v", tc.kind, tc.name, prints)
		}
	}
	if got := c.metric("kritis_controller_problems", "kind="+gap, "code=AuthorityMissing"); got != 1 {
		t.Errorf("the metric counts %v policies without authority", got)
	}
	// A key that is no longer any takes its fingerprint along.
	apply(t, kube, object(aa, "default", "good", "{publicKeyData: eA==}"))
	await(t, kube, "default", aa+"/good", reason, "KeyNotSupported")
	var o v1beta1.AttestationAuthority
	get(t, kube, &o, aa, "good")
	if len(o.Status.KeyFingerprints) != 0 || o.Status.ObservedGeneration != 2 || o.Status.Conditions[0].ObservedGeneration != 2 {
		t.Errorf("%+v", o.Status)
	}
	await(t, kube, "default", gap+"/good", reason, "AuthorityUnusable")
	got := kubectl(t, kube, "get", "gap,aa,aal")
	for _, want := range []string{"READY", "REASON", "False   AuthorityUnusable", "False   KeyNotSupported", "True    SomePatternsExpired"} {
		if !strings.Contains(got, want) {
			t.Errorf("kubectl does not show %q:\n%s", want, got)
		}
	}
	// Nobody's condition but ours is written, and one that somebody changed comes back.
	kubectl(t, kube, "patch", "gap", "useless", "--subresource=status", "--type=merge", "--patch",
		`{"status":{"conditions":[{"type":"Other","status":"True","reason":"X","message":"","lastTransitionTime":"2020-01-01T00:00:00Z"}]}}`)
	await(t, kube, "default", "gap/useless", reason, "AuthorityUnusable")
	await(t, kube, "default", "gap/useless", `{.status.conditions[?(@.type=="Other")].reason}`, "X")
	kubectl(t, kube, "delete", "aa,gap,aal", "--all", "--namespace", "default")
	c.awaitMetric(0, "kritis_controller_problems")
}

// A policy is right when its authority comes, in its namespace, and wrong when that goes.
func testFollow(t *testing.T, kube *kubernetes.Cluster) {
	startController(t, kube, 9101)
	kubectl(t, kube, "create", "namespace", "other")
	apply(t, kube, object(v1beta1.KindPolicy, "default", "p", "{attestationAuthorityNames: [qa]}"))
	await(t, kube, "default", "gap/p", reason, "AuthorityMissing")
	apply(t, kube, object(v1beta1.KindAuthority, "other", "qa", usable(t)))
	await(t, kube, "other", "aa/qa", reason, "Usable")
	await(t, kube, "default", "gap/p", reason, "AuthorityMissing")
	apply(t, kube, object(v1beta1.KindAuthority, "default", "qa", usable(t)))
	await(t, kube, "default", "gap/p", ready, "True")
	kubectl(t, kube, "delete", "aa", "qa")
	await(t, kube, "default", "gap/p", reason, "AuthorityMissing")
}

// Patterns expire when their time has come, though nothing else happens.
func testExpiry(t *testing.T, kube *kubernetes.Cluster) {
	startController(t, kube, 9101)
	first, last := time.Now().Add(10*time.Second), time.Now().Add(15*time.Second)
	at := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	apply(t, kube, object(v1beta1.KindAllowlist, "", "brief", fmt.Sprintf("{patterns: [{namePattern: x, expires: %q}, {namePattern: z, expires: %q}]}", at(last), at(first))))
	await(t, kube, "", "aal/brief", reason, "Usable")
	await(t, kube, "", "aal/brief", reason, "SomePatternsExpired")
	if time.Now().Before(first.Truncate(time.Second)) {
		t.Error("too early")
	}
	await(t, kube, "", "aal/brief", reason, "PatternsExpired")
	if now := time.Now(); now.Before(last.Truncate(time.Second)) {
		t.Error("too early")
	}
	apply(t, kube, object(v1beta1.KindAllowlist, "", "brief", "{patterns: [{namePattern: x}]}"))
	await(t, kube, "", "aal/brief", reason, "Usable")
}

// A controller that finds everything as it should be writes nothing.
func testSettled(t *testing.T, kube *kubernetes.Cluster) {
	kubectl(t, kube, "delete", "aa,gap,aal", "--all", "--all-namespaces")
	var all bytes.Buffer
	for i := range 50 {
		fmt.Fprint(&all, object(v1beta1.KindPolicy, "default", fmt.Sprintf("settled-%d", i), "{attestationAuthorityNames: [nobody]}"))
	}
	fmt.Fprint(&all, object(v1beta1.KindAuthority, "default", "settled", usable(t)), object(v1beta1.KindAllowlist, "", "settled", "{patterns: [{namePattern: x}]}"))
	apply(t, kube, all.String())
	first := startController(t, kube, 9101)
	for i := range 50 {
		await(t, kube, "default", fmt.Sprintf("gap/settled-%d", i), reason, "AuthorityMissing")
	}
	await(t, kube, "default", "aa/settled", reason, "Usable")
	await(t, kube, "", "aal/settled", reason, "Usable")
	await(t, kube, "", "node/"+kube.NodeName(), `{.status.conditions[?(@.type=="KritisEnforcing")].reason}`, "Silent")
	first.awaitMetric(50, "kritis_controller_problems", "kind="+v1beta1.KindPolicy)
	first.Stop()
	second := startController(t, kube, 9101)
	second.awaitMetric(50, "kritis_controller_problems", "kind="+v1beta1.KindPolicy)
	second.awaitMetric(1, "kritis_controller_nodes", "mode=silent")
	// One more change goes through all of the namespace again, and needs one write.
	apply(t, kube, object(v1beta1.KindAuthority, "default", "settled", "{}"))
	await(t, kube, "default", "aa/settled", reason, "KeyMissing")
	if got := second.metric("rest_client_requests_total", "method=PATCH"); got != 1 {
		t.Errorf("%v writes, want one", got)
	}
	kubectl(t, kube, "delete", "aa,gap,aal", "--all", "--all-namespaces")
}
