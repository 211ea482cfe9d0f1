// Command bench measures what the product costs, against a baseline in the same run, because machines drift by more
// than the product costs. `make bench` runs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/kritis-node/kritis-node/test/stack"
)

func main() {
	rounds := flag.Int("rounds", 7, "rounds of each pair, in turn; at least 5")
	creates := flag.Int("creates", 400, "containers created in each half of a round")
	stack.Isolate("./test/bench/noop")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, part := range []func(context.Context) error{
		decisions,
		func(ctx context.Context) error { return creations(ctx, max(5, *rounds), *creates) },
		footprint,
	} {
		if err := part(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
	}
}
