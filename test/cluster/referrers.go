package cluster

import (
	"context"
	"path/filepath"
)

const registrydPackage = "./test/cluster/registryd"

// StartReferrersRegistry starts a registry that has the referrers API, logs to dir and keeps what it holds in memory.
func StartReferrersRegistry(ctx context.Context, dir string) (*Registry, error) {
	program, err := Build(ctx, registrydPackage)
	if err != nil {
		return nil, err
	}
	r := &Registry{
		command:    Command{Path: program, Log: filepath.Join(dir, "registry.log")},
		setAddress: func(command *Command, host string) { command.Args = []string{"-listen", host} },
		host:       "127.0.0.1:0",
	}
	if err := r.Start(ctx); err != nil {
		return nil, err
	}
	return r, nil
}
