package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// TestCommands shows what people and pipelines get from the commands: answers, exit codes, JSON, and for misuse one
// line that says what to do.
func TestCommands(t *testing.T) {
	onEachVersion(t, stack.Options{}, func(t *testing.T, s *site) {
		t.Run("answers", s.testAnswers)
		t.Run("sign", s.testSign)
		t.Run("misuse", s.testMisuse)
		t.Run("lint", s.testLint)
		t.Run("verify and explain agree with the node", s.testAgree)
	})
}

// verifyArgs are the arguments of a verification off the node by the policies that the node has.
func (s *site) verifyArgs(reference string, more ...string) []string {
	args := []string{"verify", "--policy-dir", s.PolicyDir(), "--attestation-dir", s.AttestationDir(), "--registry-config", s.RegistryConfig(), "-n", prod}
	return append(append(args, more...), reference)
}

func (s *site) explainArgs(reference string, more ...string) []string {
	return append(append([]string{"explain", "--socket", s.PluginSocket(), "-n", prod}, more...), reference)
}

// testAnswers goes through the exit codes of the commands that answer, for people and for programs.
func (s *site) testAnswers(t *testing.T) {
	signed, unsigned := s.pushSigned(t, "commands/signed"), s.push(t, "commands/unsigned")
	// A host that is not there.
	nowhere := "127.0.0.1:1/app@sha256:" + hexOf(unsigned)
	for _, row := range []struct {
		name  string
		args  func(more ...string) []string
		code  int
		words []string
	}{
		{"verify allowed", func(m ...string) []string { return s.verifyArgs(signed, m...) }, 0, []string{"allowed", "Attested", "team", s.fingerprint(t)}},
		{"verify denied", func(m ...string) []string { return s.verifyArgs(unsigned, m...) }, 1, []string{"denied", "NotAttested", "team"}},
		{"verify tag", func(m ...string) []string { return s.verifyArgs(tagOf(signed), m...) }, 1, []string{"denied", "TagReference", "sha256:" + hexOf(signed)}},
		{"verify unknown", func(m ...string) []string { return s.verifyArgs(nowhere, m...) }, 2, []string{"could not tell"}},
		{"explain allowed", func(m ...string) []string { return s.explainArgs(signed, m...) }, 0, []string{"allowed", "Attested", "team", s.fingerprint(t)}},
		{"explain denied", func(m ...string) []string { return s.explainArgs(unsigned, m...) }, 1, []string{"denied", "NotAttested", "team"}},
		{"explain tag", func(m ...string) []string { return s.explainArgs(tagOf(signed), m...) }, 1, []string{"denied", "TagReference"}},
		{"explain unknown", func(m ...string) []string { return s.explainArgs(nowhere, m...) }, 2, []string{"could not tell"}},
		{"status", func(m ...string) []string { return append([]string{"status", "--socket", s.PluginSocket()}, m...) }, 0, []string{"enforcing"}},
		{"lint", func(m ...string) []string { return append([]string{"lint", s.PolicyDir()}, m...) }, 0, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			stdout, stderr := s.kritis(t, row.code, row.args()...)
			expectWords(t, stdout, row.words...)
			stdoutJSON, stderrJSON := s.kritis(t, row.code, row.args("-o", "json")...)
			if stderr != "" || stderrJSON != "" {
				t.Errorf("an answer is no error, and stderr has: %q %q", stderr, stderrJSON)
			}
			var answer any
			if err := json.Unmarshal([]byte(stdoutJSON), &answer); err != nil {
				t.Errorf("not JSON: %v: %s", err, stdoutJSON)
			}
		})
	}
}

func (s *site) testSign(t *testing.T) {
	reference := s.push(t, "commands/to-sign")
	args := []string{"sign", "--key", s.team.Private, "--registry-config", s.RegistryConfig(), "-o", "json", tagOf(reference)}
	var answer struct {
		Reference, Digest, Fingerprint string
		New                            bool
	}
	for _, isNew := range []bool{true, false} { // the second time changes nothing
		stdout, _ := s.kritis(t, 0, args...)
		check(t, json.Unmarshal([]byte(stdout), &answer))
		if answer.Reference != reference || answer.Digest != "sha256:"+hexOf(reference) || answer.Fingerprint != s.fingerprint(t) || answer.New != isNew {
			t.Errorf("answer %+v, want new %t for %s", answer, isNew, reference)
		}
	}
	expectStarts(t, s.run(t, prod, answer.Reference)) // what it prints goes into manifests as it is
}

