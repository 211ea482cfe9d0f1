package e2e

import (
	"context"
	"os"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// otherHandler is a runtime handler that the node has and the default floor does not list.
const otherHandler = "other"

// TestRuntimeHandler shows that a protected namespace cannot get around the checks by a runtime that may pull or verify
// in its own way.
func TestRuntimeHandler(t *testing.T) {
	onEachVersion(t, stack.Options{RuntimeHandlers: []string{otherHandler}}, func(t *testing.T, s *site) {
		signed := s.pushSigned(t, "handlers/signed")
		run := func(t *testing.T, namespace, handler string) error {
			spec := cluster.ContainerSpec{Image: s.pull(t, signed), UserSpecifiedImage: signed}
			_, err := s.runIn(t.Context(), s.pod(t, namespace, handler), spec)
			return err
		}
		expectStarts(t, run(t, prod, ""))
		expectStarts(t, run(t, prod, "runc"))
		expectDenied(t, run(t, prod, otherHandler), signed, otherHandler)

		s.writeFloor(t, "version: 1\nruntimeHandlers: [\"\", runc, "+otherHandler+"]\n")
		check(t, cluster.Await(t.Context(), "the listed handler to run", func(context.Context) error {
			return run(t, prod, otherHandler)
		}))
		s.writeFloor(t, "version: 1\nruntimeHandlers: [runc]\n")
		check(t, cluster.Await(t.Context(), "the handler to be taken off the list", func(context.Context) error {
			if run(t, prod, otherHandler) == nil {
				return os.ErrExist
			}
			return nil
		}))
	})
}

// writeFloor replaces the floor. A plugin that runs takes it within moments.
func (s *site) writeFloor(t *testing.T, text string) {
	t.Helper()
	next := s.FloorFile() + ".new"
	check(t, os.WriteFile(next, []byte(text), 0o644))
	check(t, os.Rename(next, s.FloorFile()))
}
