package nodestate

import (
	"time"

	"github.com/kritis-node/kritis-node/verifier"
)

// MaxFindings is the number of findings in one report; those beyond it are counted.
const MaxFindings = 64

// Result is what was found out about a container that runs.
type Result string

// Results. ResultAllowed is only counted; no Finding has it.
const (
	ResultAllowed Result = "allowed"
	// ResultViolation: it runs, and would be denied if it came now.
	ResultViolation Result = "violation"
	// ResultDryRun: as ResultViolation, but dry run would let it pass.
	ResultDryRun Result = "dry-run"
	// ResultUnknown: nobody can tell now. It is looked at again.
	ResultUnknown Result = "unknown"
	// ResultUnmanaged: a task that did not come through CRI, and that no decision explains.
	ResultUnmanaged Result = "unmanaged"
)

// Running is what the plugin knows of what runs already.
type Running struct {
	// LookedAt is when it last looked at everything, zero if not yet; Problem why it could not, since.
	LookedAt time.Time `json:"lookedAt,omitzero"`
	Problem  string    `json:"problem,omitempty"`
	// OnViolation is Report or Stop.
	OnViolation string `json:"onViolation"`
	// Counts are containers and tasks by result; Stopped is how many were stopped since the plugin's start.
	Counts  map[Result]int `json:"counts,omitempty"`
	Stopped uint64         `json:"stopped,omitempty"`
	// Findings are the worst first, More how many are left out.
	Findings []Finding `json:"findings,omitempty"`
	More     int       `json:"more,omitempty"`
}

// Finding is a container or task that runs and is not known to be allowed. All names are what the runtime was told.
type Finding struct {
	Result Result `json:"result"`
	// Namespace to PodUID are a pod's. Of a task that is not CRI's they are empty, and Runtime is containerd's namespace.
	Namespace string `json:"namespace,omitempty"`
	Pod       string `json:"pod,omitempty"`
	PodUID    string `json:"podUid,omitempty"`
	Container string `json:"container,omitempty"`
	Runtime   string `json:"runtime,omitempty"`
	// ID is the runtime's.
	ID     string          `json:"id"`
	Image  string          `json:"image,omitempty"`
	Reason verifier.Reason `json:"reason"`
	// Message says why in the words of a person.
	Message string `json:"message,omitempty"`
	// Missed: it was created while the plugin was stalled or not registered, so no decision was made then.
	Missed bool `json:"missed,omitempty"`
	// Since is when it was found first.
	Since time.Time `json:"since"`
}

func (r *Running) bound() *Running {
	if r == nil {
		return nil
	}
	b := *r
	b.Problem, b.OnViolation = line(r.Problem, MaxText), line(r.OnViolation, MaxName)
	b.Counts = map[Result]int{}
	for _, result := range []Result{ResultAllowed, ResultViolation, ResultDryRun, ResultUnknown, ResultUnmanaged} {
		b.Counts[result] = max(0, r.Counts[result])
	}
	n := min(len(r.Findings), MaxFindings)
	b.More = max(0, r.More) + len(r.Findings) - n
	b.Findings = make([]Finding, 0, n)
	for _, f := range r.Findings[:n] {
		for _, name := range []*string{(*string)(&f.Result), &f.Namespace, &f.Pod, &f.PodUID, &f.Container, &f.Runtime, &f.ID, (*string)(&f.Reason)} {
			*name = line(*name, MaxName)
		}
		f.Image, f.Message = line(f.Image, MaxImage), line(f.Message, MaxText)
		b.Findings = append(b.Findings, f)
	}
	return &b
}
