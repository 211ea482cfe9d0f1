package alicloud

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/kritis-node/kritis-node/test/alicloudtest"
)

// bare is a client without a network, for tests of tries and times.
func bare() (*Client, context.CancelFunc) {
	c := &Client{limits: map[string]*rate.Limiter{kms.name: rate.NewLimiter(rate.Inf, 1)}}
	c.closed, c.close = context.WithCancel(context.Background())
	return c, c.close
}

func TestPersist(t *testing.T) {
	again := func(context.Context) *failure {
		return &failure{err: &Error{Service: "kms", Action: "A", Text: "again"}, again: true}
	}
	never := func(context.Context) *failure {
		return &failure{err: &Error{Kind: Denied, Service: "kms", Action: "A", Text: "denied"}}
	}
	hang := func(ctx context.Context) *failure {
		<-ctx.Done()
		return kms.unreachable(ctx, "A", ctx.Err(), strings.Clone)
	}
	for name, test := range map[string]struct {
		try      func(context.Context) *failure
		deadline time.Duration
		min, max int
		// longest bounds how long it takes.
		longest time.Duration
		kind    Kind
		text    string
	}{
		"of no use":               {never, 0, 1, 1, 0, Denied, "denied"},
		"no deadline":             {again, 0, maxTries, maxTries, 4 * longestPause, Unavailable, "again"},
		"ten minutes":             {again, 10 * time.Minute, 60, 2000, 10 * time.Minute, Unavailable, "again"},
		"no time left":            {again, time.Microsecond, 1, 1, 0, Unavailable, "again"},
		"hangs, no deadline":      {hang, 0, maxTries, maxTries, maxTries*tryTimeout + 4*longestPause, Unavailable, "no answer in time"},
		"hangs, deadline":         {hang, 3 * time.Second, 1, 1, 3 * time.Second, Unavailable, "no answer in time"},
		"hangs, deadline of 25 s": {hang, 25 * time.Second, 2, 3, 25 * time.Second, Unavailable, "no answer in time"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, done := bare()
				defer done()
				ctx := t.Context()
				if test.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.deadline)
					defer cancel()
				}
				begin, tries := time.Now(), 0
				err := c.persist(ctx, kms, "A", func(ctx context.Context) *failure { tries++; return test.try(ctx) })
				wantKind(t, err, test.kind, "A", test.text)
				if tries < test.min || tries > test.max {
					t.Errorf("%d tries", tries)
				}
				if took := time.Since(begin); took > test.longest {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// The context's end ends a pause, a wait for our own limit and a try, and is to be seen in the error.
func TestPersistEnds(t *testing.T) {
	for name, prepare := range map[string]func(c *Client) func(context.Context) *failure{
		"in a pause": func(*Client) func(context.Context) *failure {
			return func(context.Context) *failure {
				return &failure{err: &Error{Service: "kms", Action: "A", Text: "again"}, again: true}
			}
		},
		"in the limit": func(c *Client) func(context.Context) *failure {
			c.limits[kms.name] = rate.NewLimiter(rate.Every(time.Hour), 1)
			c.limits[kms.name].Allow()
			return func(context.Context) *failure { panic("unreachable") }
		},
		"in a try": func(*Client) func(context.Context) *failure {
			return func(ctx context.Context) *failure {
				<-ctx.Done()
				return kms.unreachable(ctx, "A", ctx.Err(), strings.Clone)
			}
		},
	} {
		for _, closing := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", by Close: ", closing), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c, done := bare()
					defer done()
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					try := prepare(c)
					begin := time.Now()
					time.AfterFunc(time.Millisecond/2, func() {
						if closing {
							done()
						} else {
							cancel()
						}
					})
					err := c.persist(ctx, kms, "A", try)
					if time.Since(begin) > time.Millisecond {
						t.Errorf("it took %v", time.Since(begin))
					}
					text := "canceled"
					if closing {
						text = "closed"
					}
					if name == "in a pause" {
						text = "again" // tells more
					} else if !errors.Is(err, context.Canceled) {
						t.Errorf("not canceled: %v", err)
					}
					wantKind(t, err, Unavailable, "A", text)
				})
			})
		}
	}
}

