package nodereport

import "time"

// maxFindings bounds the JSON of the findings in a report, in bytes: those beyond it are counted.
const maxFindings = 20 << 10

// Running is what a node's plugin knows of the containers that run already.
type Running struct {
	// LookedAt is when it last looked at everything, zero if not yet; Problem why it could not, since.
	LookedAt time.Time `json:"lookedAt,omitzero"`
	Problem  string    `json:"problem,omitempty"`
	// OnViolation is Report or Stop.
	OnViolation string `json:"onViolation,omitempty"`
	// Counts are containers by Result; Stopped is how many were stopped since the plugin's start.
	Counts  map[string]int `json:"counts,omitempty"`
	Stopped uint64         `json:"stopped,omitempty"`
	// Findings are the worst first, More how many are left out.
	Findings []Finding `json:"findings,omitempty"`
	More     int       `json:"more,omitempty"`
}

// Results of looking at a container that runs. Only the later ones are findings.
const (
	ResultAllowed   = "allowed"
	ResultViolation = "violation"
	ResultDryRun    = "dry-run"
	ResultUnknown   = "unknown"
	ResultUnmanaged = "unmanaged"
)

// Finding is a container or task that runs and is not known to be allowed.
type Finding struct {
	Result string `json:"result"`
	// Namespace to PodUID are a pod's. Of a task that is not CRI's they are empty, and Runtime is containerd's namespace.
	Namespace string    `json:"namespace,omitempty"`
	Pod       string    `json:"pod,omitempty"`
	PodUID    string    `json:"podUid,omitempty"`
	Container string    `json:"container,omitempty"`
	Runtime   string    `json:"runtime,omitempty"`
	ID        string    `json:"id"`
	Image     string    `json:"image,omitempty"`
	Reason    string    `json:"reason"`
	Message   string    `json:"message,omitempty"`
	Missed    bool      `json:"missed,omitempty"`
	Since     time.Time `json:"since"`
}

// fit returns what was found with as many findings as there is room for.
func (r *Running) fit(encode func(any) (string, error)) (*Running, error) {
	if r == nil {
		return nil, nil
	}
	fits, size := *r, 0
	for i, f := range r.Findings {
		text, err := encode(f)
		if err != nil {
			return nil, err
		}
		if size += len(text) + 1; size > maxFindings {
			fits.Findings, fits.More = r.Findings[:i:i], r.More+len(r.Findings)-i
			break
		}
	}
	return &fits, nil
}
