package verifier

import (
	"errors"
	"fmt"
	"strings"
)

// MaxPattern is the length in bytes of an allow-list pattern.
const MaxPattern = 1 << 10

const (
	// patternChars are what a reference can hold, and the star. Anything else is somebody's regular expression.
	patternChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:/@[]*"
	// namespaceChars are those of a namespace's name (RFC 1123 label), and the star.
	namespaceChars = "abcdefghijklmnopqrstuvwxyz0123456789-*"
	maxNamespace   = 253
)

// Pattern is an allow-list pattern in the grammar of kritis: a star at the end is any run of characters but "/"; a
// star elsewhere any run of letters, digits, "-" and "_"; everything else stands for itself. It always covers the
// whole name. The zero value matches nothing.
type Pattern struct {
	// literals are the parts between the stars: one more than there are stars.
	literals []string
}

// ParsePattern checks a pattern.
func ParsePattern(s string) (Pattern, error) {
	if s == "" {
		return Pattern{}, errors.New(errPatternEmpty)
	}
	if len(s) > MaxPattern {
		return Pattern{}, fmt.Errorf(errPatternLong, MaxPattern)
	}
	if strings.Trim(s, patternChars) != "" {
		return Pattern{}, errors.New(errPatternChars)
	}
	return Pattern{literals: strings.Split(s, "*")}, nil
}

// Match says whether the pattern covers the image's name as the user wrote it: nothing is normalised, so that a
// pattern for "nginx" does not admit "docker.io/library/nginx" and the reverse.
//
// Each literal is looked for at its earliest place only. That is enough: if a later place led to a match, the
// characters between would have to suit the star before the literal and, the literal being periodic there, the star
// after it too. So the time is bounded by len(name)·len(pattern).
func (p Pattern) Match(asWritten string) bool {
	if len(p.literals) == 0 || len(asWritten) > MaxReference {
		return false
	}
	rest, ok := strings.CutPrefix(asWritten, p.literals[0])
	if !ok || len(p.literals) == 1 {
		return ok && rest == ""
	}
	last := len(p.literals) - 1
	for _, literal := range p.literals[1:last] {
		if rest, ok = cutAfterStar(rest, literal); !ok {
			return false
		}
	}
	if p.literals[last] == "" {
		return strings.IndexByte(rest, '/') < 0
	}
	rest, ok = strings.CutSuffix(rest, p.literals[last])
	return ok && starRun(rest) == len(rest)
}

// cutAfterStar skips what an inner star may stand for and then the literal.
func cutAfterStar(s, literal string) (string, bool) {
	for i := 0; ; i++ {
		if strings.HasPrefix(s[i:], literal) {
			return s[i+len(literal):], true
		}
		if i == len(s) || !starChar(s[i]) {
			return "", false
		}
	}
}

func starRun(s string) int {
	n := 0
	for n < len(s) && starChar(s[n]) {
		n++
	}
	return n
}

func starChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// MatchNamespace says whether a namespace pattern of the floor covers a namespace: exact, or with "*" for any run of
// characters. An empty pattern covers nothing, not even the empty namespace that a direct CRI client may send.
func MatchNamespace(pattern, namespace string) bool {
	if pattern == "" {
		return false
	}
	parts := strings.Split(pattern, "*")
	rest, ok := strings.CutPrefix(namespace, parts[0])
	if !ok || len(parts) == 1 {
		return ok && rest == ""
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		if _, rest, ok = strings.Cut(rest, part); !ok {
			return false
		}
	}
	return strings.HasSuffix(rest, parts[last])
}

func checkNamespacePattern(s string) error {
	if s == "" || len(s) > maxNamespace || strings.Trim(s, namespaceChars) != "" {
		return errors.New(errNamespacePattern)
	}
	return nil
}
