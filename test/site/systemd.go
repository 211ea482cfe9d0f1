package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/systemd"
)

// OnHost are the values of placement host. The site needs [Options.Systemd].
func OnHost() Values { return Values{"plugin": Values{"placement": "host"}} }

// startSystemd gives every node what stands in for systemd there, which also restarts containerd.
func (s *Site) startSystemd() error {
	for _, node := range s.Nodes() {
		m, err := systemd.Start(systemd.Options{
			Path: node.Path, Socket: "/run/systemd/private", Units: "/etc/systemd/system", RuntimeUnits: "/run/systemd/system",
			Logs: s.path("systemd", node.Name()),
			Start: func(ctx context.Context, command cluster.Command) (*cluster.Process, error) {
				return node.Run(ctx, command, nil)
			},
			Provided: map[string]func(context.Context) error{"containerd.service": node.Runtime().RestartContainerd},
		})
		if err != nil {
			return fmt.Errorf("starting the systemd of %s: %w", node.Name(), err)
		}
		s.systemd = append(s.systemd, m)
	}
	return nil
}

// Systemd is what stands in for systemd on a node, counted from zero. There is none without [Options.Systemd].
func (s *Site) Systemd(node int) *systemd.Manager { return s.systemd[node] }

// OnNode runs the kritis command on a node, as its administrator does, and returns what it prints.
func (s *Site) OnNode(ctx context.Context, node int, args ...string) (string, error) {
	log, err := os.CreateTemp(s.dir, "kritis-")
	if err != nil {
		return "", err
	}
	defer os.Remove(log.Name())
	if err := log.Close(); err != nil {
		return "", err
	}
	p, err := s.Nodes()[node].Run(ctx, cluster.Command{Path: s.Program, Args: args, Log: log.Name()}, nil)
	if err != nil {
		return "", err
	}
	select {
	case <-p.Ended():
	case <-ctx.Done():
		return "", errors.Join(context.Cause(ctx), p.Kill())
	case <-time.After(2 * time.Minute):
		return "", errors.Join(fmt.Errorf("kritis %s does not end", args[0]), p.Kill())
	}
	text, err := os.ReadFile(log.Name())
	if failed := p.Err(); failed != nil {
		err = errors.Join(fmt.Errorf("kritis %s: %w: %s", args[0], failed, text), err)
	}
	return string(text), err
}
