package kubernetes

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
)

func shell(t *testing.T, script string, ready func(context.Context) error) *component {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	return &component{command: cluster.Command{Path: "/bin/sh", Args: []string{"-c", script}, Log: log}, ready: ready}
}

func TestComponentThatEndsBeforeItIsReady(t *testing.T) {
	k := shell(t, "echo out of order; exit 3", func(context.Context) error { return errors.New("not ready") })
	err := k.start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "out of order") {
		t.Errorf("the error is %v", err)
	}
}

// What nobody stopped is not to pass unnoticed; what somebody stopped may be stopped and started again.
func TestComponentThatEndsByItself(t *testing.T) {
	k := shell(t, "trap 'exit 0' TERM; echo started; sleep 60 & wait $!", func(context.Context) error { return nil })
	for range 2 {
		if err := errors.Join(k.start(t.Context()), k.stop(t.Context()), k.stop(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := k.current().Kill(); err != nil {
		t.Fatal(err)
	}
	if err := k.stop(t.Context()); err == nil || !strings.Contains(err.Error(), "ended by itself") {
		t.Errorf("the error is %v", err)
	}
}
