package clustertest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// Program is a process that is stopped after its test, unless that stops or kills it.
type Program struct {
	*cluster.Process
	stop func()
}

// StartProgram starts a program and waits until it is ready (nil: does not wait), see [cluster.StartProcess]. Without a
// Log in the command it has a file of its own. The log is shown for a test that failed.
func StartProgram(t testing.TB, command cluster.Command, ready func(context.Context) error) *Program {
	t.Helper()
	if command.Log == "" {
		command.Log = filepath.Join(t.TempDir(), "log")
	}
	process, err := cluster.StartProcess(t.Context(), command, ready)
	if err != nil {
		t.Fatal(err)
	}
	p := &Program{Process: process, stop: sync.OnceFunc(func() {
		// The test's own context ends before what is cleaned up.
		if err := process.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})}
	t.Cleanup(func() {
		p.Stop()
		if !t.Failed() {
			return
		}
		text, err := os.ReadFile(command.Log)
		if err != nil {
			t.Error(err)
		}
		t.Logf("%s %s:\n%s", process.Name(), strings.Join(command.Args, " "), text)
	})
	return p
}

// Stop stops the program, once.
func (p *Program) Stop() { p.stop() }
