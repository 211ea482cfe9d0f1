package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// awaitLimit ends a wait whose context has no earlier deadline. It is generous: on a loaded machine an API server can
// take a minute until it is ready, and a wait that succeeds ends long before.
const awaitLimit = 2 * time.Minute

// component is a program of the cluster that can be stopped and started again.
type component struct {
	command cluster.Command
	// ready says whether it serves.
	ready func(context.Context) error

	mutex   sync.Mutex // guards what follows
	process *cluster.Process
	stopped bool // its end was asked for
}

func (k *component) name() string { return filepath.Base(k.command.Path) }

// start starts the program, with further arguments if there are any, and waits until it serves.
func (k *component) start(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, awaitLimit)
	defer cancel()
	process, err := k.launch(ctx, args...)
	if err != nil {
		return err
	}
	for {
		err := k.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-process.Ended():
			return fmt.Errorf("%s ended: %w; the end of its log:\n%s", k.name(), ending(process), logTail(k.command.Log, 2000))
		case <-ctx.Done():
			return fmt.Errorf("waited for %s to be ready: %w: %w; the end of its log:\n%s",
				k.name(), ctx.Err(), err, logTail(k.command.Log, 2000))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// launch starts the program and does not wait for it.
func (k *component) launch(ctx context.Context, args ...string) (*cluster.Process, error) {
	command := k.command
	command.Args = append(slices.Clone(command.Args), args...)
	process, err := cluster.StartProcess(ctx, command, nil)
	if err != nil {
		return nil, err
	}
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.process, k.stopped = process, false
	return process, nil
}

// crash ends the program at once.
func (k *component) crash() error {
	k.mutex.Lock()
	process := k.process
	k.stopped = true
	k.mutex.Unlock()
	if process == nil {
		return nil
	}
	return process.Kill()
}

// stop ends the program in order. Without one that runs it does nothing, except that one which ended by itself is an
// error.
func (k *component) stop(ctx context.Context) error {
	k.mutex.Lock()
	process, asked := k.process, k.stopped
	k.stopped = true
	k.mutex.Unlock()
	switch {
	case process == nil || asked:
		return nil
	case !process.Running():
		return fmt.Errorf("%s ended by itself: %w; the end of its log:\n%s", k.name(), ending(process), logTail(k.command.Log, 2000))
	}
	return process.Stop(ctx)
}

// current is the running process, or the last one.
func (k *component) current() *cluster.Process {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return k.process
}

// ending says how a process ended, also when it ended well.
func ending(process *cluster.Process) error {
	if err := process.Err(); err != nil {
		return err
	}
	return errors.New("exit status 0")
}

// logTail returns the last lines of a log, at most so many bytes.
func logTail(path string, most int) string {
	log, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-most):])
}

// healthy returns a check that a URL answers 200 to the administrator.
func (c *Cluster) healthy(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := c.client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answers %s", url, response.Status)
		}
		return nil
	}
}
