package kube

import (
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/verifier"
)

// Codes of the problems that are found while objects are read. v1beta1 and verifier have others.
const (
	// CodeObjectUnreadable: a field has the wrong type. The object stays as one that names nothing.
	CodeObjectUnreadable = "ObjectUnreadable"
	// CodeFieldUnknown: a field has a name that means nothing.
	CodeFieldUnknown = "FieldUnknown"
)

// maxProblemText and maxFieldPath bound the text of a problem and its field, in bytes; maxObjectProblems is how many one
// object has.
const (
	maxProblemText    = 500
	maxFieldPath      = 100
	maxObjectProblems = 20
)

// policyObject is an object of one of the three kinds, reduced to what is policy.
type policyObject[S any] struct {
	meta     metav1.ObjectMeta
	spec     S
	problems []verifier.Problem
}

// decodeSpec reads the spec of an object, and nothing else of it: a status that somebody wrote is nobody's problem.
func decodeSpec[S any](kind string) func(identity, []byte) any {
	return func(id identity, raw []byte) any {
		o := policyObject[S]{meta: metav1.ObjectMeta{Namespace: id.Namespace, Name: id.Name}}
		report := func(field, code, text string) {
			if len(o.problems) < maxObjectProblems {
				o.problems = append(o.problems, verifier.Problem{Object: v1beta1.ObjectName(kind, &o.meta), Field: field, Code: code, Text: shorten(text, maxProblemText)})
			}
		}
		var body struct {
			Spec S `json:"spec"`
		}
		unknown, err := strictly(raw, &body)
		if err != nil {
			report("spec", CodeObjectUnreadable, fmt.Sprintf("it cannot be read, and counts as empty until it is corrected: %v", err))
			return o
		}
		for _, u := range unknown {
			if field, ok := errors.AsType[kjson.FieldError](u); ok && strings.HasPrefix(field.FieldPath(), "spec.") {
				report(shorten(field.FieldPath(), maxFieldPath), CodeFieldUnknown, "there is no such field, so it means nothing: remove it, or correct its name")
			}
		}
		o.spec = body.Spec
		return o
	}
}

// strictly decodes as the API server does, and lists the fields that have no meaning. It survives types that do not.
func strictly(raw []byte, into any) (unknown []error, err error) {
	defer survive(&err)
	return kjson.UnmarshalStrict(raw, into, kjson.DisallowUnknownFields)
}
