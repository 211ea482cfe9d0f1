package policyagent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/policyagent/policydir"
	"github.com/kritis-node/kritis-node/verifier"
)

// signalling tells when the agent has dealt with a change.
type signalling struct {
	PolicySource
	applied chan<- struct{}
}

func (s signalling) Watch(ctx context.Context, onChange func(verifier.Document, []string, error)) error {
	return s.PolicySource.Watch(ctx, func(d verifier.Document, notices []string, err error) {
		onChange(d, notices, err)
		s.applied <- struct{}{}
	})
}

// The whole way: a folder of YAML, a source, the socket, and what the plugin reads.
func TestAgent(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "policies")
	write := func(name string) {
		t.Helper()
		yaml := "apiVersion: kritis.grafeas.io/v1beta1\nkind: GenericAttestationPolicy\nmetadata: {name: " + name + "}\nspec: {attestationAuthorityNames: [qa]}\n"
		if err := errors.Join(os.MkdirAll(folder, 0o755), os.WriteFile(folder+"/p.yaml", []byte(yaml), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	applied := make(chan struct{}, 100)
	f := start(t, dir, func(c *Config) { c.Policies = signalling{policydir.Folder(folder), applied} })
	f.source.gives("", "payload")
	reader, err := nodestate.Open(dir + "/state")
	if err != nil {
		t.Fatal(err)
	}
	await := func(name string) nodestate.Policy {
		t.Helper()
		for deadline := time.After(within); ; {
			select {
			case <-applied:
			case <-deadline:
				t.Fatalf("policy %q did not come", name)
			}
			if p, err := reader.Policy(); err == nil && p.Document.Policies[0].Name == name {
				return p
			}
		}
	}
	first := await("one")
	write("two")
	second := await("two")
	if second.Generation <= first.Generation || first.Generation == 0 || second.Source != "folder "+folder || len(second.Problems) == 0 {
		t.Errorf("first %+v, second %+v", first, second)
	}
	client := nodestate.NewClient(dir + "/s")
	defer client.Close()
	resp, err := client.Fetch(t.Context(), nodestate.FetchRequest{Repository: testRepository, Digests: []verifier.Digest{digest('a'), digest('b'), digest('a')}})
	if err != nil || len(resp.Failures) > 0 {
		t.Fatalf("%+v, %v", resp, err)
	}
	for _, c := range []byte("ab") {
		r, err := reader.Attestations(testRepository, digest(c))
		if err != nil || len(r.Attestations) != 1 || len(r.Failures) != 0 {
			t.Errorf("%c: %+v, %v", c, r, err)
		}
	}
	if f.source.count() != 2 {
		t.Errorf("the source was asked %d times", f.source.count())
	}
	f.stop()
	s, err := reader.Status()
	if err != nil || s.PolicyGeneration != second.Generation || s.Fetches.Complete != 2 || s.StoppedAt.IsZero() || s.Version != "v1" || s.PID != os.Getpid() ||
		len(s.Sources) != 1 || s.Sources[0].Asked != 2 || s.PolicySource != "folder "+folder || s.PolicyProblems != len(second.Problems) {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestGenerationsAcrossRestarts(t *testing.T) {
	dir := t.TempDir()
	f := start(t, dir)
	f.policies.say(document("one"), nil)
	f.policies.say(document("two"), nil)
	before, err := f.state.Policy()
	if err != nil {
		t.Fatal(err)
	}
	f.stop()
	f = start(t, dir)
	if g := f.Status().PolicyGeneration; g != before.Generation {
		t.Errorf("before the first load the status has generation %d, want %d", g, before.Generation)
	}
	f.policies.say(document("two"), nil)
	after, err := f.state.Policy()
	if err != nil || !cmp.Equal(before, after) {
		t.Errorf("an unchanged policy was written again: %s (%v)", cmp.Diff(before, after), err)
	}
	f.policies.say(document("three"), nil)
	if after, err = f.state.Policy(); err != nil || after.Generation <= before.Generation {
		t.Errorf("generation %d after %d (%v)", after.Generation, before.Generation, err)
	}
}

func TestBrokenPoliciesChangeNothing(t *testing.T) {
	f := start(t, t.TempDir())
	f.policies.say(document("good"), nil)
	before, err := f.state.Policy()
	if err != nil {
		t.Fatal(err)
	}
	f.policies.say(verifier.Document{}, errors.New("f.yaml:3: spec.x: there is no such field"))
	if after, err := f.state.Policy(); err != nil || !cmp.Equal(before, after) {
		t.Errorf("%s (%v)", cmp.Diff(before, after), err)
	}
	if s := f.Status(); s.PolicyError != "f.yaml:3: spec.x: there is no such field" || s.PolicyGeneration != before.Generation {
		t.Errorf("%+v", s)
	}
	if !strings.Contains(f.logs.String(), "the last good ones stay in force") {
		t.Error(f.logs.String())
	}
	f.policies.say(document("good"), nil)
	if s := f.Status(); s.PolicyError != "" || s.PolicyGeneration != before.Generation {
		t.Errorf("after it was mended: %+v", s)
	}
	f.policies.say(verifier.Document{}, errors.New(strings.Repeat("x", 2*maxPolicyError)))
	if n := len(f.Status().PolicyError); n != maxPolicyError+len("…") {
		t.Errorf("an error of %d bytes in the status", n)
	}
}

// A source of policies tells each change once, so a full disk must not lose it.
func TestPoliciesThatCannotBeWrittenAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, _, logs := testConfig(t.TempDir())
		a, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.tick(ctx) }()
		obstacle := filepath.Join(c.StateDir, "policy.json")
		if err := os.Mkdir(obstacle, 0o755); err != nil {
			t.Fatal(err)
		}
		a.applyPolicy(document("one"), nil, nil)
		if s := a.Status(); s.PolicyError == "" || s.PolicyGeneration != 0 {
			t.Errorf("%+v", s)
		}
		a.applyPolicy(verifier.Document{}, nil, errors.New("broken since"))
		if err := os.Remove(obstacle); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * tickEvery)
		synctest.Wait()
		if p, err := a.state.Policy(); err != nil || p.Document.Policies[0].Name != "one" {
			t.Errorf("%+v, %v", p, err)
		}
		if s := a.Status(); s.PolicyError != "broken since" || s.PolicyGeneration == 0 {
			t.Errorf("%+v", s)
		}
		if a.pending.said != nil || strings.Contains(logs.String(), "unchanged") {
			t.Error("it was written and is tried again")
		}
		if !strings.Contains(logs.String(), "policies cannot be written") {
			t.Error(logs.String())
		}
		cancel()
		<-done
	})
}