// Calls keep to our own limit, and one that cannot be made in time says so at once.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, done := bare()
		defer done()
		c.limits[kms.name] = rate.NewLimiter(20, 5)
		var all sync.WaitGroup
		begin := time.Now()
		for range 105 {
			all.Go(func() {
				if err := c.persist(t.Context(), kms, "A", func(context.Context) *failure { return nil }); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if took := time.Since(begin); took < 5*time.Second {
			t.Errorf("105 calls took %v", took)
		}
		c.limits[kms.name] = rate.NewLimiter(rate.Every(time.Hour), 1)
		c.limits[kms.name].Allow()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin = time.Now()
		err := c.persist(ctx, kms, "A", func(context.Context) *failure { return nil })
		wantKind(t, err, Unavailable, "A", "limit of kms calls")
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 0 {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

// A call ends with its context while the server hangs: before an answer, and in the middle of one.
func TestHangingServer(t *testing.T) {
	for name, begin := range map[string]func(w http.ResponseWriter){
		"before": func(http.ResponseWriter) {},
		"within": func(w http.ResponseWriter) { fmt.Fprint(w, `{"PageInfo":`); w.(http.Flusher).Flush() },
	} {
		t.Run(name, func(t *testing.T) {
			server := newCloud(t, nil)
			asked := make(chan struct{}, 100)
			server.respond(func(w http.ResponseWriter, r *http.Request, _ url.Values) {
				begin(w)
				asked <- struct{}{}
				<-r.Context().Done()
			})
			c := newClient(t, server.config(t))
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { _, err := c.Witnesses(ctx); ended <- err }()
			<-asked
			cancel()
			select {
			case err := <-ended:
				if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			case <-time.After(tryTimeout / 2):
				t.Fatal("it goes on")
			}
		})
	}
}

// Close ends what is under way.
func TestClose(t *testing.T) {
	server := newCloud(t, nil)
	asked := make(chan struct{}, 100)
	server.respond(func(_ http.ResponseWriter, r *http.Request, _ url.Values) {
		asked <- struct{}{}
		<-r.Context().Done()
	})
	c := newClient(t, server.config(t))
	ended := make(chan error, 1)
	go func() { _, err := c.Witnesses(t.Context()); ended <- err }()
	<-asked
	c.Close()
	wantKind(t, <-ended, Unavailable, "DescribeAttestors", "closed")
	_, err := c.Witnesses(t.Context())
	wantKind(t, err, Unavailable, "DescribeAttestors", "closed")
}

// Two hundred goroutines use one client whose credentials are renewed meanwhile. The emulator checks every signature and
// that no nonce comes twice.
func TestTwoHundredGoroutines(t *testing.T) {
	e := emulate(t, alicloudtest.Options{KMSQuota: -1, MetadataRole: "node"})
	e.AddRole(alicloudtest.Role{Name: "node", Allow: everything()})
	e.PutWitness(alicloudtest.Witness{Name: "w", KeyID: "key-x"})
	key := newKey(t, e, alicloudtest.NewKey{})
	config := emulated(e)
	config.Credentials = Credentials{Source: SourceECSRole, UnsafeMetadataAddress: e.MetadataURL()}
	c := newClient(t, config)
	ref := KeyReference{ID: key.ID, Version: key.Versions[0].ID}
	var all sync.WaitGroup
	var calls atomic.Int64
	for n := range 200 {
		all.Go(func() {
			for round := range 3 {
				if n%20 == 0 { // as if it had been refused
					if as, err := c.credentials.get(t.Context()); err == nil {
						c.credentials.drop(as)
					}
				}
				var err error
				switch (n + round) % 4 {
				case 0:
					_, err = c.PublicKey(t.Context(), ref)
				case 1:
					_, err = c.Sign(t.Context(), ref, RSAPSSSHA256, make([]byte, 32))
				case 2:
					_, err = c.Witnesses(t.Context())
				case 3:
					_, err = c.Instances(t.Context(), "cn-hangzhou")
				}
				if err != nil {
					t.Error(err)
				}
				calls.Add(1)
			}
		})
	}
	all.Wait()
	if calls.Load() != 600 {
		t.Errorf("%d calls", calls.Load())
	}
	if n := e.Calls(alicloudtest.Call{Service: "metadata", Action: "credentials"}); n < 2 || n > 31 {
		t.Errorf("credentials were fetched %d times", n)
	}
}
