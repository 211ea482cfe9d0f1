package faults

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Target is what a fault strikes.
type Target string

// What can fail.
const (
	Plugin     Target = "plugin"
	Agent      Target = "agent"
	Webhook    Target = "webhook"
	Controller Target = "controller"
	Containerd Target = "containerd"
	Registry   Target = "registry"
	APIServer  Target = "API server"
	Cloud      Target = "cloud"
	Disk       Target = "disk"
	State      Target = "state"
	Clock      Target = "clock"
)

// How processes fail.
const (
	kill    = "kill"    // SIGKILL, again whenever it comes back, for the fault's time
	pause   = "stop"    // SIGSTOP, and SIGCONT after the fault's time
	restart = "restart" // SIGTERM, once
)

// How the disk, the state folder and the clock fail.
const (
	full       = "full"       // not a byte is left
	flip       = "flip"       // one bit of a file is another
	truncate   = "truncate"   // a file ends early
	remove     = "delete"     // a file is gone
	removeAll  = "delete all" // all that is in the folder is gone
	dayForward = "a day forward"
	dayBack    = "a day back"
)

// cloudKinds are faults of the emulated cloud, as test/alicloudtest names them.
var cloudKinds = []string{"InternalError", "Hang", "Throttle", "Empty", "Truncate", "LosePage", "Garbage", "Reset"}

// Fault is one thing that fails.
type Fault struct {
	At     time.Duration `json:"at"`  // since the round began
	For    time.Duration `json:"for"` // until it is repaired
	Target Target        `json:"target"`
	Kind   string        `json:"kind"`
	Choice uint64        `json:"choice"` // which file, which process
}

func (f Fault) name() string { return string(f.Target) + ": " + f.Kind }

// Way is how a container is started.
type Way string

// The ways.
const (
	Admitted Way = "pod"         // through the API server, judged by the webhook as well
	Bare     Way = "pod, bare"   // through the API server, in a namespace that the webhook is told not to judge
	InCloud  Way = "pod, cloud"  // through the API server, attested in the emulated cloud
	Static   Way = "static pod"  // a file that the kubelet reads
	Direct   Way = "direct call" // CRI, without a kubelet
	Forged   Way = "forged call" // CRI, an unattested image in the name of an attested one
)

// Load is one container to be started.
type Load struct {
	At       time.Duration `json:"at"`
	Way      Way           `json:"way"`
	Attested bool          `json:"attested"`
	Fresh    bool          `json:"fresh"` // of an image that the node never saw
}

// Round is what happens between two times of calm.
type Round struct {
	Number int     `json:"number"`
	Faults []Fault `json:"faults"`
	Loads  []Load  `json:"loads"`
	// After are started when the last fault has ended: they tell how long it takes until all is well again.
	After []Load `json:"after"`
}

// Shape says what rounds are like.
type Shape struct {
	// Span is how long faults may begin, and loads.
	Span time.Duration
	// Faults are how many there are in a round, at most, and a third of it at least. Loads is how many containers are wanted.
	Faults, Loads int
	// Clock allows clocks to jump: the product's programs must have been built for it.
	Clock bool
}

// Long is the shape of what `make soak` does.
func Long() Shape { return Shape{Span: 20 * time.Second, Faults: 9, Loads: 14, Clock: true} }

// Short is the shape of what `make test` does. For clocks the programs would have to be built, with all that they import, once more.
func Short() Shape { return Shape{Span: 12 * time.Second, Faults: 9, Loads: 12} }

const (
	// atOnce is how many faults are in force together, at most.
	atOnce = 3
	// shortest and longest are how long a fault lasts.
	shortest, longest = 500 * time.Millisecond, 12 * time.Second
)

// Plan says what happens in a round. The same seed, number and shape always give the same.
func Plan(seed uint64, number int, shape Shape) Round {
	random := rand.New(rand.NewPCG(seed, uint64(number)))
	round := Round{Number: number}
	wanted := (shape.Faults+2)/3 + random.IntN(shape.Faults*2/3+1)
	for tries := 0; len(round.Faults) < wanted && tries < 100; tries++ {
		if more := append(slices.Clip(round.Faults), shape.fault(random)); fit(more) {
			round.Faults = more
		}
	}
	for range shape.Loads {
		round.Loads = append(round.Loads, shape.load(random))
	}
	for _, way := range []Way{Admitted, Bare, InCloud, Static, Direct} {
		round.After = append(round.After, Load{Way: way, Attested: true, Fresh: random.IntN(2) == 0})
	}
	slices.SortStableFunc(round.Faults, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
	slices.SortStableFunc(round.Loads, func(a, b Load) int { return cmp.Compare(a.At, b.At) })
	return round
}

func (s Shape) fault(random *rand.Rand) Fault {
	// What decides and what it lives by fails more often than the rest.
	targets := []Target{Plugin, Plugin, Agent, Agent, Containerd, State, State, Registry, APIServer, Cloud, Webhook, Controller, Disk}
	if s.Clock {
		targets = append(targets, Clock)
	}
	f := Fault{
		At: within(random, 0, s.Span), For: within(random, shortest, longest),
		Target: targets[random.IntN(len(targets))], Choice: random.Uint64(),
	}
	kinds := []string{kill, pause, restart}
	switch f.Target {
	case Cloud:
		kinds = cloudKinds
	case Disk:
		kinds = []string{full}
	case State:
		kinds = []string{flip, truncate, remove, removeAll}
	case Clock:
		kinds = []string{dayForward, dayBack}
	}
	f.Kind = kinds[random.IntN(len(kinds))]
	if f.Kind == restart || f.Target == State {
		f.For = 0
	}
	return f
}

func within(random *rand.Rand, least, most time.Duration) time.Duration {
	return (least + time.Duration(random.Int64N(int64(most-least)))).Round(time.Millisecond)
}

// settle is how long nothing else happens to a target after a fault: what is started anew has to be there to fail again.
const settle = 2 * time.Second

// fit says whether faults can happen beside one another: never two of one target at a time, and not too many together.
func fit(faults []Fault) bool {
	for i, f := range faults {
		together := 0
		for j, o := range faults {
			if i != j && o.Target == f.Target && f.At < o.At+o.For+settle && o.At < f.At+f.For+settle {
				return false
			}
			if o.At <= f.At && f.At < o.At+o.For+settle {
				together++
			}
		}
		if together > atOnce {
			return false
		}
	}
	return true
}

func (s Shape) load(random *rand.Rand) Load {
	l := Load{At: within(random, 0, s.Span), Attested: random.IntN(2) == 0, Fresh: random.IntN(4) == 0}
	ways := []Way{Admitted, Bare, Bare, InCloud, Static, Direct, Direct}
	if !l.Attested {
		ways = append(ways, Forged)
	}
	l.Way = ways[random.IntN(len(ways))]
	return l
}

func (f Fault) String() string {
	return fmt.Sprintf("%s at %s for %s", f.name(), f.At, f.For)
}
