package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/kritis-node/kritis-node/verifier"
)

// Reasons beside the verifier's, for metrics and the audit log.
const (
	reasonExempt    = "Exempt"    // the namespace is exempt by configuration
	reasonUnchanged = "Unchanged" // an update brings no image that was not there
	reasonNoImages  = "NoImages"  // nothing to judge
	reasonMirror    = "MirrorPod" // a node's account of a static pod
	reasonLimit     = "Limit"     // the object names more images than are judged
)

// maxOthers is how many images are told of besides the first.
const maxOthers = 5

// outcomeDryRun is the outcome of what fails and is admitted.
const outcomeDryRun = "dry run"

// errUnknownKind is not answered, so that the webhook's configuration decides.
var errUnknownKind = errors.New("unknown kind")

// decision is an answer, and what to count and tell about it.
type decision struct {
	response
	outcome, reason string
	// image and message are what fails first, if something does.
	image, message, why string
}

func allowed(uid, reason string) decision {
	return decision{response: response{UID: uid, Allowed: true}, outcome: verifier.Allowed.String(), reason: reason}
}

// subject is what a review asks about.
type subject struct {
	// images are those that are new, each once.
	images []string
	// reason says why there is nothing to judge; empty if there is.
	reason string
	// limit says why the object cannot be judged, about an image of it; empty if it can.
	limit, limitImage string
}

// subjectOf reads what a review is about. An error means that there is no answer.
func (w *Webhook) subjectOf(r review) (subject, error) {
	paths, known := w.kinds[r.kind]
	switch {
	case r.operation == opDelete || r.operation == opConnect || slices.Contains(w.kinds.withoutImages(), r.kind):
		return subject{reason: reasonNoImages}, nil
	case slices.Contains(w.config.ExemptNamespaces, r.namespace):
		return subject{reason: reasonExempt}, nil
	case !known:
		return subject{}, errUnknownKind
	}
	if mirror, err := r.mirrors(); err != nil || mirror {
		return subject{reason: reasonMirror}, err
	}
	now, err := imagesOf(r.object, paths)
	if err != nil {
		return subject{}, err
	}
	var before images
	if r.operation == opUpdate && r.before != nil {
		if before, err = imagesOf(r.before, paths); err != nil {
			return subject{}, err
		}
	}
	s := subject{images: now.newIn(before)}
	switch {
	case now.more:
		s.limit, s.limitImage = fmt.Sprintf(textEntries, maxEntries), last(now.entries).image
	case len(now.entries) == 0:
		s.reason = reasonNoImages
	case len(s.images) == 0:
		s.reason = reasonUnchanged
	case len(s.images) > maxImages:
		s.limit, s.limitImage = fmt.Sprintf(textImages, maxImages), s.images[maxImages]
	}
	return s, nil
}

// decide answers a review.
func (w *Webhook) decide(ctx context.Context, r review, s subject) decision {
	var d decision
	switch {
	case s.limit != "":
		d = limited(r.uid, s.limitImage, s.limit)
	case s.reason != "":
		d = allowed(r.uid, s.reason)
	default:
		d = compose(r.uid, w.judge.all(ctx, r.namespace, s.images))
	}
	d.AuditAnnotations = map[string]string{"verdict": d.outcome + ": " + d.reason}
	return d
}

// last returns the last entry; an object with too many may have none that names an image.
func last(entries []entry) entry {
	if len(entries) == 0 {
		return entry{}
	}
	return entries[len(entries)-1]
}

// limited denies an object that is too large to be judged.
func limited(uid, image, why string) decision {
	d := denial(uid, message(image, verifier.CouldNotTell), why)
	d.outcome, d.reason, d.image = verifier.CouldNotTell.String(), reasonLimit, image
	var w warnings
	w.add(fmt.Sprintf(warnWhy, why))
	d.Warnings = w
	return d
}

func denial(uid, message, why string) decision {
	return decision{
		response: response{UID: uid, Status: &status{Status: "Failure", Message: message, Code: http.StatusForbidden}},
		message:  message, why: why,
	}
}

// compose makes one answer of the rulings about an object's images. The first that does not pass is its message.
func compose(uid string, rulings []ruling) decision {
	d := allowed(uid, string(rulings[0].verdict.Reason))
	first := -1
	for i, r := range rulings {
		switch {
		case !r.verdict.Admits():
			d = denial(uid, message(r.image, r.verdict.Outcome), r.why)
			d.outcome = r.verdict.Outcome.String()
		case fails(r) && first < 0:
			d.outcome, d.message, d.why = outcomeDryRun, message(r.image, r.verdict.Outcome), r.why
		default:
			continue
		}
		d.image, d.reason, first = r.image, string(r.verdict.Reason), i
		if !d.Allowed {
			break
		}
	}
	d.Warnings = warn(rulings, first, d.Allowed)
	return d
}

// warn tells why the first image fails, and which others do. With dry run there is no error that would name the first.
func warn(rulings []ruling, first int, admitted bool) warnings {
	var w warnings
	if first < 0 {
		return nil
	}
	if !admitted {
		w.add(fmt.Sprintf(warnWhy, rulings[first].why))
	}
	var others []string
	for i, r := range rulings {
		switch {
		case !fails(r) || i == first && !admitted:
		case r.verdict.DryRun:
			others = append(others, fmt.Sprintf(warnDryRun, message(r.image, r.verdict.Outcome), r.why))
		default:
			others = append(others, fmt.Sprintf(warnOther, message(r.image, r.verdict.Outcome), r.why))
		}
	}
	told := 0
	for told < len(others) && told < maxOthers && len(w) < maxWarnings-maxParts {
		w.add(others[told])
		told++
	}
	if left := len(others) - told; left > 0 {
		w.add(fmt.Sprintf(warnMore, left))
	}
	return w
}
