package alicloud

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
)

// maxText bounds what a service says in an error, in bytes.
const maxText = 300

// unfit is the Error of something that cannot be used and will not change by itself.
func (s service) unfit(action, text string) *Error {
	return &Error{Kind: Unfit, Service: s.name, Action: action, Text: text}
}

// unreachable makes a failure of a request that got no answer.
func (s service) unreachable(ctx context.Context, action string, err error, redact func(string) string) *failure {
	f := &failure{err: &Error{Kind: Unavailable, Service: s.name, Action: action}, again: true}
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, errTooLarge):
		f.err.Kind, f.err.Text, f.again = Unfit, err.Error()+" and is not read", false
	case errors.Is(err, errNotHTTPS):
		f.err.Text, f.again = err.Error(), false
	case errors.As(err, &certificate):
		f.err.Text, f.again = "the server's certificate is not trusted ("+bounded(redact(certificate.Err.Error()))+"): correct endpoints, or name its authority in caFile", false
	case ctx.Err() != nil:
		f.err.Text, f.err.cause = "no answer in time", ctx.Err()
	default:
		f.err.Text = "no answer: " + bounded(redact(err.Error())) + "; check endpoints, network and proxy"
	}
	return f
}

// read returns the object of an answer, or what the failure means.
func (s service) read(action string, a answer, redact func(string) string) (object, *failure) {
	o, err := parseObject(a.body)
	if a.status == http.StatusOK && err == nil && !o.refused(s) {
		return o, nil
	}
	if a.status == http.StatusOK && err != nil {
		// Not the service: a proxy's page, or half an answer.
		return nil, &failure{err: &Error{Service: s.name, Action: action, Text: "the answer is not a JSON object: check endpoints and proxy"}, again: true}
	}
	return nil, s.classify(action, a.status, o, redact)
}

// refused is whether an answer with status 200 is an error: Container Registry answers so.
func (o object) refused(s service) bool {
	if s.name != cr.name {
		return false
	}
	if ok, found, err := o.flag("IsSuccess"); err != nil || found && !ok {
		return true
	}
	code := o.said("Code")
	return o["Code"] != nil && !strings.EqualFold(code, "success")
}

// classify reads an error: {"RequestId","HostId","Code","Message","Recommend"}.
func (s service) classify(action string, status int, o object, redact func(string) string) *failure {
	code := identifier(o.said("Code"))
	f := &failure{err: &Error{Service: s.name, Action: action, Code: code, RequestID: identifier(o.said("RequestId"))}}
	e := f.err
	says := "status " + strconv.Itoa(status)
	if message := o.said("Message"); message != "" {
		says = strconv.Quote(bounded(redact(message)))
	}
	switch kind := kindOf(status, code); {
	case kind == throttled:
		e.Text, f.again = "throttled: the account's quota is used up; lower callsPerSecond or ask less often", true
	case kind == nonceUsed:
		e.Text, f.again = "the request came twice; it is sent anew", true
	case kind == clock:
		e.Kind, e.Text = Unauthenticated, "the request's time is not accepted: correct this machine's clock"
	case kind == signature:
		// Its message holds the string that was signed, with the token in it.
		e.Kind, e.Text, f.rejected = Unauthenticated, "the signature is not accepted: correct the AccessKey's secret", true
	case kind == Unauthenticated && s.name == sts.name:
		e.Kind, e.Text = Unauthenticated, "the role is not given: check that the OIDC token has not ended, and the role's trust policy; the service says "+says
	case kind == Unauthenticated:
		e.Kind, e.Text, f.rejected = Unauthenticated, "the credentials are not accepted: check that the AccessKey exists, is enabled and has not ended; the service says "+says, true
	case kind == Denied:
		e.Kind, e.Text = Denied, "not allowed: allow "+s.ram+":"+action+" to the user or role in RAM; the service says "+says
	case kind == NotFound:
		e.Kind, e.Text = NotFound, "there is no such thing: check its name, the region and the account; the service says "+says
	case kind == Disabled:
		e.Kind, e.Text = Disabled, "the key is disabled or about to be deleted: enable it in KMS, or use another"
	case kind == Unfit:
		e.Kind, e.Text = Unfit, "refused: the service says "+says
	default:
		e.Text, f.again = "fault of the service: it says "+says, true
	}
	return f
}

// Kinds that end as another, in classify.
const (
	throttled Kind = -1 - iota
	nonceUsed
	clock
	signature
)

// kindOf tells what a status and code mean. Codes: the services' error centers, and the gateway's common codes at
// https://www.alibabacloud.com/help/en/openapi/common-error-codes.
func kindOf(status int, code string) Kind {
	has := func(prefixes ...string) bool {
		for _, p := range prefixes {
			if strings.HasPrefix(code, p) {
				return true
			}
		}
		return false
	}
	switch {
	case has("Throttling", "Rejected.Throttling") || status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
		return throttled
	case has("SignatureNonceUsed"):
		return nonceUsed
	case has("InvalidTimeStamp"), has("IllegalTimestamp"):
		return clock
	case has("SignatureDoesNotMatch", "IncompleteSignature", "InvalidSignature"):
		return signature
	case has("InvalidAccessKeyId", "InvalidSecurityToken", "MissingSecurityToken", "SecurityTokenExpired", "Forbidden.AccessKey", "InactiveAccessKey",
		"AuthenticationFail", "InvalidParameter.OIDC", "EntityNotExist", "MissingAccessKeyId"), status == http.StatusUnauthorized:
		return Unauthenticated
	case strings.Contains(code, "NotFound"), strings.Contains(code, "NotExist"), strings.Contains(code, "NOT_EXIST"), status == http.StatusNotFound:
		return NotFound
	case has("Rejected.Disabled", "Rejected.PendingDeletion", "Rejected.DisabledKey"):
		return Disabled
	case has("NoPermission", "Forbidden", "ImplicitDeny", "ExplicitDeny"), status == http.StatusForbidden:
		return Denied
	case status >= 400 && status < 500, status == http.StatusOK && code != "":
		return Unfit
	default:
		return Unavailable
	}
}

// said returns a text member for people; what is not a text is as good as absent.
func (o object) said(name string) string {
	var s string
	if json.Unmarshal(o[name], &s) != nil {
		return ""
	}
	return s
}

// identifier returns s if it has the form of a code or request ID, else nothing.
func identifier(s string) string {
	if len(s) > 100 || strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && !strings.ContainsRune("._-", r)
	}) {
		return ""
	}
	return s
}

// bounded returns a text of one line and limited length.
func bounded(s string) string {
	s = strings.ToValidUTF8(oneLine(s), "?")
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

// quoted returns a bounded value from outside for a text.
func quoted(s string) string { return strconv.Quote(bounded(s)) }
