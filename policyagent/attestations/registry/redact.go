package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// maxErrorText bounds what a registry can write into our logs.
const maxErrorText = 300

var (
	queryPattern    = regexp.MustCompile(`\?[^\s"]*`)
	userinfoPattern = regexp.MustCompile(`//[^/\s"@]*@`)
	codePattern     = regexp.MustCompile(`^[A-Z_]{1,40}$`)
)

// refusedError is that a registry or its token server wants other credentials, or any.
type refusedError string

func (e refusedError) Error() string { return string(e) }

// redacted is redact as an error, a refusedError where it is one.
func redacted(err error, secrets []string) error {
	text := redact(err, secrets)
	if status, ok := errors.AsType[*transport.Error](err); ok && (status.StatusCode == http.StatusUnauthorized || status.StatusCode == http.StatusForbidden) {
		return refusedError(text)
	}
	return errors.New(text)
}

// redact describes an error without what could be a credential: queries of URLs (signed downloads have tokens there),
// user names in URLs, bodies of answers, and the secrets themselves.
func redact(err error, secrets []string) string {
	if status, ok := errors.AsType[*transport.Error](err); ok {
		return describeStatus(status)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time; try again later, and see that the host is reached from this node"
	}
	if errors.Is(err, context.Canceled) {
		return "cancelled"
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the connection ended before the answer did; try again later"
	}
	// url.Error repeats the URL; what it wraps does not.
	for wrapped, ok := errors.AsType[*url.Error](err); ok; wrapped, ok = errors.AsType[*url.Error](err) {
		err = wrapped.Err
	}
	text := err.Error()
	// go-containerregistry puts answers of token servers on lines of their own.
	text, _, _ = strings.Cut(text, "\n")
	for _, s := range secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, "…")
		}
	}
	text = queryPattern.ReplaceAllString(text, "?…")
	text = userinfoPattern.ReplaceAllString(text, "//…@")
	return oneLine(text)
}

// describeStatus says what a registry or token server answered, and what to do. Messages in its body are left out: they
// are free text of a stranger.
func describeStatus(e *transport.Error) string {
	text := fmt.Sprintf("status %d %s", e.StatusCode, http.StatusText(e.StatusCode))
	for i, d := range e.Errors {
		if code := string(d.Code); i < 3 && codePattern.MatchString(code) {
			text += " " + code
		}
	}
	if e.Request != nil && e.Request.URL != nil {
		text += " from " + oneLine(e.Request.URL.Host)
	}
	switch {
	case e.StatusCode == http.StatusUnauthorized, e.StatusCode == http.StatusForbidden:
		return text + "; give the policy agent credentials that may pull from there"
	case e.StatusCode == http.StatusTooManyRequests:
		return text + "; give the policy agent credentials with a higher limit, or configure a mirror"
	case e.StatusCode >= http.StatusInternalServerError:
		return text + "; try again later"
	default:
		return text + "; see that the host is a registry"
	}
}

// oneLine makes foreign text fit for a line of a log.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	if len(s) > maxErrorText {
		s = strings.ToValidUTF8(s[:maxErrorText], "") + "…"
	}
	return s
}
