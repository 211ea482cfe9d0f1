package alicloudtest

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // what the RPC style signs with
	"encoding/base64"
	"slices"
	"strings"
	"time"
)

const (
	// maxSkew is how far a request's clock may be off, and how long nonces are remembered.
	maxSkew = 15 * time.Minute
	// maxNonces bounds what is remembered; beyond it requests are throttled rather than replays let through.
	maxNonces = 1 << 20
)

// percentEncode encodes all but the unreserved characters of RFC 3986.
func percentEncode(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == '~':
			b.WriteByte(c)
		default:
			b.WriteString(string([]byte{'%', hex[c>>4], hex[c&15]}))
		}
	}
	return b.String()
}

// stringToSign is what a request's signature is over: its method and all its parameters but Signature.
func stringToSign(method string, parameters map[string]string) string {
	pairs := make([]string, 0, len(parameters))
	for name, value := range parameters {
		if name != "Signature" {
			pairs = append(pairs, percentEncode(name)+"="+percentEncode(value))
		}
	}
	// By name, as documented, not by the whole pair.
	slices.SortFunc(pairs, func(a, b string) int {
		nameA, _, _ := strings.Cut(a, "=")
		nameB, _, _ := strings.Cut(b, "=")
		return strings.Compare(nameA, nameB)
	})
	return method + "&%2F&" + percentEncode(strings.Join(pairs, "&"))
}

// signature is the HMAC-SHA1 of the RPC style.
func signature(method string, parameters map[string]string, secret string) string {
	mac := hmac.New(sha1.New, []byte(secret+"&"))
	mac.Write([]byte(stringToSign(method, parameters)))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// authenticate finds who signed a request. The order of the checks is a guess.
func (e *Emulator) authenticate(method string, parameters map[string]string) (*principal, *apiError) {
	for _, name := range []string{"AccessKeyId", "Signature", "SignatureMethod", "SignatureVersion", "SignatureNonce", "Timestamp"} {
		if parameters[name] == "" {
			return nil, failed(400, "Missing"+name, "%s is mandatory for this action.", name)
		}
	}
	if parameters["SignatureMethod"] != "HMAC-SHA1" {
		return nil, failed(400, "InvalidSignatureMethod", "Specified signature method is not valid.")
	}
	if parameters["SignatureVersion"] != "1.0" {
		return nil, failed(400, "InvalidSignatureVersion", "Specified parameter SignatureVersion is not valid.")
	}
	if parameters["SignatureType"] != "" {
		return nil, failed(400, "InvalidSignatureType", "Specified parameter SignatureType is not valid.")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.now()
	caller, ok := e.byAccessKey[parameters["AccessKeyId"]]
	if !ok {
		return nil, failed(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.")
	}
	said, err := time.Parse(stamp, parameters["Timestamp"])
	if err != nil {
		return nil, failed(400, "InvalidTimeStamp.Format", "Specified time stamp or date value is not well formatted.")
	}
	if off := now.Sub(said); off > maxSkew || off < -maxSkew {
		return nil, failed(400, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.")
	}
	if want := signature(method, parameters, caller.secret); !hmac.Equal([]byte(want), []byte(parameters["Signature"])) {
		return nil, failed(400, "SignatureDoesNotMatch",
			"Specified signature is not matched with our calculation. server string to sign is:%s", stringToSign(method, parameters))
	}
	if refused := e.rememberNonce(caller.accessKey+" "+parameters["SignatureNonce"], now); refused != nil {
		return nil, refused
	}
	return caller, caller.checkToken(parameters["SecurityToken"], now)
}

// rememberNonce refuses what was seen within the time in which a request with its timestamp could be sent again.
func (e *Emulator) rememberNonce(nonce string, now time.Time) *apiError {
	if _, seen := e.nonces[nonce]; seen {
		return failed(400, "SignatureNonceUsed", "Specified signature nonce was used already.")
	}
	if len(e.nonces) >= maxNonces {
		for old, at := range e.nonces {
			if now.Sub(at) > 2*maxSkew {
				delete(e.nonces, old)
			}
		}
		if len(e.nonces) >= maxNonces {
			return failed(400, "Throttling.User", "Request was denied due to user flow control.")
		}
	}
	e.nonces[nonce] = now
	return nil
}
