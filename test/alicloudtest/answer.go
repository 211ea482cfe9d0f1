package alicloudtest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// object is a JSON object.
type object = map[string]any

// apiError is an error as a service reports it.
type apiError struct {
	Status        int
	Code, Message string
	// Denied is the RAM action that was refused, if that is what happened.
	Denied string
}

func (e *apiError) Error() string { return fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Message) }

func failed(status int, code, format string, args ...any) *apiError {
	return &apiError{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// body is the error's JSON.
func (e *apiError) body(service service, host, requestID string) object {
	body := object{
		"RequestId": requestID, "HostId": host, "Code": e.Code, "Message": e.Message,
		"Recommend": "https://api.aliyun.com/troubleshoot?q=" + e.Code + "&product=" + string(service) + "&requestId=" + requestID,
	}
	if service == kms {
		body["HttpStatus"] = e.Status
	}
	if e.Denied != "" {
		body["AccessDeniedDetail"] = object{"AuthAction": e.Denied, "NoPermissionType": "ImplicitDeny", "PolicyType": "AccountLevelIdentityBasedPolicy"}
	}
	return body
}

// response is an answer before it is written: faults change it.
type response struct {
	status      int
	contentType string
	body        []byte
}

func jsonResponse(status int, value any) response {
	body, err := json.Marshal(value)
	if err != nil { // all values are ours
		return response{http.StatusInternalServerError, "text/plain", []byte(err.Error())}
	}
	return response{status, "application/json;charset=utf-8", body}
}

// newRequestID looks like the cloud's: a UUID in capitals.
func newRequestID() string { return strings.ToUpper(newUUID()) }

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// newText returns n random characters.
func newText(n int) string {
	text := ""
	for len(text) < n {
		text += rand.Text()
	}
	return text[:n]
}

// stamp is how the cloud writes times.
const stamp = "2006-01-02T15:04:05Z"
