package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Close stops everything, in reverse order, and removes what it made. Processes or mounts that are left after an
// orderly stop are an error; they are ended in any case. So is a component that ended by itself. A second call does
// nothing and returns the same.
func (c *Cluster) Close() error { return c.close() }

func (c *Cluster) end() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	var failures []error
	for _, n := range c.nodes {
		failures = append(failures, n.stop(ctx))
	}
	for _, k := range []*component{c.scheduler, c.manager, c.apiServer, c.etcd} {
		if k != nil {
			failures = append(failures, k.stop(ctx))
		}
	}
	if c.names != nil {
		failures = append(failures, c.names.Close())
	}
	if c.network {
		failures = append(failures, removeNetwork(ctx))
	}
	failures = append(failures, unmountBelow(c.dir))
	if c.shelter != nil {
		failures = append(failures, c.shelter.close())
	}
	return errors.Join(append(failures, os.RemoveAll(c.dir))...)
}

// Leaks returns an error that lists the cluster's processes and mounts, if there are any.
func (c *Cluster) Leaks() error {
	var failures []error
	for _, n := range c.nodes {
		failures = append(failures, n.leaks())
	}
	for _, folder := range []string{c.dir, "/proc/sys", "/var"} {
		mounts, err := mountsBelow(folder)
		failures = append(failures, err)
		for _, mount := range mounts {
			failures = append(failures, fmt.Errorf("mount is left: %s", mount))
		}
	}
	// All of them are started with paths in the cluster's folder.
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	failures = append(failures, err)
	for _, file := range lines {
		// What cannot be read has ended in the meantime.
		line, _ := os.ReadFile(file)
		if strings.Contains(string(line), c.dir+"/") {
			failures = append(failures, fmt.Errorf("process is left: %s", strings.ReplaceAll(string(line), "\x00", " ")))
		}
	}
	return errors.Join(failures...)
}
