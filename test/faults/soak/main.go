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
	short := flag.Bool("short", false, "one short round, without clocks: what make test runs")
	dir := flag.String("dir", "", "folder for logs; empty: a new one in the temporary folder")
	cluster.Isolate(faults.Needs()...)
	flag.Parse()
	o := faults.Options{
		Seed: *seed, For: time.Duration(*minutes * float64(time.Minute)), Dir: *dir, Progress: func(line string) { fmt.Println(line) }, Shape: faults.Long(),
	}
	o.Clock = *clock
	if *short {
		o.Rounds, o.Shape = 1, faults.Short()
	}
	os.Exit(run(o))
}

func run(o faults.Options) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if o.Seed == 0 {
		o.Seed = rand.Uint64N(1_000_000) + 1
	}
	replay := fmt.Sprintf("replay with make soak MINUTES=%g SEED=%d", o.For.Minutes(), o.Seed)
	if o.Shape == faults.Short() {
		replay = fmt.Sprintf("replay with go run ./test/faults/soak -short -seed %d", o.Seed)
	}
	failed := func(err error) int {
		fmt.Fprintf(os.Stderr, "soak: %v: %s\n", err, replay)
		return 2
	}
	if o.Dir == "" {
		var err error
		if o.Dir, err = os.MkdirTemp("", fmt.Sprintf("kritis-soak-%d-", o.Seed)); err != nil {
			return failed(err)
		}
	}
	report, err := faults.Run(ctx, o)
	if report != nil {
		fmt.Print(report)
	}
	switch {
	case err != nil:
		return failed(err)
	case len(report.Violations) > 0:
		fmt.Fprintf(os.Stderr, "soak: %d violations: %s\n", len(report.Violations), replay)
		return 1
	}
	return 0
}
