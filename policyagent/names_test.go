package policyagent

import (
	"strings"
	"testing"
)

func TestNamed(t *testing.T) {
	long := func(n int) string { return strings.Repeat("a", n) }
	for name, want := range map[string][2]bool{ // as namespace, as pod
		"a": {true, true}, "web-1": {true, true}, "a.b": {false, true}, "a..b": {false, true}, "0-0": {true, true},
		"": {}, "-a": {}, "a-": {}, ".a": {}, "a.": {}, "A": {}, "a_b": {}, "a/b": {}, "a b": {}, "ä": {}, "a\n": {}, "a\x80b": {},
		long(63): {true, true}, long(64): {false, true}, long(253): {false, true}, long(254): {},
	} {
		if got := [2]bool{named(name, maxNamespaceName, false), named(name, maxPodName, true)}; got != want {
			t.Errorf("%.20q (%d): %v, want %v", name, len(name), got, want)
		}
	}
}
