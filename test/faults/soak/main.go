// Command soak lets a whole cluster with the product suffer faults under load, and says whether anything ran that should not have, or
// did not run that should have. `make soak` runs it; docs/soak.md says how to read it. Exit codes: 0 nothing was found, 1 violations,
// 2 the soak itself failed.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"time"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/faults"
)

func main() {
	minutes := flag.Float64("minutes", 10, "how long faults happen")
	seed := flag.Uint64("seed", 0, "what is replayed; 0: another one each time")
	clock := flag.Bool("clock", true, "let clocks jump: the first build takes minutes more")
	dir := flag.String("dir", "", "folder for logs; empty: a new one in the temporary folder")
	cluster.Isolate(faults.Needs()...)
	flag.Parse()
	os.Exit(run(*minutes, *seed, *clock, *dir))
}

func run(minutes float64, seed uint64, clock bool, dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if seed == 0 {
		seed = rand.Uint64N(1_000_000) + 1
	}
	failed := func(err error) int {
		fmt.Fprintf(os.Stderr, "soak: %v: replay with make soak MINUTES=%g SEED=%d\n", err, minutes, seed)
		return 2
	}
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", fmt.Sprintf("kritis-soak-%d-", seed)); err != nil {
			return failed(err)
		}
	}
	report, err := faults.Run(ctx, faults.Options{
		Seed: seed, For: time.Duration(minutes * float64(time.Minute)), Dir: dir, Progress: func(line string) { fmt.Println(line) },
		Shape: faults.Shape{Span: 20 * time.Second, Faults: 9, Loads: 14, Clock: clock},
	})
	if report != nil {
		fmt.Print(report)
	}
	switch {
	case err != nil:
		return failed(err)
	case len(report.Violations) > 0:
		fmt.Fprintf(os.Stderr, "soak: %d violations: replay with make soak MINUTES=%g SEED=%d\n", len(report.Violations), minutes, seed)
		return 1
	}
	return 0
}
