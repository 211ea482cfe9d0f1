package acr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/kritis-node/kritis-node/policyagent/alicloud"
	"github.com/kritis-node/kritis-node/verifier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	digest = verifier.Digest("sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
	public = "team-registry.cn-hangzhou.cr.aliyuncs.com"
	repo   = public + "/ns/group/app"
)

// cloud is an account with one instance in each region.
type cloud struct {
	mu          sync.Mutex
	lists       []string // regions
	calls       []string // instance, note and URI
	logins      int
	listErr     error
	noInstances bool
	callErr     map[string]error // by note
	loginErr    error
	occurrences func(note, uri string) []alicloud.Occurrence
	hold        chan struct{} // lists and logins wait for it
}

func (c *cloud) Instances(ctx context.Context, region string) ([]alicloud.Instance, error) {
	c.mu.Lock()
	c.lists = append(c.lists, region)
	err, hold := c.listErr, c.hold
	c.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if c.noInstances {
		return nil, err
	}
	return []alicloud.Instance{{ID: "cri-" + region, Name: "team", Region: region}}, err
}

func (c *cloud) Occurrences(_ context.Context, i alicloud.Instance, note, uri string) ([]alicloud.Occurrence, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, i.ID+" "+note+" "+uri)
	if c.occurrences == nil {
		return nil, c.callErr[note]
	}
	return c.occurrences(note, uri), c.callErr[note]
}

func (c *cloud) RegistryLogin(ctx context.Context, i alicloud.Instance) (alicloud.Login, error) {
	c.mu.Lock()
	c.logins++
	n, err, hold := c.logins, c.loginErr, c.hold
	c.mu.Unlock()
	if hold != nil {
		<-hold
	}
	return alicloud.Login{User: "u", Password: fmt.Sprintf("p%d of %s", n, i.ID), Expires: time.Now().Add(time.Hour)}, err
}

func notesOf(notes ...string) func(context.Context) ([]string, error) {
	return func(context.Context) ([]string, error) { return notes, nil }
}

func newSource(t *testing.T, c *cloud, notes func(context.Context) ([]string, error), custom ...Host) *Source {
	t.Helper()
	s, err := New(Config{Cloud: c, Hosts: custom, Notes: notes})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func occurrence(uri, payload string) alicloud.Occurrence {
	return alicloud.Occurrence{NoteName: "namespaces/qa", ResourceURI: uri, Payload: []byte(payload), Signatures: []alicloud.OccurrenceSignature{{KeyID: "key-1", Value: []byte("s")}}}
}

func TestPlaces(t *testing.T) {
	h, err := newHosts([]Host{{"images.example", "team", "cn-shanghai"}, {"images.example:5000", "other", "eu-central-1"}})
	if err != nil {
		t.Fatal(err)
	}
	for repository, want := range map[string]string{
		repo: "team cn-hangzhou",
		"team-registry-vpc.cn-hangzhou.cr.aliyuncs.com/a/b":        "team cn-hangzhou",
		"team.cn-hangzhou.cr.aliyuncs.com/a/b":                     "team cn-hangzhou",
		"my-team-registry.ap-southeast-1.cr.aliyuncs.com/a":        "my-team ap-southeast-1",
		"x-registry-registry.cn-beijing.cr.aliyuncs.com/a":         "x-registry cn-beijing",
		"team-registry.cn-north-2-gov-1.cr.aliyuncs.com/a":         "team cn-north-2-gov-1",
		"team-vpc.cn-hangzhou.cr.aliyuncs.com/a":                   "team-vpc cn-hangzhou",
		"images.example/a":                                         "team cn-shanghai",
		"images.example:5000/a":                                    "other eu-central-1",
		"images.example:5001/a":                                    "",
		"crpi-1.cn-hangzhou.personal.cr.aliyuncs.com/a":            "",
		"registry.cn-hangzhou.aliyuncs.com/acs/pause":              "",
		"registry-vpc.cn-hangzhou.aliyuncs.com/acs/pause":          "",
		"team-registry.cn-hangzhou.cr.aliyuncs.com.evil.example/a": "",
		"team-registry.cn-hangzhou.cr.aliyuncs.com:5000/a":         "",
		"evil.example/team-registry.cn-hangzhou.cr.aliyuncs.com/a": "",
		"team-registry.cn-hangzhou.evil.example.cr.aliyuncs.com/a": "",
		"team-registry.cnhangzhou.cr.aliyuncs.com/a":               "",
		"-registry.cn-hangzhou.cr.aliyuncs.com/a":                  "",
		"a.team-registry.cn-hangzhou.cr.aliyuncs.com/a":            "",
		public:                    "",
		"docker.io/library/nginx": "",
	} {
		p, ok := h.place(repository)
		if got := strings.TrimSpace(p.instance + " " + p.region); got != want || ok != (want != "") {
			t.Errorf("%s: %q %v, want %q", repository, got, ok, want)
		}
	}
}

func TestHostsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		host Host
		want string
	}{
		"no host":  {Host{"", "team", "cn-hangzhou"}, "not a registry's host"},
		"path":     {Host{"a.example/b", "team", "cn-hangzhou"}, "not a registry's host"},
		"case":     {Host{"A.example", "team", "cn-hangzhou"}, "not a registry's host"},
		"instance": {Host{"a.example", "", "cn-hangzhou"}, "not the name of an instance"},
		"region":   {Host{"a.example", "team", "evil.example/"}, "not a region"},
		"twice":    {Host{"b.example", "team", "cn-hangzhou"}, "there twice"},
	} {
		if _, err := newHosts([]Host{{"b.example", "team", "cn-hangzhou"}, c.host}); err == nil || !strings.Contains(err.Error(), "hosts[1].") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if h, err := ParseHost("images.example:5000=cn-hangzhou/team"); err != nil || h != (Host{"images.example:5000", "team", "cn-hangzhou"}) {
		t.Errorf("%+v, %v", h, err)
	}
	for _, s := range []string{"", "images.example", "images.example=team"} {
		if _, err := ParseHost(s); err == nil {
			t.Errorf("%q is no error", s)
		}
	}
}

