package policyagent

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
)

// Reasons of events. Users of kritis look for the first two in EventNamespace.
const (
	EventFailed     = "FailedKritisAdmission"
	EventDryRun     = "DryRunKritisAdmission"
	EventBreakGlass = "KritisBreakGlass"
	// EventRunning is for a container that runs and would be denied now, EventStopped for one that was stopped therefore,
	// EventUnmanaged for a task that did not come through CRI.
	EventRunning   = "KritisRunningViolation"
	EventStopped   = "KritisStopped"
	EventUnmanaged = "KritisUnmanagedTask"

	EventNamespace = "kube-system"
)

// Places of incidents that are not denials: what they are about runs, or ran.
const (
	placeRunning = "running"
	placeStop    = "stop"
)

// maxEventMessage is Kubernetes' limit, in bytes.
const maxEventMessage = 1 << 10

// Event is what people are told in the cluster of an object.
type Event struct {
	// Namespace is that in which people look for it. It need not be the object's.
	Namespace, Reason string
	// Object is what it is about.
	Object Object
	// Message is one line of at most 1 KiB. The same message about the same object counts as a repetition.
	Message string
	At      time.Time
}

// Object names an object of a cluster. UID may be empty.
type Object struct{ APIVersion, Kind, Namespace, Name, UID string }

// EventSink takes events without waiting. It may lose some.
type EventSink interface{ Tell(Event) }

// Texts of events.
const (
	textOnPod      = "container %s: %s"
	textInSystem   = "pod %s/%s on node %s, container %s: %s"
	textDryRun     = "dry run let it run: %s"
	textRunning    = "it runs, and would be denied if it were started now: %s"
	textStopped    = "it was stopped, because it would be denied if it were started now: %s"
	textUnmanaged  = "task %s of image %s runs on node %s outside of Kubernetes: %s"
	textBreakGlass = "image %s runs by break-glass: pattern %s of %s, which expires %s%s: have it attested before"
)

// Report implements nodestate.Reporter.
func (a *Agent) Report(r nodestate.Report) {
	a.enforcement.heard(r, time.Now())
	if a.config.Events == nil {
		return
	}
	for _, i := range r.Incidents {
		for _, e := range events(i, a.config.Node) {
			a.config.Events.Tell(e)
		}
	}
}

// Unreadable implements nodestate.Reporter.
func (a *Agent) Unreadable(err error) {
	if a.enforcement.cannotRead(time.Now()) {
		a.log.Error("the plugin's reports cannot be read: run plugin and agent in one version", "error", err)
	}
}

// Lengths of Kubernetes' names, in bytes: of a namespace, and of a pod, which may have dots.
const (
	maxNamespaceName = 63
	maxPodName       = 253
)

// named says whether something in Kubernetes can have the name. A regular expression with such bounds takes 200 KB, in each
// process of a node.
func named(name string, limit int, dots bool) bool {
	inner := "-"
	if dots {
		inner = "-."
	}
	for i, c := range []byte(name) {
		ordinary := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !ordinary && (i == 0 || i == len(name)-1 || !strings.ContainsRune(inner, rune(c))) {
			return false
		}
	}
	return name != "" && len(name) <= limit
}

// events are what people are told of an incident: on the pod, where its owner looks, and in kube-system, where
// whoever runs the cluster does. Names that no pod can have come from a direct client of the runtime: those make no event
// on a pod.
func events(i nodestate.Incident, node string) []Event {
	reason, what := EventFailed, i.Message
	switch {
	case i.Place == placeRunning && i.Namespace == "" && i.Pod == "":
		return []Event{{
			Namespace: EventNamespace, Reason: EventUnmanaged, Object: Object{APIVersion: "v1", Kind: "Node", Name: node, UID: node}, At: i.At,
			Message: clip(fmt.Sprintf(textUnmanaged, clip(i.Container, 100), cmp.Or(clip(i.Image, 300), "unknown"), node, i.Message), maxEventMessage),
		}}
	case i.Place == placeRunning && !i.Admitted:
		reason, what = EventRunning, fmt.Sprintf(textRunning, i.Message)
	case i.Place == placeStop:
		reason, what = EventStopped, fmt.Sprintf(textStopped, i.Message)
	case i.BreakGlass != nil:
		b := i.BreakGlass
		why := ""
		if b.Reason != "" {
			why = " (" + clip(b.Reason, 200) + ")"
		}
		reason = EventBreakGlass
		what = fmt.Sprintf(textBreakGlass, clip(i.Image, 300), clip(b.Pattern, 200), clip(b.Object, 150), b.Expires.UTC().Format(time.RFC3339), why)
	case i.Admitted:
		reason, what = EventDryRun, fmt.Sprintf(textDryRun, i.Message)
	}
	// A static pod's UID is its own, by which `kubectl describe` looks for events of its mirror.
	pod := Object{APIVersion: "v1", Kind: "Pod", Namespace: i.Namespace, Name: i.Pod, UID: i.PodUID}
	var all []Event
	if named(i.Namespace, maxNamespaceName, false) && named(i.Pod, maxPodName, true) && i.PodUID != "" {
		all = append(all, Event{Namespace: i.Namespace, Reason: reason, Object: pod, At: i.At,
			Message: clip(fmt.Sprintf(textOnPod, i.Container, what), maxEventMessage)})
	}
	if i.Namespace != EventNamespace || len(all) == 0 {
		all = append(all, Event{Namespace: EventNamespace, Reason: reason, Object: pod, At: i.At,
			Message: clip(fmt.Sprintf(textInSystem, i.Namespace, i.Pod, node, i.Container, what), maxEventMessage)})
	}
	return all
}
