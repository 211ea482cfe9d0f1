package nodestate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/kritis-node/kritis-node/verifier"
)

type fetcherFunc func(context.Context, FetchRequest) (FetchResponse, error)

func (f fetcherFunc) Fetch(ctx context.Context, r FetchRequest) (FetchResponse, error) {
	return f(ctx, r)
}

// reports keeps what was told.
type reports struct {
	mu         sync.Mutex
	all        []Report
	unreadable []error
}

func (r *reports) Report(report Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, report)
}

func (r *reports) Unreadable(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unreadable = append(r.unreadable, err)
}

// serve serves until the test ends and returns a client.
func serve(t *testing.T, f fetcherFunc) *Client { return serveAll(t, f, &reports{}) }

func serveAll(t *testing.T, f fetcherFunc, r Reporter) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Serve(ctx, l, f, r) }()
	c := NewClient(path)
	t.Cleanup(func() {
		c.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return c
}

func testRequest() FetchRequest {
	return FetchRequest{Repository: testRepository, Digests: []verifier.Digest{testDigest}}
}

func TestFetch(t *testing.T) {
	c := serve(t, func(_ context.Context, r FetchRequest) (FetchResponse, error) {
		if r.Repository != testRepository || len(r.Digests) != 1 || r.Digests[0] != testDigest || !r.Again {
			t.Errorf("got %+v", r)
		}
		return FetchResponse{Failures: []string{"registry.example: 503"}}, nil
	})
	r := testRequest()
	r.Again = true
	got, err := c.Fetch(t.Context(), r)
	if err != nil || len(got.Failures) != 1 || got.Failures[0] != "registry.example: 503" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestFetchErrors(t *testing.T) {
	c := serve(t, func(context.Context, FetchRequest) (FetchResponse, error) {
		return FetchResponse{}, errors.New("the queue is full: ask again later")
	})
	if _, err := c.Fetch(t.Context(), testRequest()); err == nil || !strings.HasSuffix(err.Error(), "refused: the queue is full: ask again later") {
		t.Errorf("%v", err)
	}
	none := NewClient(filepath.Join(t.TempDir(), "none"))
	if _, err := none.Fetch(t.Context(), testRequest()); err == nil || !strings.Contains(err.Error(), "the policy agent does not run; start it") {
		t.Errorf("nobody listens: %v", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Fetch(cancelled, testRequest()); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "ask again") {
		t.Errorf("cancelled: %v", err)
	}
}

func TestFetchEndsWithItsCaller(t *testing.T) {
	arrived, left := make(chan struct{}), make(chan struct{})
	c := serve(t, func(ctx context.Context, _ FetchRequest) (FetchResponse, error) {
		close(arrived)
		<-ctx.Done()
		close(left)
		return FetchResponse{}, ctx.Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	if _, err := c.Fetch(ctx, testRequest()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	<-left // the handler notices that the caller left
}

func TestRequestsAtOnce(t *testing.T) {
	arrived, release := make(chan struct{}, maxRequests+1), make(chan struct{})
	c := serve(t, func(context.Context, FetchRequest) (FetchResponse, error) {
		arrived <- struct{}{}
		<-release
		return FetchResponse{}, nil
	})
	c.transport.MaxConnsPerHost = 0 // the server is tested, not the client
	var wg sync.WaitGroup
	for range maxRequests {
		wg.Go(func() {
			if _, err := c.Fetch(t.Context(), testRequest()); err != nil {
				t.Errorf("within the limit: %v", err)
			}
		})
	}
	for range maxRequests {
		<-arrived
	}
	if _, err := c.Fetch(t.Context(), testRequest()); err == nil || !strings.Contains(err.Error(), "64 requests are being served already") {
		t.Errorf("one more: %v", err)
	}
	close(release)
	wg.Wait()
	if _, err := c.Fetch(t.Context(), testRequest()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestRequestLimits(t *testing.T) {
	c := serve(t, func(context.Context, FetchRequest) (FetchResponse, error) { return FetchResponse{}, nil })
	digests := func(n int) string {
		return strings.TrimSuffix(strings.Repeat(fmt.Sprintf("%q,", testDigest), n), ",")
	}
	request := func(digests string) string {
		return fmt.Sprintf(`{"repository":%q,"digests":[%s]}`, testRepository, digests)
	}
	padded := func(n int) string {
		r := request(digests(1))
		return r + strings.Repeat(" ", n-len(r))
	}
	for name, test := range map[string]struct {
		body   string
		status int
		text   string
	}{
		"64 digests":              {request(digests(64)), 200, "{}"},
		"65 digests":              {request(digests(65)), 400, "names 65 digests and may name 64"},
		"no digest":               {request(""), 400, "names no digest"},
		"bad digest":              {request(`"sha256:00"`), 400, "digest 0 of the request"},
		"64 KiB":                  {padded(MaxMessage), 200, "{}"},
		"64 KiB and one":          {padded(MaxMessage + 1), 400, "more than 65536 bytes"},
		"unknown member":          {`{"repo":"x"}`, 400, "unknown field"},
		"trailing":                {request(digests(1)) + "{}", 400, "more follows"},
		"not normalised":          {strings.Replace(request(digests(1)), "registry.example/team/app", "Registry.example/App", 1), 400, "not a normalised repository"},
		"repository with a tag":   {strings.Replace(request(digests(1)), "team/app", "team/app:v1", 1), 400, "not a normalised repository"},
		"repository shortened":    {strings.Replace(request(digests(1)), "registry.example/team/app", "nginx", 1), 400, "not a normalised repository"},
		"repository with newline": {strings.Replace(request(digests(1)), "team", `te\nam`, 1), 400, "not a normalised repository"},
		"empty":                   {"", 400, "not the JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://policyagent"+fetchPath, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := c.transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != test.status || !bytes.Contains(body, []byte(test.text)) {
				t.Errorf("status %d, %s (%v)", resp.StatusCode, body, err)
			}
		})
	}
}

func TestAnswersAreBounded(t *testing.T) {
	many := make([]string, MaxFailures+5)
	for i := range many {
		many[i] = strings.Repeat("\x01", 2*MaxFailure) // the worst case of JSON escapes
	}
	c := serve(t, func(context.Context, FetchRequest) (FetchResponse, error) { return FetchResponse{Failures: many}, nil })
	got, err := c.Fetch(t.Context(), testRequest())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got.Failures); n != MaxFailures || got.Failures[n-1] != "and 6 more failures" {
		t.Errorf("%d failures, the last is %q", n, got.Failures[n-1])
	}
	if got := boundFailures(many[:MaxFailures]); len(got) != MaxFailures || strings.HasPrefix(got[MaxFailures-1], "and") {
		t.Errorf("the limit itself was cut: %d", len(got))
	}
	for _, answer := range [][]byte{[]byte("<html>"), []byte("{}x"), append([]byte("{}"), bytes.Repeat([]byte{' '}, maxAnswer-1)...)} {
		if err := c.parseAnswer(200, answer, new(FetchResponse)); err == nil || !strings.Contains(err.Error(), "of one version") {
			t.Errorf("%.10q: %v", answer, err)
		}
	}
	if err := c.parseAnswer(200, append([]byte("{}"), bytes.Repeat([]byte{' '}, maxAnswer-2)...), new(FetchResponse)); err != nil {
		t.Errorf("an answer of the limit: %v", err)
	}
}

func TestServeReportsABrokenListener(t *testing.T) {
	l, err := Listen(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := Serve(t.Context(), l, nil, nil); err == nil || !strings.Contains(err.Error(), "restart the policy agent") {
		t.Errorf("%v", err)
	}
}

func FuzzParseFetchRequest(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(`{"repository":%q,"digests":[%q],"again":true}`, testRepository, testDigest)))
	f.Add([]byte(`{"repository":"a b","digests":[]}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseFetchRequest(data)
		if err == nil {
			err = r.validate()
			if err != nil || len(r.Digests) > MaxDigests {
				t.Errorf("accepted %+v: %v", r, err)
			}
			return
		}
		if strings.ContainsAny(err.Error(), "\n") || len(err.Error()) > 1<<10 {
			t.Errorf("an error that is no line: %q", err)
		}
	})
}