func TestAttestations(t *testing.T) {
	c := &cloud{occurrences: func(note, uri string) []alicloud.Occurrence {
		if note != "namespaces/qa" {
			return nil
		}
		return []alicloud.Occurrence{
			occurrence(uri, "one"), occurrence("", "without a URI"), occurrence(uri, "one"), // twice
			occurrence("https://"+repo+"@sha256:"+strings.Repeat("b", 64), "another image's"),
			occurrence(uri, `{"critical":{"type":"cosign container image signature"}}`),
		}
	}}
	s := newSource(t, c, notesOf("namespaces/qa", "namespaces/sec", "namespaces/qa", "projects/p/notes/n"))
	found, err := s.Attestations(t.Context(), repo, digest)
	if err != nil || len(found) != 3 {
		t.Fatalf("%+v, %v", found, err)
	}
	want := verifier.Attestation{Format: verifier.FormatKritis, Payload: []byte("one"), Source: "acr team, note namespaces/qa", Signatures: []verifier.Signature{{KeyID: "key-1", Value: []byte("s")}}}
	if got := fmt.Sprintf("%+v", found[0]); got != fmt.Sprintf("%+v", want) || found[2].Format != verifier.FormatCosign {
		t.Errorf("%+v", found)
	}
	uri := "https://" + repo + "@" + string(digest)
	if want := []string{"cri-cn-hangzhou namespaces/qa " + uri, "cri-cn-hangzhou namespaces/sec " + uri}; !slices.Equal(c.calls, want) {
		t.Errorf("calls %q", c.calls)
	}
	if !s.Covers(repo) || s.Covers("docker.io/library/nginx") || s.Name() != "acr (experimental)" {
		t.Error("covers or name")
	}
	// Other registries are somebody else's, without a call.
	if found, err := s.Attestations(t.Context(), "docker.io/library/nginx", digest); err != nil || found != nil || len(c.calls) != 2 || len(c.lists) != 1 {
		t.Errorf("%v, %v, %v", found, err, c.lists)
	}
}

// Without notes, and with more than are worth a call each, one call asks for all.
func TestNotes(t *testing.T) {
	many := func(n int) (notes []string) {
		for i := range n {
			notes = append(notes, fmt.Sprintf("namespaces/%d", i))
		}
		return notes
	}
	for name, c := range map[string]struct {
		notes []string
		calls int
		all   bool
	}{
		"none":     {nil, 1, true},
		"foreign":  {[]string{"projects/p/notes/n"}, 1, true},
		"one":      {many(1), 1, false},
		"as many":  {many(maxNotes), maxNotes, false},
		"one more": {many(maxNotes + 1), 1, true},
	} {
		cl := &cloud{}
		if _, err := newSource(t, cl, notesOf(c.notes...)).Attestations(t.Context(), repo, digest); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(cl.calls) != c.calls || c.all != strings.Contains(cl.calls[0], "cri-cn-hangzhou  https") {
			t.Errorf("%s: %q", name, cl.calls)
		}
	}
	_, err := newSource(t, &cloud{}, func(context.Context) ([]string, error) { return nil, errors.New("away") }).Attestations(t.Context(), repo, digest)
	if err == nil || !strings.Contains(err.Error(), "the notes of authorities are not known: away") {
		t.Errorf("%v", err)
	}
}

