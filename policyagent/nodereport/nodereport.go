// Package nodereport is what each node tells the cluster of its enforcement.
//
// The policy agent of a node keeps a Lease in the product's namespace: renewed while the agent works, with a Report in an
// annotation. The controller makes a condition of the Node from it, and `kritis status` a table. Nothing decides by it:
// whoever may write Leases in that namespace can lie here, and changes nothing about what runs.
package nodereport

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	// Annotation of the Lease holds the Report as JSON.
	Annotation = "kritis.grafeas.io/node-report"
	// Label of the Lease, with value LabelValue, is how node reports are told from other Leases of the namespace.
	Label = "app.kubernetes.io/component"
	// LabelValue is the value of Label.
	LabelValue = "node-report"

	// RenewEvery is how often a report is sent if nothing changed. A change of what people should see at once is sent at
	// once.
	RenewEvery = time.Minute
	// StaleAfter is how old a report may be before its node counts as silent.
	StaleAfter = 3 * time.Minute

	// Condition is the type of the condition of a Node. It is True if the mode is ModeEnforcing.
	Condition = "KritisEnforcing"

	// maxReport bounds the JSON, in bytes. Annotations of one object may have 256 KiB.
	maxReport = 32 << 10
	prefix    = "kritis-node."
	maxName   = 253
)

// Modes of enforcement, as metrics, conditions and `kritis status` name them.
const (
	// ModeEnforcing: whatever happens to the plugin, nothing starts unchecked.
	ModeEnforcing = "enforcing"
	// ModeBestEffort: containers start unchecked while the plugin is stalled or absent.
	ModeBestEffort = "best effort"
	// ModeWaiting: the plugin works, and is not registered with the runtime.
	ModeWaiting = "waiting"
	// ModeAbsent: the agent has not heard of a plugin on its node.
	ModeAbsent = "absent"
	// ModeSilent: nothing has been heard of the node's agent. Never in a report; readers say so.
	ModeSilent = "silent"
)

// Placements of the plugin.
const (
	PlacementPod  = "pod"
	PlacementHost = "host"
)

// Report is how one node enforces.
type Report struct {
	// Node is the node's name, Version the agent's.
	Node    string `json:"node"`
	Version string `json:"version,omitempty"`
	// Mode is one of the Modes, Gaps say why it is not ModeEnforcing.
	Mode string `json:"mode"`
	Gaps []Gap  `json:"gaps,omitempty"`
	// Plugin is what the plugin last said; nil if the agent has not heard of one since its start.
	Plugin *Plugin `json:"plugin,omitempty"`
	Policy Policy  `json:"policy"`
	// LastDenial is the latest container that did not pass.
	LastDenial *Denial `json:"lastDenial,omitempty"`
	// Running is what the plugin knows of what runs already; nil: nothing yet.
	Running *Running `json:"running,omitempty"`
	// At is when the report was made.
	At time.Time `json:"at"`
}

// Gap is one reason why enforcement is not complete: a stable code such as "NotRequired", and a text for people.
type Gap struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// Plugin is the enforcement point.
type Plugin struct {
	Version   string    `json:"version,omitempty"`
	Placement string    `json:"placement,omitempty"`
	Started   time.Time `json:"started,omitzero"`
	// Runtime is name and version, such as "containerd v2.4.2".
	Runtime string `json:"runtime,omitempty"`
	// Decisions counts since Started by outcome, as verifier.Outcome names them.
	Decisions map[string]uint64 `json:"decisions,omitempty"`
	// HeardAt is when the agent heard of it last.
	HeardAt time.Time `json:"heardAt"`
}

// Policy is the snapshot on the node's disk.
type Policy struct {
	// Generation is 0 if no snapshot ever arrived.
	Generation uint64    `json:"generation"`
	WrittenAt  time.Time `json:"writtenAt,omitzero"`
	// ConfirmedAt is when the source was last known to agree with the snapshot: zero, if not since the agent's start.
	ConfirmedAt time.Time `json:"confirmedAt,omitzero"`
	// Error is why the source cannot be asked now; the snapshot stays in force.
	Error string `json:"error,omitempty"`
	// Problems is the number of things in the policies that cannot be used as written.
	Problems int `json:"problems,omitempty"`
}

// Denial is a container that did not pass.
type Denial struct {
	At        time.Time `json:"at"`
	Namespace string    `json:"namespace"`
	Pod       string    `json:"pod"`
	Image     string    `json:"image"`
	Reason    string    `json:"reason"`
}

// LeaseName is that of a node's Lease.
func LeaseName(node string) (string, error) {
	if node == "" || len(prefix)+len(node) > maxName {
		return "", fmt.Errorf("a node's name has 1 to %d characters, this one has %d", maxName-len(prefix), len(node))
	}
	return prefix + node, nil
}

// Encode returns the report as the Annotation's value. Findings for which there is no room are counted.
func (r Report) Encode() (string, error) {
	var err error
	if r.Running, err = r.Running.fit(encode); err != nil {
		return "", err
	}
	value, err := encode(r)
	if err != nil {
		return "", err
	}
	if len(value) > maxReport {
		return "", fmt.Errorf("the node's report has %d bytes and may have %d", len(value), maxReport)
	}
	return value, nil
}

func encode(v any) (string, error) {
	var text strings.Builder
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false) // no browser reads it, and it would take six bytes for one
	if err := e.Encode(v); err != nil {
		return "", fmt.Errorf("encoding the node's report: %w", err)
	}
	return strings.TrimSuffix(text.String(), "\n"), nil
}

// Parse reads an Annotation's value. Fields of later versions are left out.
func Parse(value string) (Report, error) {
	if len(value) > maxReport {
		return Report{}, fmt.Errorf("the node's report has %d bytes and may have %d", len(value), maxReport)
	}
	var r Report
	if err := json.Unmarshal([]byte(value), &r); err != nil {
		return Report{}, fmt.Errorf("the node's report is no JSON of this kind: %w", err)
	}
	if r.Node == "" || r.Mode == "" {
		return Report{}, errors.New("the node's report names no node or no mode")
	}
	return r, nil
}
