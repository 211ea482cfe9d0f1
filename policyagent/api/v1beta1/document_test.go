package v1beta1

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kritis-node/kritis-node/verifier"
)

const pem = "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----\n"

func authority(spec AuthoritySpec) AttestationAuthority {
	return AttestationAuthority{ObjectMeta: metav1.ObjectMeta{Name: "qa", Namespace: "default"}, Spec: spec}
}

func TestDocument(t *testing.T) {
	expires := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	got, problems := Document(Objects{
		Authorities: []AttestationAuthority{
			authority(AuthoritySpec{NoteReference: "namespaces/qa", PublicKeyData: base64.StdEncoding.EncodeToString([]byte(pem)), PublicKeyID: "kms", Algorithm: "RSA_PSS_SHA_256", RepositoryBound: true}),
			authority(AuthoritySpec{PublicKeys: []PublicKey{
				{KeyID: "a", KeyType: KeyTypePKIX, PKIXPublicKey: &PKIXPublicKey{PublicKeyPEM: pem, SignatureAlgorithm: "RSA_SIGN_PKCS1_2048_SHA256"}},
				{KeyID: "b", KeyType: KeyTypePGP, ASCIIArmoredPGPPublicKey: "-----BEGIN PGP"},
			}}),
		},
		Policies: []GenericAttestationPolicy{{
			ObjectMeta: metav1.ObjectMeta{Name: "p.1", Namespace: "default"},
			Spec:       PolicySpec{AttestationAuthorityNames: []string{"qa"}, AdmissionAllowlistPatterns: []NamePattern{{"nginx*"}}, TagPolicy: "Resolve", DryRun: true},
		}},
		Allowlists: []AdmissionAllowlist{{
			ObjectMeta: metav1.ObjectMeta{Name: "acs"},
			Spec:       AllowlistSpec{Patterns: []AllowPattern{{NamePattern: "a/*", Namespace: "kube-system", Expires: &metav1.Time{Time: expires}, Reason: "why"}, {NamePattern: "b/*"}}},
		}},
	})
	want := verifier.Document{
		Authorities: []verifier.AuthoritySpec{
			{Namespace: "default", Name: "qa", NoteReference: "namespaces/qa", RepositoryBound: true, Keys: []verifier.KeySpec{{ID: "kms", PEM: pem, Algorithms: []string{"RSA_PSS_SHA_256"}}}},
			{Namespace: "default", Name: "qa", Keys: []verifier.KeySpec{{ID: "a", PEM: pem, Algorithms: []string{"RSA_SIGN_PKCS1_2048_SHA256"}}, {ID: "b", PEM: "-----BEGIN PGP"}}},
		},
		Policies: []verifier.PolicySpec{{Namespace: "default", Name: "p.1", AuthorityNames: []string{"qa"}, Allow: []string{"nginx*"}, TagPolicy: "Resolve", DryRun: true}},
		Allowlist: []verifier.AllowSpec{
			{List: "acs", Pattern: "a/*", Namespace: "kube-system", Expires: expires, Reason: "why"},
			{List: "acs", Pattern: "b/*"},
		},
	}
	if len(problems) > 0 || !cmp.Equal(got, want) {
		t.Errorf("%v\n%s", problems, cmp.Diff(want, got))
	}
}

