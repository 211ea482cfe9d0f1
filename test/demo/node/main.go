// Command demo shows the product at work on a real containerd: which containers start, which do not, and why, also
// while parts of it are killed or hang. `make demo-node` runs it. It exits with 1 if any line is not as it should be.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/kritis-node/kritis-node/test/stack"
)

func main() {
	stack.Isolate()
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	d := &demo{start: time.Now()}
	err := d.run(ctx)
	if d.stack != nil {
		if err != nil {
			fmt.Fprintln(os.Stderr, d.stack.Logs())
		}
		err = errors.Join(err, d.stack.Close())
	}
	if err == nil {
		fmt.Printf("\nEvery line is as it should be. Took %d seconds.\n", int(time.Since(d.start).Seconds()))
	}
	return err
}
