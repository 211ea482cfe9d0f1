package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kritis-node/kritis-node/test/site"
)

// Patience is how long after the last fault everything that is attested has to run.
const Patience = 30 * time.Second

// controlNamespace has the pod by which the soak sees that the kubelet hears the API server again. It has no policy.
const controlNamespace = "default"

// Options say how long a soak is, and where it writes.
type Options struct {
	Seed uint64
	// For is how long rounds begin; Rounds, if not zero, is how many there are at most.
	For    time.Duration
	Rounds int
	Shape
	// Dir takes the logs. It must be there, and not in /run.
	Dir string
	// Progress is called with lines, one at a time.
	Progress func(line string)
}

// Needs is what [cluster.Isolate] has to be told of.
func Needs() []string { return site.Needs() }

// soak is a running one.
type soak struct {
	Options
	*place
	eyes   *eyes
	report *Report
	say    func(format string, args ...any)

	mu     sync.Mutex
	active map[int]Fault // faults that are in force, by their place in the round
	items  []*item       // of this round
	shown  int           // violations that were told
}

// Run starts a cluster and lets it suffer. An error is one of the soak itself, for example of a cluster that does not start: then
// nothing is known. What must not be is in the report. The cluster goes on until the program ends.
func Run(ctx context.Context, o Options) (_ *Report, err error) {
	var lock sync.Mutex
	log, err := os.Create(filepath.Join(o.Dir, "progress.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	progress := o.Progress
	o.Progress = func(line string) {
		lock.Lock()
		defer lock.Unlock()
		fmt.Fprintln(log, line)
		progress(line)
	}
	s := &soak{Options: o, report: newReport(o), say: tell(o.Progress), active: map[int]Fault{}}
	s.say("seed %d, logs in %s", o.Seed, o.Dir)
	s.place, err = startPlace(ctx, o)
	defer func() {
		s.keepLogs(ctx)
		err = errors.Join(err, s.leave())
	}()
	if err != nil {
		return nil, err
	}
	if s.images, err = newImages(ctx, s.place); err != nil {
		return nil, err
	}
	if s.eyes, err = openEyes(s.Node(), s.images); err != nil {
		return nil, err
	}
	err = s.rounds(ctx)
	return s.report, errors.Join(err, s.eyes.close())
}

func (s *soak) rounds(ctx context.Context) error {
	// One of each way, without faults: what was never used yet does not count as leaked later, and the soak itself is known to work.
	first := Round{}
	for _, way := range []Way{Admitted, Bare, InCloud, Static, Direct} {
		first.Loads = append(first.Loads, Load{Way: way, Attested: true}, Load{Way: way, Fresh: true})
	}
	first.Loads = append(first.Loads, Load{Way: Forged})
	if err := s.round(ctx, first); err != nil {
		return err
	}
	s.report.Violations = append(s.report.Violations, s.eyes.violations()...)
	if len(s.report.Violations) > 0 {
		return errors.New("without any fault there were violations: " + strings.Join(s.report.Violations, "; "))
	}
	var err error
	if s.report.Use[0], err = s.usage(); err != nil {
		return err
	}
	began := time.Now()
	for number := 1; time.Since(began) < s.For && (s.Rounds == 0 || number <= s.Rounds); number++ {
		if err := s.round(ctx, Plan(s.Seed, number, s.Shape)); err != nil {
			return fmt.Errorf("round %d: %w", number, err)
		}
		leaks, now := s.awaitNoLeaks(ctx, s.report.Use[0])
		for _, l := range leaks {
			s.report.violation("round %d: leaked: %s", number, l)
		}
		s.report.Use[1] = now
		for _, v := range s.eyes.violations() {
			s.report.violation("round %d: %s", number, v)
		}
		s.report.Rounds, s.report.Took = number, time.Since(began)
		s.tellViolations()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if err := s.quiet(ctx); err != nil {
		return fmt.Errorf("the quiet round: %w", err)
	}
	s.tellViolations()
	s.report.Seen = s.eyes.counts()
	return s.eyes.blind()
}

// quietLoads is how many containers the quiet round starts: more than the slack of what is in use.
const quietLoads = 16

// quiet is a round of containers of fresh images, without faults. Processes that are killed again and again lose what they leaked; here
// they live on, so that what leaks with each container, or each denial, adds up.
func (s *soak) quiet(ctx context.Context) error {
	before, err := s.usage()
	if err != nil {
		return err
	}
	round := Round{Number: s.report.Rounds + 1}
	for n := range quietLoads {
		way := []Way{Direct, InCloud}[n/2%2]
		round.Loads = append(round.Loads, Load{At: time.Duration(n) * 200 * time.Millisecond, Way: way, Attested: n%2 == 0, Fresh: true})
	}
	if err := s.round(ctx, round); err != nil {
		return err
	}
	leaks, now := s.awaitNoLeaks(ctx, before)
	for _, t := range product {
		if before[t].PID != now[t].PID {
			s.report.violation("the %s was started anew in the quiet round", t)
		}
	}
	for _, l := range leaks {
		s.report.violation("leaked in the quiet round: %s", l)
	}
	for _, v := range s.eyes.violations() {
		s.report.violation("the quiet round: %s", v)
	}
	s.report.Use[1] = now
	return nil
}

// round plays a round, and then waits until all that has to run does.
func (s *soak) round(ctx context.Context, r Round) error {
	if err := s.keepPlan(r); err != nil {
		return err
	}
	if err := s.images.prepare(ctx, slices.Concat(r.Loads, r.After)); err != nil {
		return err
	}
	s.say("round %d: %d faults, %d containers", r.Number, len(r.Faults), len(r.Loads))
	var items []*item
	for n, l := range slices.Concat(r.Loads, r.After) {
		items = append(items, s.newItem(l, fmt.Sprintf("round-%d-%d", r.Number, n), s.images.take(l)))
	}
	s.mu.Lock()
	s.items = items
	s.mu.Unlock()
	during, after := items[:len(r.Loads)], items[len(r.Loads):]

	playing, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer func() { cancel(); work.Wait() }()
	for _, i := range during {
		work.Go(func() {
			wait(playing, i.At)
			s.start(playing, i)
		})
	}
	work.Go(func() { s.watch(playing, items) })
	work.Go(func() { s.tellProgress(playing, r) })
	if err := s.faults(ctx, r); err != nil {
		return err
	}
	for _, i := range after {
		work.Go(func() { s.start(playing, i) })
	}
	if err := s.calm(ctx, r, items); err != nil {
		return err
	}
	cancel()
	work.Wait()
	s.report.count(items)
	return s.clear(ctx, items)
}

// faults lets a round's faults happen and returns when all are repaired.
func (s *soak) faults(ctx context.Context, r Round) error {
	var work sync.WaitGroup
	failed := make([]error, len(r.Faults))
	// Loads may be planned for after the last fault.
	if n := len(r.Loads); n > 0 {
		work.Go(func() { wait(ctx, r.Loads[n-1].At) })
	}
	for n, f := range r.Faults {
		work.Go(func() {
			wait(ctx, f.At)
			s.set(n, &f)
			s.say("  %s for %s", f.name(), f.For)
			if err := s.strike(ctx, f); err != nil {
				failed[n] = fmt.Errorf("%s: %w", f, err)
			}
			s.set(n, nil)
		})
	}
	work.Wait()
	return errors.Join(failed...)
}

func (s *soak) set(n int, f *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f == nil {
		delete(s.active, n)
		return
	}
	s.active[n] = *f
}

// watch looks which containers run, until ctx ends.
func (s *soak) watch(ctx context.Context, items []*item) {
	for ctx.Err() == nil {
		_ = s.look(ctx, items) // containerd may be down
		wait(ctx, 200*time.Millisecond)
	}
}
