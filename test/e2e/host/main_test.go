// Package host holds what placement host promises, on real containerd: the plugin as a service, installed, kept, replaced
// and removed by kritis install host, and required by kritis install --require. In systemd's place is test/cluster/systemd.
package host

import (
	"os"
	"testing"

	"github.com/kritis-node/kritis-node/test/site"
	"github.com/kritis-node/kritis-node/test/stack"
)

func TestMain(m *testing.M) {
	stack.Isolate(site.Needs()...)
	os.Exit(m.Run())
}