// A note that fails makes the answer incomplete, and hides nothing of the others.
func TestFailures(t *testing.T) {
	c := &cloud{callErr: map[string]error{"namespaces/a": errors.New("denied\nhere")}, occurrences: func(note, uri string) []alicloud.Occurrence {
		return []alicloud.Occurrence{occurrence(uri, note)}
	}}
	found, err := newSource(t, c, notesOf("namespaces/a", "namespaces/b")).Attestations(t.Context(), repo, digest)
	if len(found) != 2 || err == nil || err.Error() != "instance team, note namespaces/a: denied here" {
		t.Errorf("%v, %v", found, err)
	}
	c = &cloud{occurrences: func(_, uri string) (all []alicloud.Occurrence) {
		for i := range verifier.MaxAttestations + 1 {
			all = append(all, occurrence(uri, fmt.Sprint(i)))
		}
		return all
	}}
	if found, err := newSource(t, c, notesOf()).Attestations(t.Context(), repo, digest); len(found) != verifier.MaxAttestations || err == nil {
		t.Errorf("%d, %v", len(found), err)
	}
}

func TestInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cloud{hold: make(chan struct{})}
		s := newSource(t, c, notesOf("namespaces/qa"))
		ask := func(repository, failure string) {
			t.Helper()
			if _, err := s.Attestations(t.Context(), repository, digest); failure == "" && err != nil || failure != "" && (err == nil || !strings.Contains(err.Error(), failure)) {
				t.Errorf("%s: %v, want %q", repository, err, failure)
			}
		}
		lists := func(want int) {
			t.Helper()
			if c.mu.Lock(); len(c.lists) != want {
				t.Errorf("%d lists, want %d", len(c.lists), want)
			}
			c.mu.Unlock()
		}
		// However many ask, there is one list; and one that waits no longer does not end it for the others.
		var wg sync.WaitGroup
		ended, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			if _, err := s.Attestations(ended, repo, digest); !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		})
		synctest.Wait() // it is this one's list that the others wait for
		for range 20 {
			wg.Go(func() { ask(repo, "") })
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(c.hold)
		wg.Wait()
		lists(1)
		time.Sleep(instancesFor - time.Second)
		ask(repo, "")
		lists(1)
		time.Sleep(time.Second)
		ask(repo, "")
		lists(2)
		time.Sleep(againAfter)
		// A name that is not there is looked for again a little later, not sooner, however many ask.
		unknown := "unknown-registry.cn-hangzhou.cr.aliyuncs.com/a"
		for range 50 {
			ask(unknown, `this account has no ACR instance "unknown" in cn-hangzhou`)
		}
		lists(3)
		time.Sleep(againAfter - time.Nanosecond)
		ask(unknown, "this account has no ACR instance")
		lists(3)
		time.Sleep(time.Nanosecond)
		ask(unknown, "this account has no ACR instance")
		lists(4)
		// Other regions are lists of their own.
		ask("team-registry.eu-central-1.cr.aliyuncs.com/a", "")
		lists(5)
		// A failure does not last.
		c.listErr = errors.New("throttled")
		ask("team-registry.cn-beijing.cr.aliyuncs.com/a", "listing the ACR instances of cn-beijing: throttled")
		ask("unknown-registry.cn-beijing.cr.aliyuncs.com/a", "throttled")
		lists(6)
		c.listErr = nil
		time.Sleep(againAfter)
		ask("team-registry.cn-beijing.cr.aliyuncs.com/a", "")
		lists(7)
		// Names of images cannot make it remember, or ask about, regions without end.
		for i := range maxRegions {
			_, _ = s.Attestations(t.Context(), fmt.Sprintf("team-registry.xx-%d.cr.aliyuncs.com/a", i), digest)
		}
		ask("team-registry.xx-99.cr.aliyuncs.com/a", "more than 32 regions")
		if n := len(s.instances.regions); n != maxRegions {
			t.Errorf("%d regions", n)
		}
		time.Sleep(instancesFor)
		ask("team-registry.xx-99.cr.aliyuncs.com/a", "")
	})
}

// An instance that was listed is believed in while lists fail or are empty: a cloud that fails must not deny what is attested.
func TestInstancesStay(t *testing.T) {
	for name, fail := range map[string]func(*cloud){
		"list fails": func(c *cloud) { c.listErr = errors.New("throttled") }, "list is empty": func(c *cloud) { c.noInstances = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &cloud{}
				s := newSource(t, c, notesOf("namespaces/qa"))
				find := func(want bool) {
					t.Helper()
					if _, err := s.instances.find(t.Context(), place{"team", "cn-hangzhou"}); (err == nil) != want {
						t.Errorf("after %d lists: %v", len(c.lists), err)
					}
				}
				find(true)
				fail(c)
				time.Sleep(instancesFor)
				for range 10 {
					find(true)
				}
				if len(c.lists) != 2 {
					t.Errorf("%d lists", len(c.lists))
				}
				time.Sleep(againAfter)
				find(true)
				if len(c.lists) != 3 {
					t.Errorf("%d lists", len(c.lists))
				}
				time.Sleep(keptFor - instancesFor - againAfter - time.Second)
				find(true)
				time.Sleep(againAfter)
				find(false)
				c.listErr, c.noInstances = nil, false
				find(false)
				time.Sleep(againAfter)
				find(true)
			})
		})
	}
}

