package alicloudtest

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	tokenPath       = "/latest/api/token"
	credentialsPath = "/latest/meta-data/ram/security-credentials/"
	// maxMetadataTokens bounds the tokens that are remembered; the oldest go.
	maxMetadataTokens = 10_000
	// maxTokenLife is the documented longest life.
	maxTokenLife = 6 * time.Hour
)

// SetMetadataRole gives the instance another role; empty: none.
func (e *Emulator) SetMetadataRole(role string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.metaRole = role
}

// serveMetadata serves an instance's metadata.
func (e *Emulator) serveMetadata(w http.ResponseWriter, r *http.Request) {
	counted := Call{Service: "metadata"}
	switch {
	case r.URL.Path == tokenPath:
		counted.Action = "token"
	case r.URL.Path == credentialsPath:
		counted.Action = "roles"
	case strings.HasPrefix(r.URL.Path, credentialsPath):
		counted.Action = "credentials"
	}
	fault := e.nextFault("metadata", counted.Action)
	if e.failEarly(w, r, fault, "metadata", counted) {
		return
	}
	var out response
	if counted.Action == "token" {
		out = e.metadataToken(r)
	} else {
		out = e.metadataAnswer(r, counted.Action)
	}
	counted.Status = out.status
	e.count(counted)
	e.write(w, r, out, fault)
}

func plain(status int, text string) response { return response{status, "text/plain", []byte(text)} }

func (e *Emulator) metadataToken(r *http.Request) response {
	if r.Method != http.MethodPut {
		return plain(http.StatusMethodNotAllowed, "Method Not Allowed")
	}
	seconds, err := strconv.Atoi(r.Header.Get("X-aliyun-ecs-metadata-token-ttl-seconds"))
	if life := time.Duration(seconds) * time.Second; err == nil && seconds > 0 && life <= maxTokenLife {
		e.mu.Lock()
		defer e.mu.Unlock()
		now := e.now()
		for token, expires := range e.metaTokens {
			if len(e.metaTokens) >= maxMetadataTokens || now.After(expires) {
				delete(e.metaTokens, token)
			}
		}
		token := newText(56)
		e.metaTokens[token] = now.Add(life)
		return plain(http.StatusOK, token)
	}
	return plain(http.StatusBadRequest, "Bad Request")
}

func (e *Emulator) metadataAnswer(r *http.Request, action string) response {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.now()
	token := r.Header.Get("X-aliyun-ecs-metadata-token")
	if expires, known := e.metaTokens[token]; token == "" && !e.options.UnhardenedMetadata || token != "" && (!known || now.After(expires)) {
		return plain(http.StatusForbidden, "Forbidden")
	}
	_, exists := e.roles[e.metaRole]
	name := strings.TrimPrefix(r.URL.Path, credentialsPath)
	switch {
	case r.Method != http.MethodGet:
		return plain(http.StatusMethodNotAllowed, "Method Not Allowed")
	case !exists || action == "" || action == "credentials" && name != e.metaRole:
		return plain(http.StatusNotFound, "Not Found")
	case action == "roles":
		return plain(http.StatusOK, e.metaRole)
	}
	life := e.options.CredentialLife
	if life == 0 {
		life = time.Hour
	}
	// The same credentials for half of their life, as a real instance repeats itself until it renews them.
	given := e.metaGiven[name]
	if given.Expires.Sub(now) < life/2 {
		var err error
		if given, err = e.issueCredentials(name, life); err != nil {
			return plain(http.StatusInternalServerError, err.Error())
		}
		e.metaGiven[name] = given
	}
	return jsonResponse(http.StatusOK, object{
		"Code": "Success", "AccessKeyId": given.AccessKeyID, "AccessKeySecret": given.AccessKeySecret, "SecurityToken": given.SecurityToken,
		"Expiration": given.Expires.Format(stamp), "LastUpdated": given.Expires.Add(-life).Format(stamp),
	})
}
