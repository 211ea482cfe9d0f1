package verifier

import "fmt"

// Kinds of object, as they are called in Kubernetes.
const (
	kindAuthority = "AttestationAuthority"
	kindPolicy    = "GenericAttestationPolicy"
	kindAllowlist = "AdmissionAllowlist"
)

// Values of Problem.Code.
const (
	CodeNameMissing       = "NameMissing"
	CodeDuplicate         = "Duplicate"
	CodeKeyNotSupported   = "KeyNotSupported"
	CodeKeyMissing        = "KeyMissing"
	CodeKeyLimit          = "KeyLimit"
	CodeNoAuthorities     = "NoAuthorities"
	CodeAuthorityMissing  = "AuthorityMissing"
	CodeAuthorityUnusable = "AuthorityUnusable"
	CodeTagPolicyUnknown  = "TagPolicyUnknown"
	CodePatternInvalid    = "PatternInvalid"
	CodeNamespaceInvalid  = "NamespaceInvalid"
	CodeAuthorityLimit    = "AuthorityLimit"
	CodeMoreProblems      = "MoreProblems"
)

// objectName returns "AttestationAuthority default/qa", or without kind or namespace where there is none.
func objectName(kind, namespace, name string) string {
	s := brief(name, maxName)
	if namespace != "" {
		s = brief(namespace, maxName) + "/" + s
	}
	if kind == "" {
		return s
	}
	return kind + " " + s
}

func index(field string, i int, rest string) string { return fmt.Sprintf("%s[%d]%s", field, i, rest) }

// asError is how a problem of a floor is told: its author sees a list of errors, not conditions of objects.
func (p Problem) asError() error {
	if p.Field == "" {
		return fmt.Errorf("%s: %s", p.Object, p.Text)
	}
	return fmt.Errorf("%s: %s: %s", p.Object, p.Field, p.Text)
}
