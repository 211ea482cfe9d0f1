package v1beta1

import (
	"fmt"
	"strings"
	"unicode"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kritis-node/kritis-node/verifier"
)

// ConditionReady is the type of the condition that says whether an object does what it says. Its reason is
// ReasonUsable, or the code of the first problem: KeyNotSupported, AuthorityMissing, …
const (
	ConditionReady = "Ready"
	ReasonUsable   = "Usable"
)

// maxConditionMessage is what the API server accepts, in bytes.
const maxConditionMessage = 32 << 10

// MaxMessage bounds the text of Message, in bytes. It may be an event's note, which may have 1 KiB.
const MaxMessage = 900

// Message puts a text from elsewhere on one line for conditions and events, and keeps out what a terminal would obey.
func Message(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if len(s) > MaxMessage {
		s = strings.ToValidUTF8(s[:MaxMessage-len("…")], "") + "…"
	}
	return s
}

// AuthorityStatus is what became of an authority.
type AuthorityStatus struct {
	// The generation of the object that the status is about.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// The fingerprints of the keys that can be used, as verdicts name them: SHA256: and base64.
	//
	// +optional
	// +listType=atomic
	KeyFingerprints []string `json:"keyFingerprints,omitempty"`
}

// PolicyStatus is what became of a policy.
type PolicyStatus struct {
	// The generation of the object that the status is about.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// AllowlistStatus is what became of an allow-list.
type AllowlistStatus struct {
	// The generation of the object that the status is about.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Ready returns the condition of an object that has these problems. The moment of transition is left to whoever
// writes it (meta.SetStatusCondition).
func Ready(generation int64, problems []verifier.Problem) metav1.Condition {
	c := metav1.Condition{
		Type: ConditionReady, Status: metav1.ConditionTrue, ObservedGeneration: generation,
		Reason: ReasonUsable, Message: "everything in it can be used",
	}
	if len(problems) == 0 {
		return c
	}
	c.Status, c.Reason = metav1.ConditionFalse, problems[0].Code
	var b strings.Builder
	for i, p := range problems {
		line := strings.TrimPrefix(p.Field+": ", ": ") + p.Text
		if b.Len()+len(line) > maxConditionMessage-100 {
			fmt.Fprintf(&b, "\nand %d more problems", len(problems)-i)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(line)
	}
	c.Message = b.String()
	return c
}

// ObjectName is how problems name an object: "AttestationAuthority default/qa", without namespace where there is none.
func ObjectName(kind string, m *metav1.ObjectMeta) string {
	if kind == KindAllowlist {
		return kind + " " + brief(m.Name)
	}
	return kind + " " + brief(m.Namespace) + "/" + brief(m.Name)
}

// KeyFingerprints returns the fingerprints of an authority's keys that can be used, in their order. There are none in an
// authority that mixes the two forms.
func (a *AttestationAuthority) KeyFingerprints() []string {
	var all []string
	specs := keys(a.Spec, func(string, string, string) {})
	for _, spec := range specs[:min(len(specs), verifier.MaxKeys)] {
		if key, err := verifier.ParseKey(spec); err == nil {
			all = append(all, key.Fingerprint())
		}
	}
	return all
}
