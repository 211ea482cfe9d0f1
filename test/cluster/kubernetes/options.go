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
	// Nodes is how many there are; zero means one, nine is the most.
	Nodes int
	// Machines makes each node a [cluster.Machine], with /run, /var/lib and /etc of its own, containerd's sockets and
	// kubelet's folder where they are everywhere. More than one node always are. Without it, the only node has the
	// program's files.
	Machines bool
	// Volatile are folders in /run that are emptied when a node is rebooted that is no machine, besides /run/kritis.
	Volatile []string
	// StaticPodDir is where the first node's kubelet finds static pods; empty: a folder of the cluster's. It must exist,
	// and if the node is a machine not be in /run.
	StaticPodDir string
	// Images are imported under their names before kubelet starts: for static pods that must not wait until kubelet
	// tries again.
	Images map[string]v1.Image
	// Names are names that pods can resolve: to the first node's address, which is the program's own. They know no others.
	Names []string
	// KubeletArgs are added to kubelet's command line, where they win over its configuration.
	KubeletArgs []string
	// APIServerArgs are added to the API server's command line, where a later one wins over an earlier one.
	APIServerArgs []string
	// Progress is called with a line, without its end, for each step of [Start] that takes a while, one call at a time;
	// nil: nobody is told.
	Progress func(line string)
}

func (o *Options) check() error {
	if o.Nodes < 0 || o.Nodes > maxNodes {
		return fmt.Errorf("%d nodes: at most %d have addresses and names", o.Nodes, maxNodes)
	}
	if o.Node.Machine != nil || o.machines() && o.Node.Dir != "" {
		return errors.New("options Node.Machine or Node.Dir are set: machines and their folders are the cluster's")
	}
	if o.Node.CNI != "" {
		return errors.New("option Node.CNI is set: the cluster has a network of its own")
	}
	return nil
}

// maxNodes keeps names one digit longer than "node-", so that they fit into an interface's.
const maxNodes = 9

func (o *Options) machines() bool { return o.Machines || o.Nodes > 1 }

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