func TestKeysThatCannotBeRead(t *testing.T) {
	good := PublicKey{KeyType: KeyTypePKIX, PKIXPublicKey: &PKIXPublicKey{PublicKeyPEM: pem}}
	for name, c := range map[string]struct {
		spec        AuthoritySpec
		field, text string
		keys        int
	}{
		"no base64":        {AuthoritySpec{PublicKeyData: pem}, "spec.publicKeyData", "base64 -w0", 1},
		"only an ID":       {AuthoritySpec{PublicKeyID: "kms"}, "spec.publicKeyData", "base64 -w0", 1},
		"both forms":       {AuthoritySpec{PublicKeyData: "eA==", PublicKeys: []PublicKey{good}}, "spec.publicKeys", "one form", 0},
		"algorithm beside": {AuthoritySpec{Algorithm: "x", PublicKeys: []PublicKey{good}}, "spec.publicKeys", "one form", 0},
		"no type":          {AuthoritySpec{PublicKeys: []PublicKey{good, {PKIXPublicKey: good.PKIXPublicKey}}}, "spec.publicKeys[1].keyType", "write PKIX", 2},
		"no key":           {AuthoritySpec{PublicKeys: []PublicKey{{KeyType: KeyTypePKIX}}}, "spec.publicKeys[0].pkixPublicKey", "missing", 1},
		"two in one":       {AuthoritySpec{PublicKeys: []PublicKey{{KeyType: KeyTypePKIX, PKIXPublicKey: good.PKIXPublicKey, ASCIIArmoredPGPPublicKey: "x"}}}, "spec.publicKeys[0]", "keep the PKIX key", 1},
	} {
		d, problems := Document(Objects{Authorities: []AttestationAuthority{authority(c.spec)}})
		if len(problems) != 1 || problems[0].Object != "AttestationAuthority default/qa" || problems[0].Field != c.field || !strings.Contains(problems[0].Text, c.text) {
			t.Errorf("%s: %+v", name, problems)
		}
		if len(d.Authorities) != 1 || len(d.Authorities[0].Keys) != c.keys {
			t.Errorf("%s: the authority must stay: %+v", name, d.Authorities)
		}
		for i, k := range d.Authorities[0].Keys {
			if k.PEM == pem && name != "no base64" && i == len(d.Authorities[0].Keys)-1 {
				t.Errorf("%s: key %d can be used", name, i)
			}
		}
	}
	// Line breaks in base64 come from tools, not from people.
	d, problems := Document(Objects{Authorities: []AttestationAuthority{authority(AuthoritySpec{PublicKeyData: "eA\n ==\n"})}})
	if len(problems) > 0 || d.Authorities[0].Keys[0].PEM != "x" {
		t.Errorf("%v", problems)
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("x", 64)
	for name, c := range map[string]struct {
		objects Objects
		field   string
	}{
		"pattern":             {Objects{Policies: []GenericAttestationPolicy{{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "team-*"}}}}, "metadata.namespace"},
		"no namespace":        {Objects{Policies: []GenericAttestationPolicy{{ObjectMeta: metav1.ObjectMeta{Name: "p"}}}}, "metadata.namespace"},
		"long namespace":      {Objects{Policies: []GenericAttestationPolicy{{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: long}}}}, "metadata.namespace"},
		"no name":             {Objects{Policies: []GenericAttestationPolicy{{ObjectMeta: metav1.ObjectMeta{Namespace: "d"}}}}, "metadata.name"},
		"name":                {Objects{Authorities: []AttestationAuthority{{ObjectMeta: metav1.ObjectMeta{Name: "A b", Namespace: "d"}}}}, "metadata.name"},
		"list with namespace": {Objects{Allowlists: []AdmissionAllowlist{{ObjectMeta: metav1.ObjectMeta{Name: "l", Namespace: "d"}}}}, "metadata.namespace"},
		"pattern's namespace": {Objects{Allowlists: []AdmissionAllowlist{{ObjectMeta: metav1.ObjectMeta{Name: "l"}, Spec: AllowlistSpec{Patterns: []AllowPattern{{NamePattern: "x", Namespace: "*"}}}}}}, "spec.patterns[0].namespace"},
		"expired in year 1":   {Objects{Allowlists: []AdmissionAllowlist{{ObjectMeta: metav1.ObjectMeta{Name: "l"}, Spec: AllowlistSpec{Patterns: []AllowPattern{{NamePattern: "x", Expires: new(metav1.Time)}}}}}}, "spec.patterns[0].expires"},
	} {
		d, problems := Document(c.objects)
		if len(problems) != 1 || problems[0].Field != c.field {
			t.Errorf("%s: %+v", name, problems)
		}
		if len(d.Policies)+len(d.Authorities)+len(d.Allowlist) != 0 {
			t.Errorf("%s: it is in the document", name)
		}
	}
	if d, problems := Document(Objects{Policies: []GenericAttestationPolicy{{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: long[:63]}}}}); len(problems) != 0 || len(d.Policies) != 1 {
		t.Errorf("a namespace of 63 letters: %v", problems)
	}
}

// The objects' JSON is that of the manifests.
func TestJSON(t *testing.T) {
	const manifest = `{"kind":"AttestationAuthority","apiVersion":"kritis.grafeas.io/v1beta1","metadata":{"name":"qa","namespace":"default"},` +
		`"spec":{"noteReference":"n","publicKeys":[{"keyId":"k","keyType":"PKIX","pkixPublicKey":{"publicKeyPem":"p","signatureAlgorithm":"s"}}]}}`
	var a AttestationAuthority
	if err := json.Unmarshal([]byte(manifest), &a); err != nil {
		t.Fatal(err)
	}
	if b, err := json.Marshal(a); err != nil || string(b) != manifest {
		t.Errorf("%s (%v)", b, err)
	}
}
