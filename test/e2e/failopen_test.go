package e2e

import (
	"testing"

	"github.com/kritis-node/kritis-node/test/stack"
)

// TestCreateHandlerAloneFailsOpen shows why the product decides in the validator: a plugin that only handles the create
// event is passed over when it hangs or dies during the call, although the runtime requires it. When this test fails,
// runtimes have become better, and the design may become simpler.
func TestCreateHandlerAloneFailsOpen(t *testing.T) {
	onEachVersion(t, stack.Options{}, func(t *testing.T, s *site) {
		check(t, s.Plugin.Stop(t.Context()))
		other := s.push(t, "open/other")
		expectRefused(t, s.run(t, prod, other)) // required, and absent
		for _, fault := range []string{"hang", "panic", "exit"} {
			t.Run(fault, func(t *testing.T) {
				s.startFaultyPlugin(t, "create", fault)
				expectStarts(t, s.run(t, prod, other))
			})
		}
	})
}
