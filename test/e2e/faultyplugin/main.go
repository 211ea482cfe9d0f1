// Command faultyplugin is an NRI plugin that registers under the product's name and fails as it is told, so that tests
// can show what a runtime does then.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
)

// exitCode tells a test that the program died where it was meant to.
const exitCode = 42

// validator has the last word on a container, as the product has.
type validator struct{ fail func() }

func (v validator) ValidateContainerAdjustment(context.Context, *api.ValidateContainerAdjustmentRequest) error {
	v.fail()
	return nil
}

// creator adjusts containers and has no last word.
type creator struct{ fail func() }

func (c creator) CreateContainer(context.Context, *api.PodSandbox, *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	c.fail()
	return nil, nil, nil
}

func main() {
	socket := flag.String("socket", "", "the runtime's NRI socket")
	event := flag.String("event", "validate", "the event that is handled: validate or create")
	fault := flag.String("fault", "panic", "what happens then: panic, exit or hang")
	flag.Parse()
	if err := run(*socket, *event, *fault); err != nil {
		log.Fatal(err)
	}
}

func run(socket, event, fault string) error {
	faults := map[string]func(){
		"panic": func() { panic("as told") },
		"exit":  func() { os.Exit(exitCode) },
		"hang":  func() { select {} },
	}
	fail, ok := faults[fault]
	if !ok {
		return fmt.Errorf("no fault %q", fault)
	}
	handlers := map[string]any{"validate": validator{fail}, "create": creator{fail}}
	handler, ok := handlers[event]
	if !ok {
		return fmt.Errorf("no event %q", event)
	}
	plugin, err := stub.New(handler, stub.WithSocketPath(socket), stub.WithPluginName("kritis"), stub.WithPluginIdx("99"))
	if err != nil {
		return err
	}
	return plugin.Run(context.Background())
}
