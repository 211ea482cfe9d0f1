package alicloudtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/test/alicloudtest"
	"github.com/kritis-node/kritis-node/test/cluster"
)

// raw sends a request that the SDK signed and returns the answer as it came, which the SDK would interpret.
type raw struct {
	next   http.RoundTripper
	status int
	kind   string
	body   []byte
	err    error
}

func (r *raw) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := r.next.RoundTrip(request)
	if err != nil {
		r.err = err
		return nil, err
	}
	r.status, r.kind = response.StatusCode, response.Header.Get("Content-Type")
	r.body, r.err = io.ReadAll(response.Body)
	response.Body = io.NopCloser(bytes.NewReader(r.body))
	return response, nil
}

func TestFaults(t *testing.T) {
	e, alice := start(t, alicloudtest.Options{})
	for i := range 3 {
		e.PutWitness(alicloudtest.Witness{Name: "w" + itoa(i)})
	}
	ask := func(pairs ...string) *raw {
		c := as(t, e, alice)
		r := &raw{next: trusting(t, e)}
		c.SetTransport(r)
		func() {
			defer func() { _ = recover() }() // a Code that is no string: the SDK panics
			_, _ = c.ProcessCommonRequest(request(e, sasVersion, "DescribeAttestors", pairs...))
		}()
		return r
	}
	list := func(r *raw) (l listing) {
		t.Helper()
		check(t, r.err)
		check(t, json.Unmarshal(r.body, &l))
		return l
	}
	breaks := func(kind alicloudtest.FaultKind) {
		t.Helper()
		_, err := e.Break(alicloudtest.Fault{Service: "sas", Action: "DescribeAttestors", Kind: kind, Times: 1, Interval: time.Millisecond})
		check(t, err)
	}
	code := func(r *raw) any {
		var body map[string]any
		check(t, json.Unmarshal(r.body, &body))
		return body["Code"]
	}
	for kind, expected := range map[alicloudtest.FaultKind]func(*raw) bool{
		alicloudtest.InternalError: func(r *raw) bool { return r.status == 500 && code(r) == "InternalError" },
		alicloudtest.Unavailable:   func(r *raw) bool { return r.status == 503 && code(r) == "ServiceUnavailable" },
		alicloudtest.Throttle:      func(r *raw) bool { return r.status == 400 && code(r) == "Throttling.User" },
		alicloudtest.NonStringCode: func(r *raw) bool { return r.status == 400 && code(r) == 400.0 },
		alicloudtest.Garbage:       func(r *raw) bool { return r.status == 200 && !json.Valid(r.body) },
		alicloudtest.HTML: func(r *raw) bool {
			return r.status == 200 && r.kind == "text/html" && strings.Contains(string(r.body), "<html>")
		},
		alicloudtest.WrongContentType: func(r *raw) bool { return r.kind == "text/html" && len(list(r).Attestors) == 3 },
		alicloudtest.Drip:             func(r *raw) bool { return len(list(r).Attestors) == 3 },
		alicloudtest.Truncate:         func(r *raw) bool { return errors.Is(r.err, io.ErrUnexpectedEOF) && len(r.body) > 0 },
		alicloudtest.Reset:            func(r *raw) bool { return r.err != nil && r.status == 0 },
		alicloudtest.Empty:            func(r *raw) bool { l := list(r); return l.PageInfo.TotalCount == 0 && len(l.Attestors) == 0 },
		alicloudtest.LosePage:         func(r *raw) bool { l := list(r); return l.PageInfo.TotalCount == 3 && len(l.Attestors) == 2 },
	} {
		t.Run(string(kind), func(t *testing.T) {
			breaks(kind)
			if r := ask(); !expected(r) {
				t.Errorf("%d %s %q %v", r.status, r.kind, r.body, r.err)
			}
			if l := list(ask()); len(l.Attestors) != 3 {
				t.Errorf("a fault of one strike struck twice: %+v", l)
			}
		})
	}
	breaks(alicloudtest.LosePage)
	e.PutWitness(alicloudtest.Witness{Name: "w3"})
	if l := list(ask("PageSize", "2", "CurrentPage", "2")); l.PageInfo.TotalCount != 4 || len(l.Attestors) != 0 {
		t.Errorf("the last page is there: %+v", l)
	}
	if _, err := e.Break(alicloudtest.Fault{Kind: "Fire"}); err == nil {
		t.Error("an unknown fault was taken")
	}
}

func TestFaultsOfKMS(t *testing.T) {
	e, alice := start(t, alicloudtest.Options{})
	key, err := e.CreateKey(alicloudtest.NewKey{})
	check(t, err)
	repair, err := e.Break(alicloudtest.Fault{Service: "kms", Kind: alicloudtest.Throttle})
	check(t, err)
	ask := func() error {
		_, err := do(t, as(t, e, alice), request(e, kmsVersion, "DescribeKey", "KeyId", key.ID))
		return err
	}
	expect(t, ask(), 429, "Rejected.Throttling")
	_, err = do(t, as(t, e, alice), request(e, sasVersion, "DescribeAttestors")) // another service
	check(t, err)
	expect(t, ask(), 429, "Rejected.Throttling") // until it is repaired
	repair()
	check(t, ask())
	if n := e.Calls(alicloudtest.Call{Service: "kms", Code: "Throttle", Status: 429, KeyID: key.ID}); n != 2 {
		t.Errorf("%d faults counted: %+v", n, e.CallList(alicloudtest.Call{}))
	}
	if n := e.Calls(alicloudtest.Call{Service: "kms"}); n != 3 {
		t.Errorf("%d calls counted", n)
	}
	e.ForgetCalls()
	if n := e.Calls(alicloudtest.Call{}); n != 0 {
		t.Errorf("%d calls remembered", n)
	}
}

// TestHang shows that a request hangs until its client goes, or the emulator ends.
func TestHang(t *testing.T) {
	e, err := alicloudtest.Start(alicloudtest.Options{})
	check(t, err)
	defer func() { check(t, e.Close()) }()
	_, err = e.Break(alicloudtest.Fault{Kind: alicloudtest.Hang})
	check(t, err)
	transport := trusting(t, e)
	hang := func(ctx context.Context) chan error {
		failed := make(chan error, 1)
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+e.Host()+"/", nil)
		check(t, err)
		go func() {
			response, err := transport.RoundTrip(r)
			if err == nil {
				err = errors.Join(errors.New("it was answered"), response.Body.Close())
			}
			failed <- err
		}()
		return failed
	}
	ctx, leave := context.WithCancel(t.Context())
	leaving, staying := hang(ctx), hang(t.Context())
	check(t, cluster.Await(t.Context(), "both requests to arrive", func(context.Context) error {
		if n := e.Calls(alicloudtest.Call{Code: "Hang"}); n != 2 {
			return fmt.Errorf("%d arrived", n)
		}
		return nil
	}))
	leave()
	if err := <-leaving; !errors.Is(err, context.Canceled) {
		t.Errorf("who left got %v", err)
	}
	select {
	case err := <-staying:
		t.Errorf("who stayed got %v", err)
	default:
	}
	check(t, e.Close())
	if err := <-staying; err == nil || strings.Contains(err.Error(), "answered") {
		t.Errorf("who stayed got %v", err)
	}
}
