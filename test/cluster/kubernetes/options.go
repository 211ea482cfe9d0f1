package kubernetes

import (
	"errors"
	"fmt"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// Options say how a cluster is set up. The zero value is one node with containerd as it ships.
type Options struct {
	// Node is what each node's containerd is like. CNI is set by [Start].
	Node cluster.Options
	// Nodes is how many there are; zero means one, and more are not supported yet: they would share paths.
	Nodes int
	// StaticPodDir is where kubelet finds static pods; empty: a folder of the cluster's. It must exist.
	StaticPodDir string
	// Images are imported under their names before kubelet starts: for static pods that must not wait until kubelet
	// tries again.
	Images map[string]v1.Image
	// KubeletArgs are added to kubelet's command line, where they win over its configuration.
	KubeletArgs []string
	// APIServerArgs are added to the API server's command line, where a later one wins over an earlier one.
	APIServerArgs []string
	// Progress is called with a line, without its end, for each step of [Start] that takes a while, one call at a time;
	// nil: nobody is told.
	Progress func(line string)
}

func (o *Options) check() error {
	if o.Nodes < 0 || o.Nodes > 1 {
		return fmt.Errorf("%d nodes: only one is supported", o.Nodes)
	}
	if o.Node.CNI != "" {
		return errors.New("option Node.CNI is set: the cluster has a network of its own")
	}
	return nil
}

// steps tells of the steps of [Start], which overlap.
type steps struct {
	mutex sync.Mutex // held while tell is called
	tell  func(line string)
}

// begin tells of the beginning of a step, and returns what tells of its end.
func (s *steps) begin(what string) (end func()) {
	started := time.Now()
	s.line("starting " + what + " …")
	return func() { s.line(fmt.Sprintf("%s: %.1f s", what, time.Since(started).Seconds())) }
}

func (s *steps) line(text string) {
	if s.tell == nil {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.tell(text)
}
