package controller

// Reasons of the condition Ready of an allow-list whose patterns expired. Others are those of v1beta1.Ready.
const (
	// ReasonExpired: all of them did. The condition is False.
	ReasonExpired = "PatternsExpired"
	// ReasonSomeExpired: others still allow. The condition is True.
	ReasonSomeExpired = "SomePatternsExpired"
)

// Reasons of a Node's condition.
const (
	ReasonEnforcing  = "Enforcing"
	ReasonBestEffort = "BestEffort"
	ReasonWaiting    = "Waiting"
	ReasonAbsent     = "PluginAbsent"
	ReasonSilent     = "Silent"
	// ReasonUnreadable: there is a report, and it cannot be understood.
	ReasonUnreadable = "ReportUnreadable"
)

// Reasons of a Node's events.
const (
	EventEnforcing    = "KritisEnforcing"
	EventNotEnforcing = "KritisNotEnforcing"
)

// maxNamed is how many patterns a message names.
const maxNamed = 20

// What people read of allow-lists and nodes.
const (
	textExpired     = "every pattern has expired, so it allows nothing: delete it, or write a later time"
	textSomeExpired = "expired, and without effect: %s; the others can be used"

	textEnforcing  = "no container starts unchecked, whatever becomes of the plugin"
	textBestEffort = "containers start unchecked while the plugin is stalled or absent"
	textWaiting    = "the plugin works and is not registered with the runtime"
	textAbsent     = "the policy agent has not heard of a plugin on this node: look at the plugin's log there"
	textNoReport   = "no report has come from this node: look at the policy agent's log there"
	textSilent     = "the last report of this node is from %s: look at the policy agent's log there"
	textUnreadable = "the report of this node cannot be read: %v; give node and controller the same version"
	textOtherMode  = "mode %q is not known"
	textOtherNode  = "it is of node %q"
)
