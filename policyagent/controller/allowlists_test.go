package controller

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/verifier"
)

func TestAllowlistReady(t *testing.T) {
	now := time.Now()
	pattern := func(after time.Duration) v1beta1.AllowPattern {
		return v1beta1.AllowPattern{NamePattern: "x", Expires: &metav1.Time{Time: now.Add(after)}}
	}
	forever, zero := v1beta1.AllowPattern{NamePattern: "x"}, v1beta1.AllowPattern{NamePattern: "x", Expires: &metav1.Time{}}
	many := make([]v1beta1.AllowPattern, 1001)
	for i := range many[1:] {
		many[i+1] = pattern(-time.Hour)
	}
	problem := []verifier.Problem{{Code: "PatternInvalid", Field: "f", Text: "t"}}
	for name, c := range map[string]struct {
		patterns []v1beta1.AllowPattern
		problems []verifier.Problem
		status   metav1.ConditionStatus
		reason   string
		message  string
		next     time.Duration
	}{
		"none":              {nil, nil, "True", "Usable", "everything", 0},
		"forever":           {[]v1beta1.AllowPattern{forever}, nil, "True", "Usable", "everything", 0},
		"later":             {[]v1beta1.AllowPattern{pattern(3), forever, pattern(2)}, nil, "True", "Usable", "everything", 2},
		"sooner first":      {[]v1beta1.AllowPattern{pattern(2), pattern(3)}, nil, "True", "Usable", "everything", 2},
		"at this moment":    {[]v1beta1.AllowPattern{pattern(0)}, nil, "False", "PatternsExpired", "every pattern has expired", 0},
		"some":              {[]v1beta1.AllowPattern{pattern(-1), pattern(5), pattern(-2)}, nil, "True", "SomePatternsExpired", "expired, and without effect: spec.patterns[0], spec.patterns[2]; the others", 5},
		"many":              {many, nil, "True", "SomePatternsExpired", "expired", 0},
		"a problem is more": {[]v1beta1.AllowPattern{pattern(-1)}, problem, "False", "PatternInvalid", "f: t", 0},
		"zero is a problem": {[]v1beta1.AllowPattern{zero}, problem, "False", "PatternInvalid", "f: t", 0},
	} {
		got, next := allowlistReady(7, c.patterns, c.problems, now)
		if got.Status != c.status || got.Reason != c.reason || !strings.HasPrefix(got.Message, c.message) || got.ObservedGeneration != 7 || len(got.Message) > 1000 {
			t.Errorf("%s: %+v", name, got)
		}
		if next.IsZero() != (c.next == 0) || c.next != 0 && !next.Equal(now.Add(c.next)) {
			t.Errorf("%s: next %v", name, next)
		}
	}
	if got, _ := allowlistReady(7, many, nil, now); !strings.HasSuffix(got.Message, "and 980 more; the others can be used") {
		t.Error(got.Message)
	}
}
