package faults

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// calm waits, after the last fault, until all that is attested has run. The clock of what goes through the API server runs from
// the moment at which the kubelet and pods hear it again: how long Kubernetes' own programs take for that is not the product's.
func (s *soak) calm(ctx context.Context, r Round, items []*item) error {
	ended := time.Now()
	heard, err := s.control(ctx, r)
	if err != nil {
		return err
	}
	base := func(i *item) time.Time {
		if i.viaAPI() {
			return heard
		}
		return ended
	}
	for {
		var late, waiting []*item
		for _, i := range items {
			if !i.waits() {
				continue
			}
			waiting = append(waiting, i)
			if time.Since(base(i)) > Patience {
				late = append(late, i)
			}
		}
		if len(waiting) == 0 || ctx.Err() != nil {
			break
		}
		if len(late) > 0 {
			s.late(ctx, r, late, base)
			break
		}
		for _, i := range waiting {
			if i.Way == Direct || time.Since(base(i)) < 2*time.Second {
				continue
			}
			if anew, _ := s.unstick(ctx, i); anew { // what the API server cannot tell now it can later
				s.report.Anew++
			}
		}
		wait(ctx, 300*time.Millisecond)
	}
	worst := time.Duration(0)
	for _, i := range items {
		if i.Attested && !i.waits() {
			worst = max(worst, i.ran.Sub(base(i)))
		}
	}
	s.report.recovered(r.Faults, worst)
	s.say("round %d: all that is attested ran %.1f s after the last fault", r.Number, worst.Seconds())
	return ctx.Err()
}

// control makes a pod and waits until the kubelet has taken it up, and until pods reach the API server, both of which the product has no
// part in.
func (s *soak) control(ctx context.Context, r Round) (time.Time, error) {
	name := fmt.Sprintf("control-%d", r.Number)
	image := s.images.take(Load{Way: Direct, Attested: true})
	err := patient(ctx, "kubelet to take up a pod", func(ctx context.Context) error {
		known, err := s.api.get(ctx, controlNamespace, name)
		if err != nil {
			_, _, err := s.api.create(ctx, pod(controlNamespace, name, s.NodeName(), image))
			return errors.Join(errors.New("it was made"), err)
		}
		if known.Status.StartTime == nil {
			return errors.New("it was not taken up")
		}
		return nil
	})
	if err == nil {
		err = patient(ctx, "kube-proxy to lead to the API server", s.DialAPIService)
	}
	return time.Now(), err
}

// late notes what did not run in time, with what is known of it, and waits whether it ever does.
func (s *soak) late(ctx context.Context, r Round, late []*item, base func(*item) time.Time) {
	if s.mustDescribe() {
		s.describe(ctx, fmt.Sprintf("late-round-%d", r.Number), late)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*Patience)
	defer cancel()
	for ctx.Err() == nil {
		waits := false
		for _, i := range late {
			waits = waits || i.waits()
		}
		if !waits {
			break
		}
		wait(ctx, time.Second)
	}
	for _, i := range late {
		outcome := "did not run at all"
		if !i.waits() {
			outcome = fmt.Sprintf("ran %.1f s after the last fault", i.ran.Sub(base(i)).Seconds())
		}
		said, tries := i.lastSaid()
		s.report.violation("round %d: %s %s; tried %d times, last said: %s", r.Number, i, outcome, tries, said)
	}
	s.tellViolations()
}
