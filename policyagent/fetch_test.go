package policyagent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

// bubble runs a test in fake time with an agent that has no socket: only its pool runs.
func bubble(t *testing.T, test func(*testing.T, *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c, s, p, logs := testConfig(t.TempDir())
		a, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.pool.run(ctx) }()
		synctest.Wait()
		stop := sync.OnceFunc(func() {
			cancel()
			<-done
			a.Close()
		})
		test(t, &fixture{a, s, p, logs, stop})
		stop()
	})
}

func TestWhenIsFetched(t *testing.T) {
	type step struct {
		after      time.Duration
		again      bool
		asks       bool
		background bool
	}
	for name, c := range map[string]struct {
		payloads []string
		failure  string
		steps    []step
	}{
		"none":    {nil, "", []step{{0, false, false, false}, {settledFor - 1, false, false, false}, {1, false, true, false}, {settledFor, true, true, false}}},
		"failed":  {nil, "503", []step{{settledFor - 1, false, false, false}, {1, false, true, false}}},
		"partial": {[]string{"p"}, "503", []step{{settledFor - 1, false, false, false}, {1, false, true, false}}},
		"some": {[]string{"p"}, "", []step{{settledFor, false, false, false}, {refreshAfter - settledFor - 1, false, false, false}, {1, false, true, true},
			{settledFor - 1, true, false, false}, {1, true, true, false}, {2 * refreshAfter, true, true, false}}},
		"the clock went back": {[]string{"p"}, "", []step{{-time.Hour, false, true, false}}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fixture) {
				f.source.gives(c.failure, c.payloads...)
				first := f.ask(t, false)
				if (len(first) > 0) != (c.failure != "") || f.source.count() != 1 {
					t.Fatalf("first: %q, asked %d times", first, f.source.count())
				}
				for i, s := range c.steps {
					if s.after < 0 {
						// Time cannot be turned back here, so the record is put into the future.
						r, err := f.state.Attestations(testKey.repository, testKey.digest)
						if err != nil {
							t.Fatal(err)
						}
						r.FetchedAt = r.FetchedAt.Add(-s.after)
						if err := f.state.WriteRecord(r); err != nil {
							t.Fatal(err)
						}
					}
					time.Sleep(s.after)
					before := f.source.count()
					release := make(chan struct{})
					if s.background {
						f.source.mu.Lock()
						give := f.source.give
						f.source.give = func(ctx context.Context, k key) ([]verifier.Attestation, error) {
							<-release
							return give(ctx, k)
						}
						f.source.mu.Unlock()
					}
					failures := f.ask(t, s.again) // would hang if it waited for a background fetch
					close(release)
					synctest.Wait()
					if asked := f.source.count() > before; asked != s.asks {
						t.Errorf("step %d: asked is %v", i, asked)
					}
					if fmt.Sprint(failures) != fmt.Sprint(first) {
						t.Errorf("step %d: failures %q, want %q", i, failures, first)
					}
				}
			})
		})
	}
}

// A failure never takes away what was known, and a complete answer always counts.
func TestWhatARecordKeeps(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		for i, c := range []struct {
			failure            string
			gives              []string
			payloads, failures string
		}{
			{"503", nil, "", "test source: 503"},
			{"", []string{"a", "b"}, "a,b", ""},
			{"503", nil, "a,b", "test source: 503"},
			{"504", []string{"c", "b"}, "c,b,a", "test source: 504"},
			{"505", nil, "c,b,a", "test source: 505"},
			{"", []string{"c"}, "c", ""},
			{"", nil, "", ""},
			{"503\nsecond line", nil, "", "test source: 503 second line"},
		} {
			f.source.gives(c.failure, c.gives...)
			failures := f.ask(t, true)
			payloads, recorded := f.record(t)
			if payloads != c.payloads || recorded != c.failures || strings.Join(failures, ",") != c.failures {
				t.Errorf("step %d: %q, %q, answered %q", i, payloads, recorded, failures)
			}
			time.Sleep(settledFor)
		}
		if s := f.Status(); s.Fetches.Complete != 3 || s.Fetches.Incomplete != 5 || s.Sources[0].Failed != 5 || s.Sources[0].LastError != "503 second line" {
			t.Errorf("%+v", s)
		}
	})
}

func TestSeveralSources(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		other, buggy := &source{}, &source{}
		f.source.gives("", "a", "b")
		other.gives("500", "b", "c")
		buggy.give = func(context.Context, key) ([]verifier.Attestation, error) { panic("secret-free") }
		f.config.Sources = append(f.config.Sources, other, buggy)
		f.status.now.Sources = append(f.status.now.Sources, nodestate.SourceStatus{}, nodestate.SourceStatus{})
		f.ask(t, false)
		payloads, failures := f.record(t)
		if payloads != "a,b,c" || failures != "test source: 500,test source: a bug of this program stopped it, see the log of the policy agent" {
			t.Errorf("%q, %q", payloads, failures)
		}
		if !strings.Contains(f.logs.String(), "bug in a source") {
			t.Error(f.logs.String())
		}
	})
}

