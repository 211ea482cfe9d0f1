package securitycenter

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kritis-node/kritis-node/policyagent/alicloud"
	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
)

func authorityOf(t *testing.T, e *engine) v1beta1.AttestationAuthority {
	t.Helper()
	for _, u := range objects(t, e, "team") {
		if u.GetKind() == kindAuthority {
			var a v1beta1.AttestationAuthority
			check(t, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &a))
			return a
		}
	}
	t.Fatal("no authority")
	panic("unreachable")
}

// Syncs come at once, then in the interval, one at a time, however long they take.
func TestInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		c.policy("prod", true, "qa", "team")
		c.hang = true // the key takes the whole of a sync's time
		e := syncing(c, nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { e.run(ctx); close(done) }()
		began := time.Now()
		time.Sleep(keyGrace + time.Second)
		if got := show(t, e, "team"); got != "qa= prod:qa" {
			t.Errorf("a policy waits for its key: %q", got)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		c.change(func() { c.hang = false })
		time.Sleep(10 * time.Minute)
		cancel()
		<-done
		if !c.listed[0].Equal(began) || c.overlap {
			t.Errorf("first at %s, two at a time: %v", c.listed[0].Sub(began), c.overlap)
		}
		for i := 1; i < len(c.listed); i++ {
			if gap := c.listed[i].Sub(c.listed[i-1]); gap < e.Interval || gap > longestTimeout+time.Second {
				t.Errorf("sync %d came %s after the one before", i, gap)
			}
		}
		if got := show(t, e, "team"); got != "qa=key-1/v1 prod:qa" {
			t.Errorf("%q", got)
		}
	})
}

// An outage shows after a while, in the words of the service, and always in the same ones.
func TestOutage(t *testing.T) { synctest.Test(t, testOutage) }

func testOutage(t *testing.T) {
	c := newCloud()
	c.policy("prod", true, "qa", "team")
	e := syncing(c, nil)
	e.sync(t.Context())
	for i := 1; i <= outageShown+1; i++ {
		time.Sleep(e.Interval)
		c.failing = &alicloud.Error{Kind: alicloud.Denied, Service: "sas", Action: "DescribeAttestors", Text: "the RAM policy refuses it", Code: "NoPermission", RequestID: strings.Repeat("r", i)}
		e.sync(t.Context())
		want := condition{ReasonCloudUnavailable, "sas DescribeAttestors: the RAM policy refuses it (NoPermission); what is known stays in force"}
		if i < outageShown {
			want = inSync
		}
		if got := reason(t, e, "team", kindPolicy, "prod"); got != want {
			t.Errorf("after %d: %+v", i, got)
		}
	}
	c.failing = nil
	e.sync(t.Context())
	if got := reason(t, e, "team", kindPolicy, "prod"); got != inSync {
		t.Errorf("%+v", got)
	}
}

// What a sync finds out after all of its time is told like anything else: not in a context that has ended, in which nobody hears it.
func TestToldWhenTimeIsOver(t *testing.T) {
	for name, hang := range map[string]func(*cloud){"listing": func(c *cloud) { c.silent = true }, "keys": func(c *cloud) { c.hang = true }} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCloud()
				c.policy("prod", true, "qa", "team")
				hang(c)
				told := 0
				e := newEngine(config(c), newMetrics(), func(ctx context.Context, _ []string) {
					if told++; ctx.Err() != nil {
						t.Errorf("told in a context that has ended: %v", ctx.Err())
					}
				})
				e.start(t.Context(), state{}, nil)
				before, began := told, time.Now()
				e.sync(t.Context())
				if told == before || time.Since(began) < shortestTimeout {
					t.Errorf("told %d times after %s", told-before, time.Since(began))
				}
			})
		})
	}
}

// Which namespaces are looked at again: those with objects, and those whose objects go.
func TestChanged(t *testing.T) {
	c := newCloud()
	c.policy("prod", true, "qa", "team", "other")
	var told []string
	e := newEngine(config(c), newMetrics(), func(_ context.Context, all []string) { told = all })
	e.start(context.Background(), state{}, nil)
	e.sync(t.Context())
	if !slices.Equal(told, []string{"other", "team"}) {
		t.Errorf("%v", told)
	}
	c.policy("prod", true, "qa", "other")
	e.sync(t.Context())
	e.sync(t.Context())
	if !slices.Equal(told, []string{"other", "team"}) {
		t.Errorf("%v", told)
	}
}

func TestConfig(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"":                                     func(*Config) {},
		"needs a cloud":                        func(c *Config) { c.Cloud = nil },
		"--cluster-id":                         func(c *Config) { c.ClusterID = "" },
		"--sync-interval is 4s, must be 5s or": func(c *Config) { c.Interval = 4 * time.Second },
		"--key-refresh is 0s":                  func(c *Config) { c.KeyRefresh = 0 },
	} {
		cfg := config(newCloud())
		change(&cfg)
		if err := cfg.check(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

func TestNames(t *testing.T) {
	for _, same := range []string{"qa", "team-a.prod", "a1", strings.Repeat("a", 200)} {
		if got := plainName(same); got != same {
			t.Errorf("%q becomes %q", same, got)
		}
	}
	seen := map[string]string{}
	for _, other := range []string{"QA", "qA", "q a", "q_a", "-", "", "测试", "测", "a..b", "-a", strings.Repeat("a", 201), strings.Repeat("é", 300), "a/b"} {
		got := plainName(other)
		if !subdomain.MatchString(got) || got == other || got != plainName(other) {
			t.Errorf("%q becomes %q", other, got)
		}
		if before, ok := seen[got]; ok {
			t.Errorf("%q and %q both become %q", before, other, got)
		}
		seen[got] = other
		if alternative := alternativeName(other); !subdomain.MatchString(alternative) || len(alternative) > 253 || alternative == got {
			t.Errorf("%q becomes %q", other, alternative)
		}
	}
	if got := alternativeName(strings.Repeat("a", 200)); len(got) > 253 || !strings.Contains(got, "-sc-") {
		t.Errorf("%q", got)
	}
}

// An outage of an hour is two lines in the log: that it began, and that it is over.
func TestOutageIsToldOnce(t *testing.T) {
	c := newCloud()
	c.policy("prod", true, "qa", "team")
	var log strings.Builder
	e := syncing(c, func(cfg *Config) { cfg.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	syncs := func(n int, want ...string) {
		t.Helper()
		log.Reset()
		for range n {
			e.sync(t.Context())
		}
		said := strings.Split(strings.TrimSpace(log.String()), "\n")
		said = slices.DeleteFunc(said, func(line string) bool { return line == "" })
		fits := len(said) == len(want)
		for i := 0; fits && i < len(said); i++ {
			fits = strings.Contains(said[i], want[i])
		}
		if !fits {
			t.Errorf("%d syncs: %q, want %q", n, said, want)
		}
	}
	syncs(3)
	c.failing = errors.New("away")
	syncs(3, "could not be listed")
	c.failing = errors.New("throttled")
	syncs(3, "throttled")
	c.failing = nil
	syncs(3, "nothing is amiss")
	c.policies = map[string]alicloud.SecurityPolicy{}
	syncs(3, "removes nothing")
}
