package alicloud

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	sdkcredentials "github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
)

const (
	// tryTimeout is how long one try may take, whatever the context allows.
	tryTimeout = 10 * time.Second
	// maxTries bounds the tries of a call whose context has no deadline. With one, the deadline does.
	maxTries = 5
	// firstPause and longestPause bound the pause between tries: a random time up to the first, twice that, and so on.
	firstPause   = 200 * time.Millisecond
	longestPause = 10 * time.Second
)

// call is one action with its parameters.
type call struct {
	service    service
	action     string
	region     string
	parameters map[string]string
}

// ask calls until it has an answer, or until another try is of no use or the context has no time left for one.
func (c *Client) ask(ctx context.Context, what call) (object, *Error) {
	renewed := false
	var got object
	err := c.persist(ctx, what.service, what.action, func(ctx context.Context) *failure {
		as, err := c.credentials.get(ctx)
		if err != nil {
			// A renewal goes on when one try stops waiting for it.
			return &failure{err: err, again: err.cause != nil}
		}
		o, f := c.try(ctx, what, as)
		if f != nil && f.rejected && !renewed && c.credentials.drop(as) {
			renewed, f.again = true, true
		}
		got = o
		return f
	})
	return got, err
}

// failure is a try that failed.
type failure struct {
	err *Error
	// again is whether another try may help; rejected is whether the credentials were not accepted.
	again, rejected bool
}

// persist tries within the limit of calls to the service, with pauses.
func (c *Client) persist(ctx context.Context, s service, action string, try func(context.Context) *failure) *Error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.closed, cancel)()
	_, hasDeadline := ctx.Deadline()
	var last *failure
	for n := 0; ; n++ {
		if err := c.limits[s.name].Wait(ctx); err != nil {
			if last != nil {
				return last.err
			}
			return c.ended(ctx, s, action, "held back by the limit of "+s.name+" calls per second until the time was up")
		}
		within, done := context.WithTimeout(ctx, tryTimeout)
		f := try(within)
		done()
		if f == nil {
			return nil
		}
		if errors.Is(ctx.Err(), context.Canceled) {
			return c.ended(ctx, s, action, f.err.Text)
		}
		if ctx.Err() != nil && last == nil {
			return f.err
		}
		if ctx.Err() == nil {
			last = f
		}
		if !last.again || !hasDeadline && n+1 >= maxTries || !pause(ctx, n) {
			return last.err
		}
	}
}

// ended returns the error of a call whose context ended, or will before anything can be done.
func (c *Client) ended(ctx context.Context, s service, action, text string) *Error {
	e := &Error{Kind: Unavailable, Service: s.name, Action: action, Text: text, cause: ctx.Err()}
	if e.cause == nil {
		e.cause = context.DeadlineExceeded // it was not waited for
	}
	if c.closed.Err() != nil {
		e.Text = "the client was closed"
	} else if errors.Is(ctx.Err(), context.Canceled) {
		e.Text = "canceled before an answer came"
	}
	return e
}

// pause waits for a random time that doubles with each try. It returns false, at once if that is known, when the context
// ends before.
func pause(ctx context.Context, n int) bool {
	d := time.Duration(rand.Int64N(int64(min(longestPause, firstPause<<min(n, 10))))) + time.Millisecond //nolint:gosec // spreads load, hides nothing
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// try asks once. The SDK's client and request are made anew each time: neither is safe for concurrent use, and each try
// needs its own nonce and signature.
func (c *Client) try(ctx context.Context, what call, as credential) (o object, f *failure) {
	host, ok := c.config.host(what.service, what.region)
	if !ok {
		return nil, &failure{err: what.service.unfit(what.action, "the region "+quoted(what.region)+" is not the name of a region: correct it")}
	}
	carrier := &carrier{ctx: ctx, transport: c.transport}
	defer func() {
		// What it says may hold what was sent.
		if recover() != nil {
			o, f = nil, &failure{err: &Error{Service: what.service.name, Action: what.action, Text: "the SDK failed while it read or built a message: report this"}}
		}
	}()
	// Every exit of the SDK's own HTTP client is shut: it looks into the environment for proxies, with regular expressions.
	client, err := sdk.NewClientWithOptions(c.config.Region, &sdk.Config{Transport: carrier, Scheme: requests.HTTPS}, as)
	if err == nil {
		client.SetHttpsProxy("http://unused.invalid")
		client.SetNoProxy("unused.invalid")
		client.SetReadTimeout(2 * tryTimeout) // the context ends first
		client.SetCloseTrace(true)
		_, err = client.ProcessCommonRequest(what.request(host))
	}
	if err != nil || !carrier.sent {
		// The answer that the SDK saw is ours (see carrier), so it failed before. Its texts are not ours to show.
		return nil, &failure{err: what.service.unfit(what.action, "the request could not be built: check region and endpoints")}
	}
	redact := as.redactor(carrier.signature)
	if carrier.err != nil {
		return nil, what.service.unreachable(ctx, what.action, carrier.err, redact)
	}
	return what.service.read(what.action, carrier.answer, redact)
}

// request returns the SDK's request.
func (c call) request(host string) *requests.CommonRequest {
	r := requests.NewCommonRequest()
	r.Method, r.Scheme, r.Domain = requests.POST, requests.HTTPS, host
	r.Product, r.Version, r.ApiName = c.service.product, c.service.version, c.action
	r.RegionId = c.region
	for k, v := range c.parameters {
		if v != "" {
			r.QueryParams[k] = v
		}
	}
	return r
}

// GetCredentials is what the SDK asks for: our credential, fetched already.
func (c credential) GetCredentials() (*sdkcredentials.Credentials, error) {
	return &sdkcredentials.Credentials{AccessKeyId: c.id, AccessKeySecret: c.secret, SecurityToken: c.token, ProviderName: "kritis-node"}, nil
}

// GetProviderName is part of the SDK's interface.
func (credential) GetProviderName() string { return "kritis-node" }

// oneLine returns s without line ends and control characters.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
}