func TestNeeds(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a source without a cloud")
	}
	if _, err := NewKeychain(nil, nil); err == nil {
		t.Error("a keychain without a cloud")
	}
	if _, err := NewKeychain(&cloud{}, []Host{{}}); err == nil {
		t.Error("a host without a name")
	}
	if _, err := New(Config{Cloud: &cloud{}, Notes: notesOf(), Hosts: make([]Host, maxHosts+1)}); err == nil || !strings.Contains(err.Error(), "1001 custom hosts") {
		t.Errorf("%v", err)
	}
}

func TestKeychain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cloud{}
		k, err := NewKeychain(c, []Host{{"images.example", "team", "cn-hangzhou"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.instances.find(t.Context(), place{"team", "cn-hangzhou"}); err != nil {
			t.Fatal(err)
		}
		c.hold = make(chan struct{}) // logins
		password := func(repository string) string {
			t.Helper()
			configs, err := k.DockerConfigs(t.Context(), repository)
			if err != nil || len(configs) != 1 {
				t.Errorf("%s: %s, %v", repository, configs, err)
				return ""
			}
			var config struct {
				Auths map[string]struct{ Username, Password string }
			}
			host, _, _ := strings.Cut(repository, "/")
			if err := json.Unmarshal(configs[0], &config); err != nil || len(config.Auths) != 1 || config.Auths[host].Username != "u" {
				t.Errorf("%s: %s, %v", repository, configs[0], err)
			}
			return config.Auths[host].Password
		}
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if p := password(repo); p != "p1 of cri-cn-hangzhou" {
					t.Error(p)
				}
			})
		}
		synctest.Wait()
		close(c.hold)
		wg.Wait()
		// The instance's other hosts have the same login, other instances and registries do not.
		for _, r := range []string{"team-registry-vpc.cn-hangzhou.cr.aliyuncs.com/a", "images.example/a"} {
			if p := password(r); p != "p1 of cri-cn-hangzhou" {
				t.Errorf("%s: %s", r, p)
			}
		}
		for _, r := range []string{"docker.io/library/nginx", "evil.example/a", "team-registry.cn-hangzhou.cr.aliyuncs.com.evil.example/a"} {
			if configs, err := k.DockerConfigs(t.Context(), r); configs != nil || err != nil {
				t.Errorf("%s: %s, %v", r, configs, err)
			}
		}
		if _, err := k.DockerConfigs(t.Context(), "other-registry.cn-hangzhou.cr.aliyuncs.com/a"); err == nil {
			t.Error("a login for another account's instance")
		}
		if p := password("team-registry.eu-central-1.cr.aliyuncs.com/a"); p != "p2 of cri-eu-central-1" {
			t.Error(p)
		}
		time.Sleep(time.Hour - renewBefore - time.Second)
		if p := password(repo); p != "p1 of cri-cn-hangzhou" {
			t.Error(p)
		}
		time.Sleep(time.Second)
		if p := password(repo); p != "p3 of cri-cn-hangzhou" {
			t.Error(p)
		}
		// A refusal is the answer for a moment, and holds no password.
		time.Sleep(time.Hour)
		c.loginErr = errors.New("denied")
		for range 3 {
			if configs, err := k.DockerConfigs(t.Context(), repo); configs != nil || err == nil || err.Error() != "a login at ACR instance team: denied" {
				t.Errorf("%s, %v", configs, err)
			}
		}
		if c.logins != 4 {
			t.Errorf("%d calls", c.logins)
		}
		c.loginErr = nil
		time.Sleep(refusedFor)
		if p := password(repo); p != "p5 of cri-cn-hangzhou" {
			t.Error(p)
		}
		time.Sleep(2 * time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := k.DockerConfigs(ctx, repo); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		synctest.Wait()
	})
}

func FuzzPlace(f *testing.F) {
	f.Add(repo)
	f.Add("team.cn-hangzhou.cr.aliyuncs.com/a")
	f.Fuzz(func(t *testing.T, repository string) {
		p, ok := hosts{}.place(repository)
		if !ok {
			return
		}
		// What is called is made of these.
		if !regionForm.MatchString(p.region) || strings.ContainsAny(p.region+p.instance, "./:@?#% \n") || p.instance == "" {
			t.Errorf("%q: %+v", repository, p)
		}
	})
}
