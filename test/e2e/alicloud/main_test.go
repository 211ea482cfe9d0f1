// Package alicloud shows, on a real cluster with the chart installed and an emulator of Alibaba Cloud under the cloud's own host
// names, the flow that users of kritis-validation-hook follow: a KMS key, a witness, a signature rule, a security policy with its
// switch; and that no fault of the cloud takes protection away.
package alicloud

import (
	"os"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/site"
)

func TestMain(m *testing.M) {
	cluster.Isolate(site.Needs()...)
	os.Exit(m.Run())
}
