package verifier

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestPatternMatch(t *testing.T) {
	for _, test := range []struct {
		name, pattern, image string
		want                 bool
	}{
		{"exact", "nginx:v0.1.0", "nginx:v0.1.0", true},
		{"exact is exact", "nginx:v0.1.0", "nginx:v0.1.0-rc", false},
		{"dots are dots", "nginx:v0.1.0", "nginx:v0x1.0", false},
		{"not normalised", "nginx:1", "docker.io/library/nginx:1", false},
		{"not normalised the other way", "docker.io/library/nginx:1", "nginx:1", false},
		{"end", "a.com/nginx*", "a.com/nginx:v0.1.0", true},
		{"end with digest", "a.com/nginx*", "a.com/nginx@sha256:" + hexA, true},
		{"end is not a slash", "a.com/nginx*", "a.com/nginx/test:v0.1.0", false},
		{"end may be nothing", "a.com/nginx*", "a.com/nginx", true},
		{"anchored at the start", "a.com/nginx*", "evil.example/a.com/nginx", false},
		{"inner", "registry-vpc.cn-*.aliyuncs.com/acs/pause:3.2", "registry-vpc.cn-hangzhou.aliyuncs.com/acs/pause:3.2", true},
		{"inner with dash", "registry-vpc.cn-*.aliyuncs.com/acs/pause:3.2", "registry-vpc.cn-hang_zhou-1.aliyuncs.com/acs/pause:3.2", true},
		{"inner is not a dot", "registry-vpc.cn-*.aliyuncs.com/acs/pause:3.2", "registry-vpc.cn-x.evil.aliyuncs.com/acs/pause:3.2", false},
		{"inner is not a slash", "registry-vpc.cn-*.aliyuncs.com/acs/pause:3.2", "registry-vpc.cn-x/y.aliyuncs.com/acs/pause:3.2", false},
		{"ACK's own", "registry*.*.aliyuncs.com/acs/*", "registry-vpc.cn-beijing.aliyuncs.com/acs/kube-proxy:v1", true},
		{"ACK's own, no suffix", "registry*.*.aliyuncs.com/acs/*", "registry.cn-beijing.aliyuncs.com/acs/kube-proxy:v1", true},
		{"ACK's own, foreign namespace", "registry*.*.aliyuncs.com/acs/*", "registry.cn-beijing.aliyuncs.com/mallory/kube-proxy:v1", false},
		{"ACK's own, deeper", "registry*.*.aliyuncs.com/acs/*", "registry.cn-beijing.aliyuncs.com/acs/x/y:v1", false},
		{"ACK's own, look-alike", "registry*.*.aliyuncs.com/acs/*", "registry.cn-beijing.aliyuncs.com.evil.example/acs/x", false},
		{"ACK's own, host as path", "registry*.*.aliyuncs.com/acs/*", "evil.example/registry.cn-beijing.aliyuncs.com/acs/x", false},
		{"both ends", "*nginx*", "my-nginx:1", true},
		{"both ends is no substring search", "*nginx*", "evil.example/nginx:1", false},
		{"star alone", "*", "nginx:1", true},
		{"star alone is not a slash", "*", "a/nginx:1", false},
		{"two stars at the end", "a/**", "a/b-c:d@e", true},
		{"two stars", "a**b", "axyb", true},
		{"needs the later place", "*ab", "aab", true},
		{"overlap", "a*a", "a", false},
		{"case", "nginx:v1", "nginx:V1", false},
		{"look-alike of docker.io", "docker.io/*", "docker.io.evil.example/x", false},
		{"port", "registry.example/app*", "registry.example:5000/app", false},
		{"newline", "nginx*", "nginx\n", true}, // ParseReference refuses such names before patterns see them
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := ParsePattern(test.pattern)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Match(test.image); got != test.want {
				t.Errorf("%s on %s: got %v", test.pattern, test.image, got)
			}
			if got := oracle(test.pattern).MatchString(test.image); got != test.want {
				t.Errorf("the oracle disagrees: %v", got)
			}
		})
	}
}

// oracle is the grammar as a regular expression, written apart from the matcher.
func oracle(pattern string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for i, r := range pattern {
		switch {
		case r != '*':
			b.WriteString(regexp.QuoteMeta(string(r)))
		case i == len(pattern)-1:
			b.WriteString(`[^/]*`)
		default:
			b.WriteString(`[A-Za-z0-9_-]*`)
		}
	}
	b.WriteString(`\z`)
	return regexp.MustCompile(b.String())
}

func TestParsePatternRefuses(t *testing.T) {
	if _, err := ParsePattern(strings.Repeat("a", MaxPattern)); err != nil {
		t.Error(err)
	}
	for _, test := range []struct{ name, in, want string }{
		{"nothing", "", errPatternEmpty},
		{"1 KiB and one", strings.Repeat("a", MaxPattern+1), "the pattern is longer than 1024 bytes"},
		{"regular expression", "a.com/(nginx|redis)", errPatternChars},
		{"question mark", "a.com/nginx?", errPatternChars},
		{"anchors", "^nginx$", errPatternChars},
		{"space", "nginx ", errPatternChars},
		{"look-alike", "ngіnx", errPatternChars},
		{"newline", "nginx\n", errPatternChars},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := ParsePattern(test.in)
			if err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if p.Match(test.in) {
				t.Error("a refused pattern matches")
			}
		})
	}
}

func TestPatternIsBounded(t *testing.T) {
	p, err := ParsePattern(strings.Repeat("*a", MaxPattern/2-1) + "*b")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if p.Match(strings.Repeat("a", MaxReference)) {
		t.Error("matched")
	}
	if p.Match(strings.Repeat("a", MaxReference) + "b") {
		t.Error("matched a name that is too long")
	}
	if d := time.Since(start); d > 10*time.Second { // it takes microseconds; by backtracking, years
		t.Errorf("took %v", d)
	}
}

func TestMatchNamespace(t *testing.T) {
	for _, test := range []struct {
		pattern, namespace string
		want               bool
	}{
		{"kube-system", "kube-system", true},
		{"kube-system", "kube-system2", false},
		{"kube-system", "xkube-system", false},
		{"kube-*", "kube-system", true},
		{"kube-*", "kube-", true},
		{"*-system", "kube-system", true},
		{"*-system", "kube-systems", false},
		{"p*d*n", "production", true},
		{"p*d*n", "pdn", true},
		{"p*d*n", "pnd", false},
		{"p*x*n", "pdn", false},
		{"a*a", "a", false},
		{"*", "anything", true},
		{"*", "", true},
		{"*", strings.Repeat("x", 5000), true},
		{"", "", false},
		{"", "x", false},
	} {
		if got := MatchNamespace(test.pattern, test.namespace); got != test.want {
			t.Errorf("%q on %q: got %v", test.pattern, test.namespace, got)
		}
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("registry*.*.aliyuncs.com/acs/*", "registry-vpc.cn-x.aliyuncs.com/acs/y:1")
	f.Add("*ab*", "aab-ab")
	f.Add("a**b*", "ab/c")
	f.Fuzz(func(t *testing.T, pattern, image string) {
		p, err := ParsePattern(pattern)
		if err != nil || len(image) > MaxReference {
			if p.Match(image) {
				t.Errorf("%q (%v) matches %q", pattern, err, image)
			}
			return
		}
		if got, want := p.Match(image), oracle(pattern).MatchString(image); got != want {
			t.Errorf("%q on %q: got %v, want %v", pattern, image, got, want)
		}
	})
}
