// Command demo shows the product at work in a real Kubernetes: the chart is installed as users install it, an image is
// signed, the three checks are run that every user runs first, and then what never asks the API server. `make demo` runs
// it. It exits with 1 if anything is not as it should be.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/site"
)

func main() {
	cluster.Isolate(site.Needs()...)
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	d := &demo{start: time.Now()}
	err := d.run(ctx)
	if d.site != nil {
		if err != nil {
			fmt.Fprintln(os.Stderr, d.site.Describe(ctx), d.site.Logs())
		}
		err = errors.Join(err, d.site.Close())
	}
	if err == nil {
		fmt.Printf("\nEverything is as it should be. Took %d seconds.\n", int(time.Since(d.start).Seconds()))
	}
	return err
}
