package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
	"github.com/kritis-node/kritis-node/verifier"
)

// TestAudit shows that each decision leaves one line, with the evidence that it rests on.
func TestAudit(t *testing.T) {
	onEachVersion(t, stack.Options{}, func(t *testing.T, s *site) {
		t.Run("allowed", s.testAuditAllowed)
		t.Run("denied", s.testAuditDenied)
		t.Run("dry run", s.testDryRun)
	})
}

func (s *site) testAuditAllowed(t *testing.T) {
	signed := s.pushSigned(t, "audit/signed")
	container, err := s.runSpec(t, prod, cluster.ContainerSpec{Image: s.pull(t, signed), UserSpecifiedImage: signed})
	check(t, err)
	line := s.auditLine(t, signed)
	expectLine(t, line, true, verifier.Allowed, verifier.Attested)
	if line.ID != container || line.Namespace != prod || line.Container != "main" || line.Time.IsZero() {
		t.Errorf("the line does not tell which container it is about: %+v", line)
	}
	if line.Chain == "" {
		t.Errorf("the line does not tell which layers run: %+v", line)
	}
	authority := line.Verdict.Policies[0].Authorities[0]
	if !authority.Attested || authority.Name != "team" || authority.Fingerprint != s.fingerprint(t) || string(authority.Digest) != "sha256:"+hexOf(signed) ||
		authority.Algorithm != verifier.RSAPKCS1SHA256 || !strings.Contains(authority.Source, "sha256-"+hexOf(signed)+".sig") {
		t.Errorf("the evidence is not complete: %+v", authority)
	}
}

func (s *site) testAuditDenied(t *testing.T) {
	strange := s.push(t, "audit/strange")
	check(t, s.Sign(t.Context(), s.stranger, strange))
	expectDenied(t, s.run(t, prod, strange), strange)
	line := s.auditLine(t, strange)
	expectLine(t, line, false, verifier.Denied, verifier.NotAttested)
	authority := line.Verdict.Policies[0].Authorities[0]
	if authority.Attested || len(authority.Attempts) != 1 {
		t.Fatalf("the evidence is not complete: %+v", authority)
	}
	if a := authority.Attempts[0]; a.Check != "signature" || string(a.Digest) != "sha256:"+hexOf(strange) || !strings.Contains(a.Source, ".sig") {
		t.Errorf("the attempt does not tell what failed: %+v", a)
	}
}

// testDryRun shows that dry run lets through and tells the truth.
func (s *site) testDryRun(t *testing.T) {
	authority, err := stack.Authority("dry", "team", "", s.team)
	check(t, err)
	check(t, s.WritePolicies(t.Context(), "dry.yaml", authority, stack.Policy("dry", "dry", "dryRun: true", "team")))
	unsigned := s.push(t, "audit/dry")
	expectStarts(t, s.run(t, "dry", unsigned))
	line := s.auditLine(t, unsigned)
	expectLine(t, line, true, verifier.Denied, verifier.NotAttested)
	if !line.Verdict.DryRun {
		t.Errorf("the line does not tell of dry run: %+v", line)
	}
	expectDenied(t, s.run(t, prod, unsigned), unsigned)
}

func expectLine(t *testing.T, line plugin.AuditLine, admitted bool, outcome verifier.Outcome, reason verifier.Reason) {
	t.Helper()
	if line.Admitted != admitted || line.Verdict.Outcome != outcome || line.Verdict.Reason != reason {
		t.Errorf("the line says admitted %t, %s, %s; want %t, %s, %s", line.Admitted, line.Verdict.Outcome, line.Verdict.Reason, admitted, outcome, reason)
	}
	if len(line.Verdict.Policies) != 1 || len(line.Verdict.Policies[0].Authorities) != 1 {
		t.Fatalf("the evidence is not complete: %+v", line.Verdict)
	}
}

// auditLine waits for the only line about creating a container of an image. What is not allowed leaves another one at
// start, if it got that far.
func (s *site) auditLine(t *testing.T, reference string) plugin.AuditLine {
	t.Helper()
	return s.auditLineOf(t, reference, "create")
}

func (s *site) auditLineOf(t *testing.T, reference, place string) plugin.AuditLine {
	t.Helper()
	var found []plugin.AuditLine
	check(t, cluster.Await(t.Context(), "the audit line of "+reference, func(context.Context) error {
		found = nil
		data, err := os.ReadFile(s.AuditLog())
		if err != nil {
			return err
		}
		for text := range bytes.Lines(data) {
			var line plugin.AuditLine
			if err := json.Unmarshal(text, &line); err != nil {
				return fmt.Errorf("not a line of JSON: %q: %w", text, err)
			}
			if line.Image == reference && line.Place == place {
				found = append(found, line)
			}
		}
		if len(found) == 0 {
			return os.ErrNotExist
		}
		return nil
	}))
	if len(found) != 1 {
		t.Fatalf("one decision, and %d lines: %+v", len(found), found)
	}
	return found[0]
}

// fingerprint computes what the evidence has to call the team's key.
func (s *site) fingerprint(t *testing.T) string {
	t.Helper()
	public, err := os.ReadFile(s.team.Public)
	check(t, err)
	block, _ := pem.Decode(public)
	sum := sha256.Sum256(block.Bytes)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}
