package securitycenter

import (
	"fmt"
	"strings"

	"github.com/kritis-node/kritis-node/policyagent/alicloud"
	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
)

// ConditionInSync is the type of the condition of objects that this package makes. Its last transition says since when.
const ConditionInSync = "InSync"

// Reasons of it. All but ReasonInSync go with False, and are those of events too.
const (
	ReasonInSync           = "InSync"
	ReasonCloudUnavailable = "CloudUnavailable"
	ReasonKeyUnavailable   = "KeyUnavailable"
	ReasonKeyUnfit         = "KeyUnfit"
	ReasonKeyDisabled      = "KeyDisabled"
	ReasonHeldBack         = "HeldBack"
	ReasonWitnessMissing   = "WitnessMissing"
)

// Reasons of other events.
const (
	// EventNameTaken is told of a user's object whose name ours cannot have.
	EventNameTaken = "SecurityCenterNameTaken"
	// EventPutRight is told of an object of ours that somebody had changed.
	EventPutRight = "SecurityCenterPutRight"
)

// What people read. Each text says what to do, or that nothing has to be done.
const (
	textInSync      = "as in Security Center"
	textUnavailable = "%s; what is known stays in force"

	textHeldPolicy  = "policy %q is no longer switched on for this namespace of cluster %s: the object stays until two listings in a row say so"
	textHeldWitness = "the policy no longer requires %s: it goes on requiring them until two listings in a row say so"
	textHeldKey     = "the witness names another key, %q: the one before stays until two listings in a row say so"
	textHeldFlaw    = "; the last listing cannot say so, because %s"
	textByHand      = ". To remove the object by hand: kubectl -n %s delete gap,aa -l " + Label + "=" + LabelValue

	textMissing  = "Security Center lists no witness %s: make it, or take it out of the policy"
	textNoKey    = "; without a key nothing can be attested, so the policy denies"
	textKnownKey = "; the key that is known stays in force"
	textState    = "kms says that the key is %s: enable it, or let the witness name another key"

	textTwice           = "the listing names %s %q twice, or without a name: it is not used; if this goes on, look at it in the console"
	textTooMany         = "the policies apply to %d namespaces together, and %d are read: it is not used; write fewer"
	textNoPolicies      = "it names no policy at all"
	textNoWitnesses     = "it names no witness at all"
	textNoNamespaces    = "policy %q names this cluster and no namespace"
	textNoWitness       = "policy %q requires no witness"
	textNamespaceName   = "policy %q names %q, which is not a namespace's name"
	textWitnessUnlisted = "policy %q requires witness %q, which is not listed"
	textNoClusters      = "policy %q names no cluster"

	textNameTaken = "Security Center's %s %q cannot have this name, and is in force as %q: rename this object, or the one in Security Center"
	textPutRight  = "somebody had changed this object, which comes from Security Center: it was put right; change it there, or make an object of your own"
)

// condition is the condition InSync of an object. The zero value says nothing, and is not written.
type condition struct{ reason, message string }

var inSync = condition{ReasonInSync, textInSync}

// held says that something stays, why, and if it may stay for long how to end that.
func held(st step, text, ns string) condition {
	if st.last.flaw != "" {
		text += fmt.Sprintf(textHeldFlaw, st.last.flaw)
		if ns != "" {
			text += fmt.Sprintf(textByHand, ns)
		}
	}
	return condition{ReasonHeldBack, v1beta1.Message(text)}
}

// condition says what is wrong with a key, if something is.
func (e *entry) condition() (condition, bool) {
	switch {
	case e.err != nil:
		return condition{keyReason(e.err.Kind), stable(e.err)}, true
	case e.known && e.pub.State != "" && e.pub.State != enabled:
		return condition{ReasonKeyDisabled, fmt.Sprintf(textState, e.pub.State)}, true
	case !e.known:
		return condition{ReasonKeyUnavailable, "kms has not answered yet"}, true
	}
	return condition{}, false
}

func keyReason(k alicloud.Kind) string {
	switch k {
	case alicloud.Disabled:
		return ReasonKeyDisabled
	case alicloud.Unfit:
		return ReasonKeyUnfit
	default:
		return ReasonKeyUnavailable
	}
}

// stable is an error without the request's ID, which is another one each time: the status would be written each time.
func stable(e *alicloud.Error) string {
	s := e.Service + " " + e.Action + ": " + e.Text
	if e.Code != "" {
		s += " (" + e.Code + ")"
	}
	return v1beta1.Message(s)
}

// list names up to 10.
func list(names []string) string {
	quoted := make([]string, 0, 10)
	for i, n := range names {
		if i == 10 {
			quoted = append(quoted, fmt.Sprintf("%d more", len(names)-i))
			break
		}
		quoted = append(quoted, fmt.Sprintf("%q", brief(n)))
	}
	return strings.Join(quoted, ", ")
}