func (s *site) testMisuse(t *testing.T) {
	reference := s.push(t, "commands/misuse")
	empty := filepath.Join(t.TempDir(), "key.pem")
	check(t, os.WriteFile(empty, nil, 0o600))
	for name, row := range map[string]struct {
		args  []string
		words []string
	}{
		"unknown command":       {[]string{"sing"}, []string{"sing"}},
		"unknown flag":          {[]string{"status", "--sockt", "x"}, []string{"--sockt"}},
		"no image":              {[]string{"verify", "--policy-dir", s.PolicyDir()}, []string{"arg"}},
		"no policies":           {[]string{"verify", reference}, []string{"policy-dir"}},
		"missing policy folder": {[]string{"verify", "--policy-dir", "/nowhere", reference}, []string{"/nowhere"}},
		"unknown output":        {[]string{"status", "-o", "xml"}, []string{"xml", "table or json"}},
		"no key":                {[]string{"sign", reference}, []string{"key"}},
		"empty key":             {[]string{"sign", "--key", empty, reference}, []string{empty}},
		"public key":            {[]string{"sign", "--key", s.team.Public, reference}, []string{s.team.Public}},
		"image without a name":  {[]string{"sign", "--key", s.team.Private, "@sha256:" + hexOf(reference)}, nil},
		"image that is absent": {[]string{"sign", "--key", s.team.Private, "--registry-config", s.RegistryConfig(),
			repositoryOf(reference) + ":none"}, []string{":none"}},
		"no plugin":       {[]string{"status", "--socket", "/nowhere/plugin.sock"}, []string{"/nowhere/plugin.sock", "does not run"}},
		"nothing to lint": {[]string{"lint"}, []string{"name a folder"}},
		"plugin, wrong":   {[]string{"plugin", "--required", "perhaps"}, []string{"auto, yes or no"}},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr := s.kritis(t, 2, row.args...)
			if stdout != "" {
				t.Errorf("misuse is no answer, and stdout has: %q", stdout)
			}
			expectOneLine(t, stderr, row.words...)
		})
	}
}

// testLint checks a folder and a floor before they are rolled out.
func (s *site) testLint(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "policy.yaml")
	write := func(text string) { check(t, os.WriteFile(file, []byte(text), 0o644)) }

	authority, err := stack.Authority(prod, "team", "", s.team)
	check(t, err)
	write(authority + "---\n" + stack.Policy(prod, "p", "", "team"))
	s.kritis(t, 0, "lint", dir)

	write(authority + "---\n" + stack.Policy(prod, "p", "dryRun: true", "team"))
	stdout, _ := s.kritis(t, 0, "lint", dir)
	expectWords(t, stdout, "warning", "dryRun")

	write(authority + "---\n" + stack.Policy(prod, "p", "", "tema"))
	stdout, _ = s.kritis(t, 1, "lint", dir)
	expectWords(t, stdout, "error", "GenericAttestationPolicy prod/p", "tema")

	write(strings.Replace(authority, "noteReference", "noteReferenz", 1))
	stdout, _ = s.kritis(t, 1, "lint", dir)
	expectWords(t, stdout, "error", "policy.yaml:5", "noteReferenz")

	write(authority)
	for name, text := range s.mistakes(t) {
		floor := filepath.Join(t.TempDir(), "floor.yaml")
		check(t, os.WriteFile(floor, []byte(text), 0o644))
		stdout, _ = s.kritis(t, 1, "lint", dir, "--floor", floor)
		expectWords(t, stdout, "error", floor)
		if t.Failed() {
			t.Fatalf("floor with mistake %q", name)
		}
	}
}

// testAgree holds what `kritis verify` says off the node, and `kritis explain` on it, against what the node does.
func (s *site) testAgree(t *testing.T) {
	strange, listed := s.push(t, "agree/strange"), s.push(t, "agree/listed")
	check(t, s.Sign(t.Context(), s.stranger, strange))
	check(t, s.WritePolicies(t.Context(), "agree.yaml", stack.Allowlist("agree", repositoryOf(listed)+"*")))
	offline := s.push(t, "agree/openssl")
	s.signWithOpenSSL(t, s.team, offline)
	bundle := s.push(t, "agree/bundle")
	check(t, s.SignWithCosignBundle(t.Context(), s.team, bundle))
	signed := s.pushSigned(t, "agree/signed")
	image, err := cluster.BusyboxImage("agree")
	check(t, err)
	index, err := cluster.Index(image)
	check(t, err)
	platforms, err := stack.PushTo(t.Context(), s.Registry, "agree/index", index)
	check(t, err)
	check(t, s.Sign(t.Context(), s.team, platforms))
	for name, reference := range map[string]string{
		"signed": signed, "tag": tagOf(signed), "unsigned": s.push(t, "agree/unsigned"), "another's": strange,
		"allow-listed": tagOf(listed), "offline": offline, "bundle": bundle, "index": platforms,
	} {
		t.Run(name, func(t *testing.T) {
			code := 0
			if s.run(t, prod, reference) != nil {
				code = 1
			}
			s.kritis(t, code, s.verifyArgs(reference)...)
			s.kritis(t, code, s.explainArgs(reference)...)
			s.kritis(t, 0, s.verifyArgs(reference, "-n", "sandbox")...)
		})
	}
}

// expectOneLine expects a message for people: one line, with these words.
func expectOneLine(t *testing.T, text string, words ...string) {
	t.Helper()
	if strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") || !strings.HasPrefix(text, "kritis: ") {
		t.Errorf("it should be one line that begins with the program's name: %q", text)
	}
	expectWords(t, text, words...)
}
