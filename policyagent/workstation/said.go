package workstation

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/kube"
)

// maxSaid is how many events are shown, the latest ones; maxEvents how many are read of one object.
const (
	maxSaid   = 10
	maxEvents = 1000
)

// eventNamespace is where the events of all denials are.
const eventNamespace = "kube-system"

// mirror is the annotation of a static pod's copy at the API server. Its value is the UID that events of the node name.
const mirror = "kubernetes.io/config.mirror"

// Saying is something that the cluster says about an object.
type Saying struct {
	At time.Time `json:"at,omitzero"`
	// What is an event's reason, or a condition's type.
	What  string `json:"what"`
	Count int    `json:"count,omitempty"`
	Text  string `json:"text"`
}

type event struct {
	InvolvedObject struct {
		UID string `json:"uid"`
	} `json:"involvedObject"`
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	Count   int       `json:"count"`
	First   time.Time `json:"firstTimestamp"`
	Last    time.Time `json:"lastTimestamp"`
	Time    time.Time `json:"eventTime"`
	Series  struct {
		Count int       `json:"count"`
		Last  time.Time `json:"lastObservedTime"`
	} `json:"series"`
}

// about says whether a text of Kubernetes tells of our decisions: of the node's, whose two beginnings are fixed, or of the
// webhook's.
func about(text string) bool {
	return strings.Contains(text, "kritis") || strings.Contains(text, "is not attested") || strings.Contains(text, "could not be verified")
}

// readEvents reads the events that tell of a denial, or of dry run, or of an allow-list that was used.
func (subject *Subject) readEvents(ctx context.Context, s *kube.Server, b body) {
	uids := []string{"", b.Metadata.UID, b.Metadata.Annotations[mirror]}
	var said []Saying
	read := func(namespace string) error {
		events := kube.Objects{Version: "v1", Resource: "events", Namespace: namespace}
		fields := "involvedObject.kind=" + subject.Kind + ",involvedObject.name=" + subject.Name + ",involvedObject.namespace=" + subject.Namespace
		return s.ReadList(ctx, events, kube.Selection{Fields: fields, Most: maxEvents}, func(raw json.RawMessage) error {
			var e event
			if err := unmarshal(raw, &e); err != nil {
				return err
			}
			// One with another UID is of an object of that name that is gone.
			if slices.Contains(uids, e.InvolvedObject.UID) && (strings.Contains(e.Reason, "Kritis") || about(e.Message)) {
				said = append(said, e.saying())
			}
			return nil
		})
	}
	if err := read(subject.Namespace); err != nil {
		subject.Untold = append(subject.Untold, "its events: "+err.Error())
	}
	// The webhook tells its denials there, and nodes tell theirs there again. Few people may read it, and need not.
	if own := len(said); subject.Namespace != eventNamespace && read(eventNamespace) == nil {
		said = append(said[:own:own], slices.DeleteFunc(slices.Clone(said[own:]), func(there Saying) bool {
			return slices.ContainsFunc(said[:own], func(here Saying) bool { return here.What == there.What && strings.HasSuffix(there.Text, here.Text) })
		})...)
	}
	slices.SortStableFunc(said, func(a, b Saying) int { return a.At.Compare(b.At) })
	subject.Said = append(subject.Said, said[max(0, len(said)-maxSaid):]...)
}

func (e event) saying() Saying {
	at := e.First
	for _, t := range []time.Time{e.Last, e.Time, e.Series.Last} {
		if t.After(at) {
			at = t
		}
	}
	return Saying{at, e.Reason, max(e.Count, e.Series.Count), e.Message}
}
