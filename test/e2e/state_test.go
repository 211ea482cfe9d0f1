package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// TestStateDamaged shows that what the plugin cannot read admits nothing: a running plugin keeps the last good policy
// and says what is wrong, a new one denies and names the file; and the agent makes it good again.
func TestStateDamaged(t *testing.T) {
	onEachVersion(t, stack.Options{}, func(t *testing.T, s *site) {
		attested, unsigned := s.pushSigned(t, "state/attested"), s.push(t, "state/unsigned")
		policy := filepath.Join(s.StateDir(), "policy.json")
		for _, row := range []struct {
			name   string
			damage func(t *testing.T)
			named  string // what the texts have to name
		}{
			{"policy truncated", func(t *testing.T) {
				rewrite(t, policy, func(data []byte) []byte { return data[:len(data)/2] })
			}, policy},
			{"policy from a newer version", func(t *testing.T) {
				rewrite(t, policy, func(data []byte) []byte { return withVersion(t, data, 99) })
			}, policy},
			{"policy empty", func(t *testing.T) {
				rewrite(t, policy, func([]byte) []byte { return nil })
			}, policy},
			{"policy deleted", func(t *testing.T) { check(t, os.Remove(policy)) }, policy},
			{"state folder deleted", func(t *testing.T) { check(t, os.RemoveAll(s.StateDir())) }, s.StateDir()},
			{"policy rewritten in a folder that others can write to", func(t *testing.T) {
				check(t, os.Chmod(s.StateDir(), 0o777))
				rewrite(t, policy, func(data []byte) []byte { return data })
			}, s.StateDir()},
		} {
			t.Run(row.name, func(t *testing.T) {
				expectStarts(t, s.run(t, prod, attested))
				check(t, s.Agent.Stop(t.Context()))
				row.damage(t)
				s.expectKeepsLastGood(t, attested, unsigned, row.named)

				check(t, s.Plugin.Kill())
				check(t, s.StartPlugin(t.Context()))
				for _, image := range []string{attested, unsigned} {
					expectUnverified(t, s.run(t, prod, image), image, row.named)
				}
				expectRefused(t, s.run(t, "sandbox", unsigned)) // nobody knows whether it has a policy
				expectStarts(t, s.run(t, "kube-system", unsigned))

				// The agent refuses what others can write to, too, and may have to make the folder.
				if err := os.Chmod(s.StateDir(), 0o755); !errors.Is(err, fs.ErrNotExist) {
					check(t, err)
				}
				startAgent(t, s)
				s.awaitStarts(t, prod, attested)
				expectDenied(t, s.run(t, prod, unsigned), unsigned)
			})
		}
	})
}

// expectKeepsLastGood expects that the running plugin has noticed the damage, says so, and goes on as before.
func (s *site) expectKeepsLastGood(t *testing.T, attested, unsigned, named string) {
	t.Helper()
	check(t, cluster.Await(t.Context(), "the plugin to notice the damage", func(ctx context.Context) error {
		status, err := s.Status(ctx)
		if err == nil && !strings.Contains(status.StateProblem, named) {
			err = os.ErrNotExist
		}
		return err
	}))
	stdout, _ := s.kritis(t, 0, "status", "--socket", s.PluginSocket())
	expectWords(t, stdout, "problem: ", named)
	expectStarts(t, s.run(t, prod, attested))
	expectRefused(t, s.run(t, prod, unsigned))
	expectStarts(t, s.run(t, "sandbox", unsigned))
}

// rewrite changes a file in place.
func rewrite(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	check(t, err)
	check(t, os.WriteFile(path, change(data), 0o644))
}

// withVersion returns a state file whose header has another version; the checksum is that of the body and holds.
func withVersion(t *testing.T, file []byte, version int) []byte {
	t.Helper()
	line, body, _ := strings.Cut(string(file), "\n")
	header := map[string]any{}
	check(t, json.Unmarshal([]byte(line), &header))
	header["version"] = version
	changed, err := json.Marshal(header)
	check(t, err)
	return []byte(string(changed) + "\n" + body)
}
