package cluster

import (
	"context"
	"fmt"
	"time"
)

// awaitLimit ends a wait whose context has no earlier deadline. It is generous: tests run on loaded machines, and a
// wait that succeeds ends long before.
const awaitLimit = 30 * time.Second

// Await calls ready until it returns nil, at short and growing intervals, at most until ctx or 30 seconds end. The
// error then names what was awaited and the last reason why it was not there.
func Await(ctx context.Context, what string, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, awaitLimit)
	defer cancel()
	interval := 5 * time.Millisecond
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited for %s: %w: %w", what, ctx.Err(), err)
		case <-time.After(interval):
		}
		interval = min(interval*3/2, 100*time.Millisecond)
	}
}
