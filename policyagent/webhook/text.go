package webhook

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/kritis-node/kritis-node/verifier"
)

// Everything that people read from this package stands here.

// The message of a denial: this, and nothing else. The image is printed as it was written.
const (
	messageDenied  = "image %s is not attested"
	messageUnknown = "image %s could not be verified"
)

// Warnings. kubectl prints each as a line that begins with "Warning: ".
const (
	warnWhy    = "kritis: %s"
	warnDryRun = "kritis: dry run: %s; without dry run this is denied: %s"
	warnOther  = "kritis: %s either: %s"
	warnMore   = "kritis: %d more images fail"
)

// Why nobody could tell, in warnings.
const (
	textSources   = "not all attestations could be had: %s: try again"
	textRegistry  = "the registry did not say what it is now: %s: try again"
	textRules     = "the policies are not known: %s: try again, and see the log of kritis webhook"
	textNotLoaded = "they have not been read yet"
	textImages    = "the object names more than %d images that are new to it: split it"
	textEntries   = "the object has more than %d containers and volumes: split it"
	textInternal  = "kritis webhook failed inside: see its log, and please report it"
	textLate      = "there was no answer in time; it is still being asked for"
	textQueue     = "%d other questions wait already"
	textHostQueue = "%d other questions to %s wait already"
	textClosed    = "kritis webhook is stopping"
	textPlatforms = "the image has more than %d Linux platforms"
	textUnasked   = "the registry was not asked"
	textPanic     = "a source failed inside; please report it"
)

// What the API server logs if it gets no answer, and what its failurePolicy decides about.
const (
	textMethod      = "an AdmissionReview is sent with POST"
	textMedia       = "an AdmissionReview is sent as application/json"
	textTooLarge    = "the review has more than %d bytes"
	textBodyBudget  = "too many large reviews at once: try again"
	textBusy        = "too many reviews at once: try again"
	textNotJSON     = "it is not one JSON text"
	textNotObject   = "it is not the review of an object: something is no JSON object that should be one"
	textNotList     = "it is not the review of an object: something is no JSON list that should be one"
	textNotString   = "it is not the review of an object: %s is no string"
	textTwice       = "it has the member %s twice in one object"
	textNotReview   = "it is no AdmissionReview of admission.k8s.io/v1 but %s %s: set admissionReviewVersions: [v1]"
	textNoUID       = "the review has no request with a uid"
	textNoKind      = "the review's request has no kind"
	textNoObject    = "the review's request has no object"
	textOperation   = "the review's operation %s is not known"
	textUnknownKind = "where %s has its pod template is not known: start kritis webhook with --pod-template, or take the kind out of the webhook's rules"
	textBody        = "the review could not be read: %s"
)

// Configuration.
const (
	textConfiguring   = "configuring the webhook: %w"
	textTemplateForm  = "--pod-template is %s, must be GROUP/KIND=path.to.template, such as apps.kruise.io/CloneSet=spec.template"
	textTemplatePath  = "--pod-template has the path %s, must be names with dots between them, such as spec.template or spec.tasks[].template"
	textTemplateLong  = "--pod-template has a path of more than %d names"
	textTemplatesMany = "there are more than %d --pod-template"
	textTemplateKnown = "--pod-template: kind %s is known already: leave it out"
	textTemplateZero  = "a pod template is empty: make it with ParseTemplate"
	textNoRules       = "there is no source of policies: name a folder of policies"
	textNoSources     = "there is no source of attestations, so nothing would be attested: allow registries, or name a folder of attestations"
	textSourcesMany   = "there are more than %d sources of attestations: remove some"
	textDraining      = "kritis webhook is draining"
	textNoLogger      = "there is no logger: give one"
	textNoRecorder    = "there is no recorder of events: give one"
	textDeadline      = "--deadline is %s, must be between 100ms and 29s: the API server waits for 30s at most"
	textDrain         = "--drain-delay is %s, must be between 0s and 5m"
	textExempt        = "--exempt-namespace is %s, must be the name of a namespace"
	textPlatform      = "--platform is %s, must be linux/ARCHITECTURE or linux/ARCHITECTURE/VARIANT"
	textListen        = "listening on %s: %w"
	textCertificate   = "certificate %s and key %s: %w"
	textCertSize      = "%s has more than %d bytes"
)

const (
	// maxShown is the length in bytes of a printed image. No name that a registry can have is longer: 255 bytes of
	// repository, 128 of tag, 71 of digest.
	maxShown = 512
	// maxWarning is what a warning may have in bytes: the API server cuts longer ones, and drops all together beyond 4 KiB.
	maxWarning  = 256
	maxWarnings = 12
	// maxParts is the number of warnings that one text may be spread over.
	maxParts = 4
	// maxCause bounds what others said, in bytes.
	maxCause = 400
	ellipsis = "…"
)

// textError fills a text with what others said, made printable and short.
func textError(form string, args ...string) error { return errors.New(text(form, args...)) }

func text(form string, args ...string) string {
	short := make([]any, len(args))
	for i, a := range args {
		short[i] = cut(printable(a[:min(len(a), maxCause)]), maxCause)
	}
	return fmt.Sprintf(form, short...)
}

// message is what a user reads about an image that fails.
func message(image string, o verifier.Outcome) string {
	form := messageDenied
	if o == verifier.CouldNotTell {
		form = messageUnknown
	}
	return fmt.Sprintf(form, asWritten(image))
}

// asWritten shows an image's name. What no name can have is written out: it could hide text, or turn its direction.
func asWritten(image string) string {
	s := escape(image[:min(len(image), maxShown+1)], func(r rune) bool { return r > ' ' && r < 0x7f })
	return cut(s, maxShown)
}

func printable(s string) string { return escape(s, strconv.IsPrint) }

func escape(s string, keep func(rune) bool) string {
	var b strings.Builder
	for _, r := range s {
		// Bytes that are no UTF-8 come as the replacement character.
		if keep(r) && r != utf8.RuneError {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
	}
	return b.String()
}

// cut shortens a text to so many bytes, the ellipsis included, without halving a character.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	end := limit - len(ellipsis)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + ellipsis
}

// warnings collects what is said beside an answer, within the limits.
type warnings []string

// add adds a text, over several warnings if it is long: its end says what to do.
func (w *warnings) add(s string) {
	s = printable(s)
	for part := 1; s != "" && len(*w) < maxWarnings; part++ {
		if len(s) <= maxWarning || part == maxParts {
			*w = append(*w, cut(s, maxWarning))
			return
		}
		end := strings.LastIndexByte(s[:maxWarning], ' ')
		if end < maxWarning/2 {
			end = maxWarning // one long word: halve it
			for !utf8.RuneStart(s[end]) {
				end--
			}
		}
		*w = append(*w, strings.TrimRight(s[:end], " "))
		s = strings.TrimLeft(s[end:], " ")
	}
}