func TestTooManyAttestations(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		var payloads []string
		for i := range verifier.MaxAttestations + 1 {
			payloads = append(payloads, fmt.Sprint(i))
		}
		f.source.gives("", payloads[1:]...)
		if failures := f.ask(t, false); len(failures) != 0 {
			t.Errorf("at the limit: %q", failures)
		}
		time.Sleep(settledFor)
		f.source.gives("", payloads...)
		if failures := f.ask(t, true); len(failures) != 1 || !strings.Contains(failures[0], "more than 256 attestations") {
			t.Errorf("one more: %q", failures)
		}
		r, err := f.state.Attestations(testKey.repository, testKey.digest)
		if err != nil || len(r.Attestations) != verifier.MaxAttestations {
			t.Errorf("%d attestations (%v)", len(r.Attestations), err)
		}
	})
}

// The largest record that sources can cause is written.
func TestTheLargestRecordIsWritten(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		nasty := strings.Repeat("\x01", attestations.MaxText)
		f.source.give = func(context.Context, key) ([]verifier.Attestation, error) {
			var all []verifier.Attestation
			for i := range verifier.MaxAttestations + 1 {
				payload := make([]byte, attestations.MaxBytes/verifier.MaxAttestations-4096)
				payload[0], payload[1] = byte(i), byte(i>>8)
				all = append(all, verifier.Attestation{Payload: payload, Source: nasty})
			}
			return all, errors.New(strings.Repeat("\x01\"", nodestate.MaxFailure))
		}
		failures := f.ask(t, false)
		if s := f.Status(); s.Fetches.Unwritten != 0 || s.Fetches.Incomplete != 1 || len(failures) != 1 || len(failures[0]) > nodestate.MaxFailure {
			t.Errorf("%+v, %d failures", s.Fetches, len(failures))
		}
	})
}

func TestRecordsThatCannotBeWritten(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		records := filepath.Join(f.config.StateDir, "attestations")
		if err := errors.Join(os.RemoveAll(records), os.WriteFile(records, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
		if failures := f.ask(t, false); len(failures) != 1 || !strings.Contains(failures[0], "cannot be written") {
			t.Errorf("%q", failures)
		}
		if s := f.Status(); s.Fetches.Unwritten != 1 || !strings.Contains(f.logs.String(), "cannot be written") {
			t.Errorf("%+v", s)
		}
	})
}

func TestDamagedRecordsAreFetchedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.source.gives("", "a")
		f.ask(t, false)
		files, err := filepath.Glob(filepath.Join(f.config.StateDir, "attestations/*/*.json"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		if err := os.Truncate(files[0], 200); err != nil {
			t.Fatal(err)
		}
		f.ask(t, false)
		if payloads, _ := f.record(t); payloads != "a" || f.source.count() != 2 {
			t.Errorf("%q, asked %d times", payloads, f.source.count())
		}
	})
}

// The sources are told that a record did not suffice if the plugin says so, and in no other case.
func TestWhatDidNotSuffice(t *testing.T) {
	for name, c := range map[string]struct {
		payloads []string
		failure  string
		again    bool
		want     bool
	}{
		"some, not enough":                 {[]string{"p"}, "", true, true},
		"none":                             {nil, "", true, true},
		"failed":                           {nil, "503", true, true},
		"none, and who asks does not know": {nil, "", false, false},
		"failed, the same":                 {nil, "503", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fixture) {
				f.source.gives(c.failure, c.payloads...)
				var told []bool
				give := f.source.give
				f.source.give = func(ctx context.Context, k key) ([]verifier.Attestation, error) {
					told = append(told, attestations.IsInsufficient(ctx))
					return give(ctx, k)
				}
				f.ask(t, true) // without a record: it may be another digest that did not suffice
				time.Sleep(settledFor)
				f.ask(t, c.again)
				if fmt.Sprint(told) != fmt.Sprint([]bool{false, c.want}) {
					t.Errorf("told %v", told)
				}
			})
		})
	}
}

// What is fetched again in the background sufficed.
func TestRefreshSays(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.source.gives("", "p")
		f.ask(t, false)
		time.Sleep(refreshAfter)
		give := f.source.give
		f.source.give = func(ctx context.Context, k key) ([]verifier.Attestation, error) {
			if attestations.IsInsufficient(ctx) {
				t.Error("a refresh said that what is known does not suffice")
			}
			return give(ctx, k)
		}
		f.ask(t, false)
		synctest.Wait()
		if f.source.count() != 2 {
			t.Errorf("asked %d times", f.source.count())
		}
	})
}
