package webhook

import (
	"encoding/json"
	"errors"
)

// The review that the API server sends and expects, version v1, as far as it matters here.
const (
	reviewVersion = "admission.k8s.io/v1"
	reviewKind    = "AdmissionReview"
)

// Operations of a review. The set is closed, so that it can be a metric's label.
const (
	opCreate  = "CREATE"
	opUpdate  = "UPDATE"
	opDelete  = "DELETE"
	opConnect = "CONNECT"
)

// maxUID bounds what is echoed. The API server's are 36 bytes long.
const maxUID = 256

// review is one question. Its objects are parts of the body that it was read from.
type review struct {
	uid       string
	kind      groupKind
	version   string // of the kind
	operation string
	// namespace and name are the request's. The name is empty while the API server has yet to make one.
	namespace, name string
	subresource     string
	by              asker
	// dryRun: the user tries, so nothing may have an effect outside of the answer.
	dryRun         bool
	object, before []byte
}

// parseReview reads a body. Errors are one line for the API server's log.
func parseReview(body []byte) (review, error) {
	var r review
	if !json.Valid(body) {
		return r, errors.New(textNotJSON)
	}
	c := cursor{data: body}
	var apiVersion, kind, generateName string
	asked := false
	err := c.object(
		c.text("apiVersion", &apiVersion),
		c.text("kind", &kind),
		field{"request", func() error {
			asked = c.next() == '{'
			return c.request(&r)
		}},
	)
	switch {
	case err != nil:
		return r, err
	case apiVersion != reviewVersion || kind != reviewKind:
		return r, textError(textNotReview, apiVersion, kind)
	case !asked || r.uid == "" || len(r.uid) > maxUID:
		return r, errors.New(textNoUID)
	case r.kind.kind == "":
		return r, errors.New(textNoKind)
	}
	switch r.operation {
	case opCreate, opUpdate:
		if len(r.object) == 0 || r.object[0] != '{' {
			return r, errors.New(textNoObject)
		}
	case opDelete, opConnect:
	default:
		return r, textError(textOperation, r.operation)
	}
	if r.name == "" && len(r.object) > 0 && r.object[0] == '{' {
		o := cursor{data: r.object}
		err = o.object(field{"metadata", func() error { return o.object(o.text("name", &r.name), o.text("generateName", &generateName)) }})
		if r.name == "" {
			r.name = generateName
		}
	}
	return r, err
}

func (c *cursor) request(r *review) error {
	return c.object(
		c.text("uid", &r.uid),
		field{"kind", func() error {
			return c.object(c.text("group", &r.kind.group), c.text("version", &r.version), c.text("kind", &r.kind.kind))
		}},
		c.text("operation", &r.operation),
		c.text("namespace", &r.namespace),
		c.text("name", &r.name),
		c.text("subResource", &r.subresource),
		c.asker(&r.by),
		field{"dryRun", func() error {
			// Whatever is not a plain no counts as a try: then an event is missing, at worst.
			said := string(c.raw())
			r.dryRun = said != "false" && said != "null"
			return nil
		}},
		field{"object", func() error { r.object = c.raw(); return nil }},
		field{"oldObject", func() error { r.before = c.raw(); return nil }},
	)
}

// apiVersion is that of the object.
func (r review) apiVersion() string {
	if r.kind.group == "" {
		return r.version
	}
	return r.kind.group + "/" + r.version
}

// answer is the review that is sent back.
type answer struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Response   response `json:"response"`
}

type response struct {
	UID     string `json:"uid"`
	Allowed bool   `json:"allowed"`
	// Status is nil if it is allowed.
	Status   *status  `json:"status,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	// AuditAnnotations are for the API server's audit log, which prefixes them with the webhook's name.
	AuditAnnotations map[string]string `json:"auditAnnotations,omitempty"`
}

// status has no reason: kubectl would print it between "Error from server" and the message.
type status struct {
	Status  string `json:"status"`
	Message string `json:"message"`
	Code    int    `json:"code"`
}

// refusal is what is sent instead of a review.
type refusal struct {
	Kind       string `json:"kind"`
	APIVersion string `json:"apiVersion"`
	status
}

func newAnswer(r response) answer {
	return answer{APIVersion: reviewVersion, Kind: reviewKind, Response: r}
}
