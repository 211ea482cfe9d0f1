package v1beta1

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	stdpem "encoding/pem"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kritis-node/kritis-node/verifier"
)

func TestReady(t *testing.T) {
	many := make([]verifier.Problem, 100)
	for i := range many {
		many[i] = verifier.Problem{Field: fmt.Sprintf("spec.patterns[%d]", i), Code: "PatternInvalid", Text: strings.Repeat("x", 1000)}
	}
	for name, c := range map[string]struct {
		problems        []verifier.Problem
		status          metav1.ConditionStatus
		reason, message string
	}{
		"none":     {nil, metav1.ConditionTrue, "Usable", "everything in it can be used"},
		"one":      {[]verifier.Problem{{Code: "KeyNotSupported", Field: "keys[0].pem", Text: "PGP"}}, metav1.ConditionFalse, "KeyNotSupported", "keys[0].pem: PGP"},
		"no field": {[]verifier.Problem{{Code: "Duplicate", Text: "twice"}, {Code: "B", Field: "f", Text: "t"}}, metav1.ConditionFalse, "Duplicate", "twice\nf: t"},
		"many":     {many, metav1.ConditionFalse, "PatternInvalid", ""},
	} {
		got := Ready(7, c.problems)
		if got.Type != "Ready" || got.Status != c.status || got.Reason != c.reason || got.ObservedGeneration != 7 || c.message != "" && got.Message != c.message {
			t.Errorf("%s: %+v", name, got)
		}
		if name == "many" && (len(got.Message) > maxConditionMessage || !strings.HasSuffix(got.Message, "more problems")) {
			t.Errorf("%s: %d bytes, %q", name, len(got.Message), got.Message[len(got.Message)-50:])
		}
	}
}

func TestKeyFingerprints(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	good := string(stdpem.EncodeToMemory(&stdpem.Block{Type: "PUBLIC KEY", Bytes: der}))
	upstream := PublicKey{KeyType: KeyTypePKIX, PKIXPublicKey: &PKIXPublicKey{PublicKeyPEM: good}}
	many := make([]PublicKey, verifier.MaxKeys+1)
	for i := range many {
		many[i] = upstream
	}
	for name, c := range map[string]struct {
		spec AuthoritySpec
		want int
	}{
		"none":       {AuthoritySpec{}, 0},
		"ACK":        {AuthoritySpec{PublicKeyData: base64.StdEncoding.EncodeToString([]byte(good))}, 1},
		"upstream":   {AuthoritySpec{PublicKeys: []PublicKey{{KeyType: KeyTypePGP, ASCIIArmoredPGPPublicKey: "-----BEGIN PGP"}, upstream}}, 1},
		"both forms": {AuthoritySpec{PublicKeyData: "eA==", PublicKeys: []PublicKey{upstream}}, 0},
		"too many":   {AuthoritySpec{PublicKeys: many}, verifier.MaxKeys},
	} {
		a := authority(c.spec)
		got := a.KeyFingerprints()
		if len(got) != c.want {
			t.Errorf("%s: %v", name, got)
		}
		for _, f := range got {
			if !strings.HasPrefix(f, "SHA256:") {
				t.Errorf("%s: %s", name, f)
			}
		}
	}
}

func TestAddToScheme(t *testing.T) {
	s := runtime.NewScheme()
	if err := AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{KindAuthority, KindPolicy, KindAllowlist} {
		for _, k := range []string{kind, kind + "List"} {
			o, err := s.New(GroupVersion().WithKind(k))
			if err != nil {
				t.Error(err)
				continue
			}
			if o.DeepCopyObject() == nil {
				t.Errorf("%s is not copied", k)
			}
		}
	}
}
