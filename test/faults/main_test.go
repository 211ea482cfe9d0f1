package faults

import (
	"os"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
)

func TestMain(m *testing.M) {
	cluster.Isolate(Needs()...)
	os.Exit(m.Run())
}
