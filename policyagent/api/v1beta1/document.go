package v1beta1

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kritis-node/kritis-node/verifier"
)

// Objects are all objects of the three kinds, from whatever source.
type Objects struct {
	Authorities []AttestationAuthority
	Policies    []GenericAttestationPolicy
	Allowlists  []AdmissionAllowlist
}

// Codes of the problems that Document reports. Compile has others.
const (
	CodeNameInvalid     = "NameInvalid"
	CodeKeyAmbiguous    = "KeyAmbiguous"
	CodeKeyUnreadable   = "KeyUnreadable"
	CodePatternsInvalid = "PatternInvalid"
)

// Document turns objects into the plain form that verifier compiles. An object with a name or namespace that
// Kubernetes would not have is left out: namespaces with "*" would be patterns of a floor. A key that cannot be read
// stays in as it was written, so that it attests nothing and its authority is still there to be asked for.
func Document(o Objects) (verifier.Document, []verifier.Problem) {
	var d verifier.Document
	var problems []verifier.Problem
	for _, a := range o.Authorities {
		report := reporter(&problems, KindAuthority, a.ObjectMeta)
		if !checkMeta(a.ObjectMeta, true, report) {
			continue
		}
		d.Authorities = append(d.Authorities, verifier.AuthoritySpec{
			Namespace: a.Namespace, Name: a.Name, NoteReference: a.Spec.NoteReference,
			Keys: keys(a.Spec, report), RepositoryBound: a.Spec.RepositoryBound,
		})
	}
	for _, p := range o.Policies {
		if !checkMeta(p.ObjectMeta, true, reporter(&problems, KindPolicy, p.ObjectMeta)) {
			continue
		}
		spec := verifier.PolicySpec{
			Namespace: p.Namespace, Name: p.Name, AuthorityNames: p.Spec.AttestationAuthorityNames,
			TagPolicy: p.Spec.TagPolicy, DryRun: p.Spec.DryRun,
		}
		for _, pattern := range p.Spec.AdmissionAllowlistPatterns {
			spec.Allow = append(spec.Allow, pattern.NamePattern)
		}
		d.Policies = append(d.Policies, spec)
	}
	for _, l := range o.Allowlists {
		report := reporter(&problems, KindAllowlist, l.ObjectMeta)
		if !checkMeta(l.ObjectMeta, false, report) {
			continue
		}
		for i, p := range l.Spec.Patterns {
			spec := verifier.AllowSpec{List: l.Name, Pattern: p.NamePattern, Namespace: p.Namespace, Reason: p.Reason}
			if p.Expires != nil {
				if spec.Expires = p.Expires.UTC(); spec.Expires.IsZero() {
					report(fmt.Sprintf("spec.patterns[%d].expires", i), CodePatternsInvalid, "year 1 would mean never: leave the field out, or write when the pattern ends")
					continue
				}
			}
			if p.Namespace != "" && !validNamespace(p.Namespace) {
				report(fmt.Sprintf("spec.patterns[%d].namespace", i), CodePatternsInvalid, fmt.Sprintf("%q is not the name of a namespace: write one name, without *, or leave the field out for all", brief(p.Namespace)))
				continue
			}
			d.Allowlist = append(d.Allowlist, spec)
		}
	}
	return d, problems
}

func reporter(problems *[]verifier.Problem, kind string, m metav1.ObjectMeta) func(field, code, text string) {
	object := ObjectName(kind, &m)
	return func(field, code, text string) {
		*problems = append(*problems, verifier.Problem{Object: object, Field: field, Code: code, Text: text})
	}
}

var (
	labelPattern     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	subdomainPattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
)

func validNamespace(s string) bool { return len(s) <= 63 && labelPattern.MatchString(s) }

// checkMeta applies the rules of Kubernetes' API server to names.
func checkMeta(m metav1.ObjectMeta, namespaced bool, report func(field, code, text string)) bool {
	ok := true
	if len(m.Name) > 253 || !subdomainPattern.MatchString(m.Name) {
		report("metadata.name", CodeNameInvalid, fmt.Sprintf("%q is not a name: use lower-case letters, digits, - and .", brief(m.Name)))
		ok = false
	}
	switch {
	case namespaced && !validNamespace(m.Namespace):
		report("metadata.namespace", CodeNameInvalid, fmt.Sprintf("%q is not the name of a namespace: write one name, without *", brief(m.Namespace)))
		ok = false
	case !namespaced && m.Namespace != "":
		report("metadata.namespace", CodeNameInvalid, "the kind has no namespace: remove the field; a pattern has one of its own")
		ok = false
	}
	return ok
}

// keys returns the keys of an authority in either form.
func keys(s AuthoritySpec, report func(field, code, text string)) []verifier.KeySpec {
	ack := s.PublicKeyData != "" || s.PublicKeyID != "" || s.Algorithm != ""
	if ack && len(s.PublicKeys) > 0 {
		// Taking one of them would be a guess about who may attest.
		report("spec.publicKeys", CodeKeyAmbiguous, "publicKeyData, publicKeyId or algorithm are set too: write the keys in one form, all in publicKeys, say")
		return nil
	}
	if ack {
		key := verifier.KeySpec{ID: s.PublicKeyID, PEM: s.PublicKeyData}
		if s.Algorithm != "" {
			key.Algorithms = []string{s.Algorithm}
		}
		pem, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(s.PublicKeyData), ""))
		if err != nil || len(pem) == 0 {
			report("spec.publicKeyData", CodeKeyUnreadable, "it is not base64: write the output of base64 -w0 on the PEM file")
		} else {
			key.PEM = string(pem)
		}
		return []verifier.KeySpec{key}
	}
	var all []verifier.KeySpec
	for i, k := range s.PublicKeys {
		field := fmt.Sprintf("spec.publicKeys[%d]", i)
		key := verifier.KeySpec{ID: k.KeyID}
		switch {
		case k.ASCIIArmoredPGPPublicKey != "" && k.PKIXPublicKey != nil:
			report(field, CodeKeyAmbiguous, "it has a PGP and a PKIX key: keep the PKIX key")
		case k.KeyType == KeyTypePGP:
			key.PEM = k.ASCIIArmoredPGPPublicKey
		case k.KeyType != KeyTypePKIX:
			report(field+".keyType", CodeKeyUnreadable, fmt.Sprintf("%q is not a type of key: write PKIX", brief(k.KeyType)))
		case k.PKIXPublicKey == nil:
			report(field+".pkixPublicKey", CodeKeyUnreadable, "it is missing: write publicKeyPem there")
		default:
			key.PEM = k.PKIXPublicKey.PublicKeyPEM
			if a := k.PKIXPublicKey.SignatureAlgorithm; a != "" {
				key.Algorithms = []string{a}
			}
		}
		all = append(all, key)
	}
	return all
}

func brief(s string) string {
	if len(s) > 253 {
		return s[:253] + "…"
	}
	return s
}
