package plugin

import (
	"errors"
	"fmt"
	"time"
)

// OnViolation is what is done about a container that runs and would be denied now.
type OnViolation string

// What can be done.
const (
	ViolationReport OnViolation = "Report"
	ViolationStop   OnViolation = "Stop"
)

// Recheck says how containers that run already are looked at.
type Recheck struct {
	// Interval is the time between two looks if nothing changes; zero: nobody looks, ever.
	Interval    time.Duration
	OnViolation OnViolation
	// StopGrace is how long a container may take to end, in whole seconds; StopsPerMinute how many are stopped at most.
	StopGrace      time.Duration
	StopsPerMinute int
	// NeverStop are namespace patterns, besides kube-system and what the floor exempts, whose containers are never stopped.
	NeverStop []string
}

func (c Recheck) check() error {
	switch {
	case c.Interval < 0, c.Interval > 0 && c.Interval < time.Second:
		return errors.New("--recheck-interval is less than a second: name a time such as 10m, or 0 for never")
	case c.OnViolation != ViolationReport && c.OnViolation != ViolationStop:
		return fmt.Errorf("--on-violation is %q, must be Report or Stop", c.OnViolation)
	case c.OnViolation == ViolationStop && c.Interval == 0:
		return errors.New("--on-violation Stop needs a --recheck-interval: nothing is stopped that nobody looks at")
	case c.StopGrace < 0 || c.StopGrace > time.Hour:
		return errors.New("--stop-grace-period must be 0 to 1h")
	case c.StopsPerMinute < 1:
		return errors.New("--stops-per-minute is less than 1: to stop nothing, use --on-violation Report")
	}
	return nil
}
