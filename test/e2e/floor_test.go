package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// TestFloor shows the node's minimum: what the cluster cannot loosen, and what becomes of a file with a mistake.
func TestFloor(t *testing.T) {
	onEachVersion(t, stack.Options{}, func(t *testing.T, s *site) {
		attested, unsigned := s.pushSigned(t, "floor/attested"), s.push(t, "floor/unsigned")
		t.Run("authority required in every namespace", func(t *testing.T) { s.testFloorEverywhere(t, attested, unsigned) })
		t.Run("cluster cannot loosen it", func(t *testing.T) { s.testFloorHolds(t, unsigned) })
		t.Run("mistake while running", func(t *testing.T) { s.testFloorBroken(t, attested, unsigned) })
		t.Run("mistake at start", func(t *testing.T) { s.testFloorBrokenAtStart(t, attested, unsigned) })
		t.Run("namespaces without policy denied", func(t *testing.T) { s.testFloorNoPolicy(t, attested) })
	})
}

// everywhere is a floor that requires the team's attestation in all namespaces.
func (s *site) everywhere(t *testing.T) string {
	t.Helper()
	public, err := os.ReadFile(s.team.Public)
	check(t, err)
	key, err := json.Marshal(string(public)) // JSON is YAML
	check(t, err)
	return fmt.Sprintf(`version: 1
authorities: [{name: node, publicKeys: [{pem: %s}]}]
policies: [{name: everywhere, namespaces: ["*"], authorities: [node]}]
cluster: {dryRun: Ignore, allowlists: Ignore}
`, key)
}

func (s *site) testFloorEverywhere(t *testing.T, attested, unsigned string) {
	expectStarts(t, s.run(t, "sandbox", unsigned))
	s.writeFloor(t, s.everywhere(t))
	s.awaitDenied(t, "sandbox", unsigned)
	for _, namespace := range []string{prod, "sandbox", "default", "kube-system"} {
		expectDenied(t, s.run(t, namespace, unsigned), unsigned)
		expectStarts(t, s.run(t, namespace, attested))
	}
}

func (s *site) testFloorHolds(t *testing.T, unsigned string) {
	authority, err := stack.Authority("loose", "team", "", s.team)
	check(t, err)
	check(t, s.WritePolicies(t.Context(), "loose.yaml", authority,
		stack.Policy("loose", "dry", "dryRun: true", "team"), stack.Allowlist("everything", repositoryOf(unsigned)+"*")))
	expectDenied(t, s.run(t, "loose", unsigned), unsigned)
	expectDenied(t, s.run(t, "sandbox", unsigned), unsigned)
	expectDenied(t, s.run(t, "sandbox", tagOf(unsigned)), tagOf(unsigned))
}

// mistakes are floors that say nothing, each in its own way.
func (s *site) mistakes(t *testing.T) map[string]string {
	return map[string]string{
		"not YAML":        "version: [",
		"misspelt field":  "version: 1\nnamespacesWithoutPolici: Deny\n",
		"unknown version": "version: 2\n",
		"broken key":      strings.Replace(s.everywhere(t), "BEGIN PUBLIC", "BEGIN PUBLIK", 1),
	}
}

// testFloorBroken expects that the last good floor stays in force, and that the status says what is wrong.
func (s *site) testFloorBroken(t *testing.T, attested, unsigned string) {
	for name, text := range s.mistakes(t) {
		t.Run(name, func(t *testing.T) {
			before, err := s.Status(t.Context())
			check(t, err)
			s.writeFloor(t, text)
			s.awaitFloorProblem(t, before.FloorProblem)
			stdout, _ := s.kritis(t, 0, "status", "--socket", s.PluginSocket())
			expectWords(t, stdout, "problem: floor file "+s.FloorFile())
			expectDenied(t, s.run(t, "sandbox", unsigned), unsigned)
			expectStarts(t, s.run(t, "sandbox", attested))
		})
	}
}

// testFloorBrokenAtStart expects that a plugin which never had a floor denies everything until it is corrected.
func (s *site) testFloorBrokenAtStart(t *testing.T, attested, unsigned string) {
	mistakes := s.mistakes(t)
	mistakes["writable by others"] = s.everywhere(t)
	for name, text := range mistakes {
		t.Run(name, func(t *testing.T) {
			s.writeFloor(t, text)
			if name == "writable by others" {
				check(t, os.Chmod(s.FloorFile(), 0o666))
			}
			check(t, s.Plugin.Kill())
			check(t, s.StartPlugin(t.Context()))
			for _, namespace := range []string{prod, "sandbox", "kube-system"} {
				expectUnverified(t, s.run(t, namespace, attested), attested, s.FloorFile())
				expectUnverified(t, s.run(t, namespace, unsigned), unsigned, s.FloorFile())
			}
			if name == "writable by others" {
				check(t, os.Chmod(s.FloorFile(), 0o644))
			} else {
				s.writeFloor(t, s.everywhere(t))
			}
			s.awaitStarts(t, "sandbox", attested)
			expectDenied(t, s.run(t, "sandbox", unsigned), unsigned)
		})
	}
}

func (s *site) testFloorNoPolicy(t *testing.T, attested string) {
	s.writeFloor(t, "version: 1\nnamespacesWithoutPolicy: Deny\n")
	s.awaitDenied(t, "sandbox", attested)
	expectDenied(t, s.run(t, "sandbox", attested), attested, `"sandbox"`)
	expectStarts(t, s.run(t, prod, attested))
}

// awaitDenied waits until new rules have reached the plugin.
func (s *site) awaitDenied(t *testing.T, namespace, reference string) {
	t.Helper()
	check(t, cluster.Await(t.Context(), reference+" to be denied", func(context.Context) error {
		if s.run(t, namespace, reference) == nil {
			return os.ErrExist
		}
		return nil
	}))
}

// awaitFloorProblem waits until the status tells of another problem than before.
func (s *site) awaitFloorProblem(t *testing.T, before string) {
	t.Helper()
	check(t, cluster.Await(t.Context(), "the plugin to notice the mistake", func(ctx context.Context) error {
		status, err := s.Status(ctx)
		if err == nil && (status.FloorProblem == "" || status.FloorProblem == before) {
			err = os.ErrNotExist
		}
		return err
	}))
}
