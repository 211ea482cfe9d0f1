package versions

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// stall is longer than the runtime waits for a plugin, which is 2 s.
const stall = 3 * time.Second

// checkAbsent kills the plugin. Where that lets containers through, it does from the first call on.
func checkAbsent(t *testing.T, n *node, holds bool) {
	must(t, n.Plugin.Kill())
	n.expectNothingStarts(t, holds)
	must(t, n.StartPlugin(t.Context()))
	n.awaitJudged(t)
}

// checkCreatedMeanwhile creates what nobody judges, if the runtime lets it, and starts it when there is somebody.
func checkCreatedMeanwhile(t *testing.T, n *node, _ bool) {
	must(t, n.Plugin.Kill())
	id, err := n.Node.CRI().ImageID(t.Context(), n.other)
	must(t, err)
	container, refused := n.create(t.Context(), prod, cluster.ContainerSpec{Image: id, UserSpecifiedImage: n.other})
	if n.runtime.Validators == (refused == nil) {
		t.Fatalf("creating without the plugin: %v", refused)
	}
	must(t, n.StartPlugin(t.Context()))
	n.awaitJudged(t)
	if refused == nil {
		n.expectDenied(t, n.start(t.Context(), container), n.other)
	}
}

// checkStalled stops the plugin. The first call runs into the runtime's timeout, whereupon the runtime drops the plugin.
func checkStalled(t *testing.T, n *node, holds bool) {
	must(t, n.Plugin.Pause(t.Context()))
	for begin := time.Now(); time.Since(begin) < stall; {
		n.expectNothingStarts(t, holds)
	}
	must(t, n.Plugin.Resume())
	n.awaitJudged(t)
}

// checkKilled kills the plugin while it waits for an agent that never answers.
func checkKilled(t *testing.T, n *node, holds bool) {
	must(t, n.Agent.Stop(t.Context()))
	unknown, err := n.Push(t.Context(), "team/unknown")
	must(t, err)
	_, err = n.Node.CRI().PullImage(t.Context(), unknown)
	must(t, err)
	asked, done, err := n.SilentAgent()
	must(t, err)
	created := make(chan error, 1)
	go func() { created <- n.run(t.Context(), unknown) }()
	select {
	case <-asked:
	case err := <-created:
		t.Fatalf("the plugin did not ask the agent: %v", err)
	}
	must(t, n.Plugin.Kill())
	if err := <-created; (err == nil) == holds {
		t.Errorf("the plugin was killed during the call: %v", err)
	}
	done()
	must(t, n.StartAgent(t.Context()))
	must(t, n.StartPlugin(t.Context()))
	n.awaitJudged(t)
}

// expectNothingStarts expects that without a plugin nothing starts, attested or not; or, where that is no promise, that
// all does.
func (n *node) expectNothingStarts(t *testing.T, holds bool) {
	t.Helper()
	for _, image := range []string{n.attested, n.other} {
		err := n.run(t.Context(), image)
		if err == nil && holds {
			t.Fatalf("%s started unchecked", image)
		}
		if err != nil && !holds {
			t.Fatalf("the table of promises is too modest, or something else is wrong: %v", err)
		}
	}
}

// awaitJudged waits until the plugin is back: it denies what is not attested and lets through what is.
func (n *node) awaitJudged(t *testing.T) {
	t.Helper()
	must(t, cluster.Await(t.Context(), "the plugin to judge again", func(ctx context.Context) error {
		if err := n.run(ctx, n.other); err == nil || !strings.Contains(err.Error(), "is not attested") {
			if n.runtime.Validators && err == nil {
				t.Error("an image without attestation started while the plugin came back")
			}
			return os.ErrDeadlineExceeded
		}
		return n.run(ctx, n.attested)
	}))
}
