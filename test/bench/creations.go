package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// Targets of a warm, verified create against a validator that does nothing.
const (
	targetP50 = 1.05
	targetP99 = 1.15
)

// creations measures CRI calls on a real containerd with the plugin, with one that does nothing, and with none.
func creations(ctx context.Context, rounds, creates int) (err error) {
	fmt.Printf("\nCRI calls on containerd 2.4, %d rounds of %d containers each way, in turn\n", rounds, creates)
	s, err := stack.Start(ctx, stack.Options{NotRequired: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	r, err := newRunner(ctx, s)
	if err != nil {
		return err
	}
	var create, both pairs
	for i := range rounds {
		order := []string{"noop", plugin.Name}
		if i%2 == 1 {
			order = []string{plugin.Name, "noop"} // so that a drift within a round favours nobody
		}
		for _, who := range order {
			got, err := r.half(ctx, who, creates, false)
			if err != nil {
				return err
			}
			if who == "noop" {
				create.baseline = append(create.baseline, got)
			} else {
				create.product = append(create.product, got)
			}
		}
		for _, who := range []string{"", plugin.Name} {
			got, err := r.half(ctx, who, creates/8, true)
			if err != nil {
				return err
			}
			if who == "" {
				both.baseline = append(both.baseline, got)
			} else {
				both.product = append(both.product, got)
			}
		}
		fmt.Printf("  round %d of %d done\n", i+1, rounds)
	}
	ok := create.print("create, warm, verified", "no-op plugin", 0.5, targetP50)
	ok = create.print("create, warm, verified", "no-op plugin", 0.99, targetP99) && ok
	both.print("create and start", "no plugin", 0.5, 0)
	both.print("create and start", "no plugin", 0.99, 0)
	if !ok {
		return errors.New("a target was missed")
	}
	return nil
}

// runner creates containers of one verified image in one pod.
type runner struct {
	stack                 *stack.Stack
	pod, image, reference string
	noop                  string
}

func newRunner(ctx context.Context, s *stack.Stack) (*runner, error) {
	r := &runner{stack: s}
	var err error
	if r.noop, err = cluster.Build(ctx, "./test/bench/noop"); err != nil {
		return nil, err
	}
	key, err := s.NewKey("team")
	if err != nil {
		return nil, err
	}
	if r.reference, err = s.Push(ctx, "bench/app"); err != nil {
		return nil, err
	}
	if err := errors.Join(s.Sign(ctx, key, r.reference), s.Require(ctx, "prod", key)); err != nil {
		return nil, err
	}
	cri := s.Node.CRI()
	if r.image, err = cri.PullImage(ctx, r.reference); err != nil {
		return nil, err
	}
	if r.pod, err = cri.RunPod(ctx, cluster.PodSpec{Namespace: "prod"}); err != nil {
		return nil, err
	}
	return r, s.Plugin.Stop(ctx)
}

// half starts the named plugin (none if empty), creates containers, starts them too if asked, and stops the plugin.
func (r *runner) half(ctx context.Context, who string, n int, start bool) (sample, error) {
	var p *cluster.Process
	var err error
	switch who {
	case plugin.Name:
		err = r.stack.StartPlugin(ctx, "--log-level", "info")
		p = r.stack.Plugin
	case "noop":
		p, err = cluster.StartProcess(ctx, cluster.Command{Path: r.noop, Args: []string{r.stack.Node.NRISocket()}, Log: filepath.Join(r.stack.Dir, "log", "noop.log")}, nil)
		if err == nil {
			err = r.stack.Node.WaitNRI(ctx, "noop")
		}
	}
	if err != nil {
		return nil, err
	}
	const warmUp = 20
	times := make(sample, 0, n)
	for i := range warmUp + n {
		took, err := r.one(ctx, start)
		if err != nil && i < 3 {
			continue // the runtime denies the first create after it lost a validator, as it should
		}
		if err != nil {
			return nil, err
		}
		if i >= warmUp {
			times = append(times, took)
		}
	}
	if p != nil {
		err = p.Stop(ctx)
	}
	return times, err
}

// one creates a container, and removes it, because containers that pile up in a pod slow the next ones down.
func (r *runner) one(ctx context.Context, start bool) (time.Duration, error) {
	cri := r.stack.Node.CRI()
	began := time.Now()
	id, err := cri.CreateContainer(ctx, r.pod, cluster.ContainerSpec{Image: r.image, UserSpecifiedImage: r.reference})
	if err == nil && start {
		err = cri.StartContainer(ctx, id)
	}
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	if start {
		err = cri.StopContainer(ctx, id, 0)
	}
	return took, errors.Join(err, cri.RemoveContainer(ctx, id))
}
