package alicloud

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
)

// maxAnswer bounds an answer in bytes.
const maxAnswer = 8 << 20

var (
	errTooLarge = errors.New("the answer is larger than 8 MiB")
	errNotHTTPS = errors.New("the request is not https")
)

// answer is what came back over HTTP.
type answer struct {
	status int
	body   []byte
}

// exchange sends a request once and reads the whole answer. Redirects are not followed. It ends with the context.
func exchange(ctx context.Context, transport http.RoundTripper, r *http.Request) (answer, error) {
	resp, err := transport.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return answer{}, err
	}
	if len(body) > maxAnswer {
		return answer{}, errTooLarge
	}
	return answer{resp.StatusCode, body}, nil
}

// carrier is the SDK's transport for one request. It keeps what came back to itself and tells the SDK that all is well:
// the SDK's reading of errors panics at a code that is no string, and its texts hold URLs with signatures.
type carrier struct {
	ctx       context.Context
	transport http.RoundTripper
	// sent is whether the SDK got as far as sending.
	sent bool
	// signature is that of the request, to be kept out of texts.
	signature string
	answer    answer
	err       error
}

// RoundTrip never fails; see carrier. The request's own context is the SDK's, which knows only a fixed time limit.
func (c *carrier) RoundTrip(r *http.Request) (*http.Response, error) {
	c.sent, c.signature = true, r.URL.Query().Get("Signature")
	if r.URL.Scheme != "https" {
		c.err = errNotHTTPS
	} else {
		c.answer, c.err = exchange(c.ctx, c.transport, r)
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}")), Request: r,
	}, nil
}