// What was written comes back, whatever happened to it, and nothing is written again that is there.
func TestPoliciesThatWereSpoiltComeBack(t *testing.T) {
	for name, spoil := range map[string]func(file string) error{
		"deleted":   os.Remove,
		"truncated": func(file string) error { return os.Truncate(file, 40) },
		"a bit flipped": func(file string) error {
			data, err := os.ReadFile(file)
			if err == nil {
				data[len(data)/2] ^= 1
				err = os.WriteFile(file, data, 0o644)
			}
			return err
		},
		"an older one put there": func(file string) error { return os.Rename(file+".old", file) },
		"the folder emptied": func(file string) error {
			entries, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*"))
			for _, e := range entries {
				err = errors.Join(err, os.RemoveAll(e))
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _, _, logs := testConfig(t.TempDir())
				a, err := New(c)
				if err != nil {
					t.Fatal(err)
				}
				defer a.Close()
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- a.tick(ctx) }()
				file := filepath.Join(c.StateDir, "policy.json")
				a.applyPolicy(document("one"), nil, nil)
				if err := os.Link(file, file+".old"); err != nil {
					t.Fatal(err)
				}
				a.applyPolicy(document("two"), nil, nil)
				before := a.Status().PolicyGeneration
				time.Sleep(3 * tickEvery)
				synctest.Wait()
				if p, err := a.state.Policy(); err != nil || p.Generation != before {
					t.Fatalf("it was written again: generation %d after %d, %v", p.Generation, before, err)
				}
				if err := spoil(file); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * tickEvery)
				synctest.Wait()
				p, err := a.state.Policy()
				if err != nil || p.Document.Policies[0].Name != "two" || !strings.Contains(logs.String(), "not those that were written") {
					t.Errorf("%+v, %v", p, err)
				}
				if err := a.state.WriteRecord(nodestate.Record{Repository: testRepository, Digest: digest('a')}); err != nil {
					t.Error(err)
				}
				cancel()
				<-done
			})
		})
	}
}

func TestUnsafeDryRun(t *testing.T) {
	f := start(t, t.TempDir(), func(c *Config) { c.UnsafeDryRun = true })
	f.policies.say(document("one"), nil)
	if p, err := f.state.Policy(); err != nil || !p.Document.DryRun {
		t.Errorf("%+v, %v", p, err)
	}
	if !f.Status().UnsafeDryRun || !strings.Contains(f.logs.String(), "unsafe: dry run is on") {
		t.Error("it is not shown")
	}
	safe := start(t, t.TempDir())
	safe.policies.say(document("one"), nil)
	if p, err := safe.state.Policy(); err != nil || p.Document.DryRun {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestNewRefuses(t *testing.T) {
	many := make([]attestations.Source, maxSources+1)
	for i := range many {
		many[i] = &source{}
	}
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no policies":      {func(c *Config) { c.Policies = nil }, "no source of policies"},
		"no sources":       {func(c *Config) { c.Sources = nil }, "no source of attestations"},
		"too many sources": {func(c *Config) { c.Sources = many }, "17 sources of attestations and may be 16"},
		"no logger":        {func(c *Config) { c.Logger = nil }, "no logger"},
		"records":          {func(c *Config) { c.MaxRecords = -1 }, "negative"},
		"socket":           {func(c *Config) { c.Socket = "/tmp/" + strings.Repeat("x", 200) }, "socket path"},
	} {
		config, _, _, _ := testConfig(t.TempDir())
		c.change(&config)
		if _, err := New(config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		// What was taken on the way was given back.
		good, _, _, _ := testConfig(filepath.Dir(config.StateDir))
		a, err := New(good)
		if err != nil {
			t.Errorf("%s, afterwards: %v", name, err)
			continue
		}
		if _, err := New(good); err == nil || !strings.Contains(err.Error(), "another policy agent is running") {
			t.Errorf("a second agent: %v", err)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	config, _, _, _ := testConfig(t.TempDir())
	config.Sources = many[:maxSources]
	a, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
}

func TestRunEndsWhenAPartFails(t *testing.T) {
	c, _, _, _ := testConfig(t.TempDir())
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	a.listener.Close()
	if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "serving the socket") {
		t.Errorf("%v", err)
	}
}

func TestOldRecordsAreRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, _, _ := testConfig(t.TempDir())
		c.MaxRecords = 1
		a, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		for _, d := range []byte("abc") {
			if err := a.state.WriteRecord(nodestate.Record{Repository: testRepository, Digest: digest(d)}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), pruneEvery+time.Second)
		defer cancel()
		if err := a.tick(ctx); err != nil {
			t.Fatal(err)
		}
		left := 0
		for _, d := range []byte("abc") {
			if _, err := a.state.Attestations(testRepository, digest(d)); err == nil {
				left++
			}
		}
		if left != 1 {
			t.Errorf("%d records are left", left)
		}
	})
}
