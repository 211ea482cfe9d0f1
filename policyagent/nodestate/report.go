package nodestate

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/kritis-node/kritis-node/verifier"
)

// Limits of a report. One more is refused; the plugin keeps to them by Bound.
const (
	// MaxIncidents is the number of incidents in one report, MaxGaps that of reasons why enforcement is not complete.
	MaxIncidents = 32
	MaxGaps      = 8
	// MaxName bounds names, MaxText what people read, MaxImage a reference as written, in bytes.
	MaxName  = 253
	MaxText  = 1 << 10
	MaxImage = 1 << 10
	// MaxReport is the size of a report in bytes: of its JSON, in which a byte may take six.
	MaxReport = 1 << 20
)

// Report is what the plugin tells the agent, which shows it to the cluster. Nothing decides by it.
type Report struct {
	Version   string    `json:"version,omitempty"`
	Placement string    `json:"placement"`
	StartedAt time.Time `json:"startedAt"`
	Mode      string    `json:"mode"`
	Gaps      []Gap     `json:"gaps,omitempty"`
	// Runtime is name and version; empty before the first registration.
	Runtime string `json:"runtime,omitempty"`
	// Decisions count since StartedAt.
	Decisions Decisions `json:"decisions"`
	// PolicyGeneration is that of the snapshot in force in the plugin; 0 if none ever arrived.
	PolicyGeneration uint64 `json:"policyGeneration"`
	// Running is what is known of what runs already.
	Running *Running `json:"running,omitempty"`
	// Incidents happened since the last report that arrived, oldest first.
	Incidents []Incident `json:"incidents,omitempty"`
}

// Gap is one reason why enforcement is not complete: a stable code such as "NotRequired", and a text for people.
type Gap struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// Decisions are numbers of decisions by outcome.
type Decisions struct {
	Allowed      uint64 `json:"allowed"`
	Denied       uint64 `json:"denied"`
	CouldNotTell uint64 `json:"couldNotTell"`
}

// Incident is a container that did not pass, or passed by dry run or by break-glass. All names are what the runtime was
// told: a direct client of it chooses them.
type Incident struct {
	At time.Time `json:"at"`
	// Place is "create" or "start"; "running" if the container was found running, "stop" if it was stopped then.
	Place     string `json:"place"`
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	// PodUID is the one that the runtime has: of a static pod its own, not its mirror's.
	PodUID    string `json:"podUid,omitempty"`
	Container string `json:"container"`
	Image     string `json:"image"`

	Outcome verifier.Outcome `json:"outcome"`
	Reason  verifier.Reason  `json:"reason"`
	// Admitted: the container runs.
	Admitted bool `json:"admitted"`
	// Message is what the runtime, and so the user, was told about the image; also in dry run, where nobody was.
	Message string `json:"message,omitempty"`
	// BreakGlass is the entry that admitted the image, if that one expires.
	BreakGlass *BreakGlass `json:"breakGlass,omitempty"`
}

// BreakGlass is an entry of an allow-list that expires.
type BreakGlass struct {
	// Object is the list, "AdmissionAllowlist emergency".
	Object  string    `json:"object"`
	Pattern string    `json:"pattern"`
	Reason  string    `json:"reason,omitempty"`
	Expires time.Time `json:"expires"`
}

// Bound returns the report within its limits: texts are shortened and put on one line, and only the first incidents and
// gaps are kept.
func (r Report) Bound() Report {
	r.Version, r.Placement, r.Mode, r.Runtime = line(r.Version, MaxName), line(r.Placement, MaxName), line(r.Mode, MaxName), line(r.Runtime, MaxName)
	gaps := make([]Gap, 0, len(r.Gaps))
	for _, g := range r.Gaps[:min(len(r.Gaps), MaxGaps)] {
		gaps = append(gaps, Gap{line(g.Code, MaxName), line(g.Text, MaxText)})
	}
	incidents := make([]Incident, 0, len(r.Incidents))
	for _, i := range r.Incidents[:min(len(r.Incidents), MaxIncidents)] {
		incidents = append(incidents, i.bound())
	}
	r.Gaps, r.Incidents, r.Running = gaps, incidents, r.Running.bound()
	return r
}

func (i Incident) bound() Incident {
	for _, name := range []*string{&i.Place, &i.Namespace, &i.Pod, &i.PodUID, &i.Container, (*string)(&i.Reason)} {
		*name = line(*name, MaxName)
	}
	i.Image, i.Message = line(i.Image, MaxImage), line(i.Message, MaxText)
	if b := i.BreakGlass; b != nil {
		i.BreakGlass = &BreakGlass{line(b.Object, MaxText), line(b.Pattern, MaxImage), line(b.Reason, MaxText), b.Expires}
	}
	return i
}

// parseReport reads a report as it came over the socket. Its texts are on one line, and within their limits.
func parseReport(data []byte) (Report, error) {
	if len(data) > MaxReport {
		return Report{}, fmt.Errorf("the report has more than %d bytes: send several", MaxReport)
	}
	var r Report
	if err := unmarshalStrict(data, &r); err != nil {
		return Report{}, fmt.Errorf("the report is not the JSON of one: %s: use the plugin and the agent of one version", clip(err.Error(), 200))
	}
	switch {
	case r.Mode == "":
		return Report{}, errors.New("the report names no mode")
	case len(r.Gaps) > MaxGaps:
		return Report{}, fmt.Errorf("the report has %d gaps and may have %d", len(r.Gaps), MaxGaps)
	case len(r.Incidents) > MaxIncidents:
		return Report{}, fmt.Errorf("the report has %d incidents and may have %d: send several", len(r.Incidents), MaxIncidents)
	}
	return r.Bound(), nil
}

// line puts text on one line of at most so many bytes: whatever could move a cursor or hide text becomes a space.
func line(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s[:min(len(s), 4*limit)])
	if len(s) <= limit {
		return s
	}
	const ellipsis = "…"
	end := limit - len(ellipsis)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + ellipsis
}
