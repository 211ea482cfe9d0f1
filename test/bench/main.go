// Command bench measures what the product costs, against a baseline in the same run, because machines drift by more
// than the product costs. `make bench` runs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
	"github.com/kritis-node/kritis-node/test/stack"
)

func main() {
	rounds := flag.Int("rounds", 7, "rounds of each pair, in turn; at least 5")
	creates := flag.Int("creates", 400, "containers created in each half of a round")
	stack.Isolate(kubernetes.Tool, "./test/bench/noop")
	only := flag.String("part", "", "decisions, creations, footprint, webhook or pods; empty: all")
	flag.Parse()
	if !run(*rounds, *creates, *only) {
		os.Exit(1)
	}
}

// run measures one part or all, and says whether all targets were met.
func run(rounds, creates int, only string) bool {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	parts := []struct {
		name string
		run  func(context.Context) error
	}{
		{"decisions", decisions},
		{"creations", func(ctx context.Context) error { return creations(ctx, max(5, rounds), creates) }},
		{"footprint", footprint},
		{"webhook", reviews},
		{"pods", pods},
	}
	met := true
	for _, part := range parts {
		if only != "" && only != part.name {
			continue
		}
		if err := part.run(ctx); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", part.name, err)
			met = false
		}
	}
	return met
}
