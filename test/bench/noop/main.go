// Command noop is the baseline of the benchmarks: an NRI plugin whose validator lets everything pass.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
)

type noop struct{}

// ValidateContainerAdjustment implements stub.ValidateContainerAdjustmentInterface.
func (noop) ValidateContainerAdjustment(context.Context, *api.ValidateContainerAdjustmentRequest) error {
	return nil
}

func main() {
	s, err := stub.New(noop{}, stub.WithPluginName("noop"), stub.WithPluginIdx("99"), stub.WithSocketPath(os.Args[1]))
	if err == nil {
		err = s.Run(context.Background())
	}
	fmt.Fprintln(os.Stderr, "noop:", err)
	os.Exit(1)
}
