package policyagent

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

func pause() { time.Sleep(10 * time.Millisecond) }

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestProbesAndMetrics(t *testing.T) {
	f := start(t, t.TempDir(), func(c *Config) { c.UnsafeDryRun = true })
	h := f.Handler()
	if code, body := get(t, h, "/readyz"); code != 503 || !strings.Contains(body, "has not answered yet") {
		t.Errorf("before: %d %q", code, body)
	}
	f.policies.say(verifier.Document{}, errors.New("the API server\nis away"))
	if code, body := get(t, h, "/readyz"); code != 503 || !strings.Contains(body, "the API server is away") {
		t.Errorf("failing: %d %q", code, body)
	}
	f.policies.say(document("one"), nil)
	f.policies.say(verifier.Document{}, errors.New("away again"))
	if code, body := get(t, h, "/readyz"); code != 200 {
		t.Errorf("after: %d %q", code, body)
	}
	if code, body := get(t, h, "/healthz"); code != 200 || body != "ok\n" {
		t.Errorf("%d %q", code, body)
	}
	f.source.gives("registry is away")
	f.ask(t, false)
	_, body := get(t, h, "/metrics")
	for _, want := range []string{
		"kritis_policyagent_policy_failing 1", "kritis_policyagent_unsafe_settings 1", `kritis_policyagent_fetches_total{result="incomplete"} 1`,
		`kritis_policyagent_source_failures_total{source="0 test source"} 1`, "kritis_policyagent_policy_age_seconds ", "kritis_policyagent_policy_generation ",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
	if strings.Contains(body, "registry.example") {
		t.Error("a metric names a repository")
	}
}

func TestStuck(t *testing.T) {
	c, _, _, _ := testConfig(t.TempDir())
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for name, since := range map[string]struct {
		age  time.Duration
		want int
	}{"just now": {0, 200}, "a minute": {time.Minute, 200}, "long": {stuckAfter + time.Second, 503}} {
		a.status.beat(time.Now().Add(-since.age))
		if code, body := get(t, a.Handler(), "/healthz"); code != since.want {
			t.Errorf("%s: %d %q", name, code, body)
		}
	}
}

func TestListen(t *testing.T) {
	f := start(t, t.TempDir(), func(c *Config) { c.Listen = "127.0.0.1:0" })
	address := f.telemetry.Addr().String()
	resp, err := http.Get("http://" + address + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if resp.Body.Close(); err != nil || string(body) != "ok\n" {
		t.Errorf("%q, %v", body, err)
	}
	http.DefaultClient.CloseIdleConnections()
	// The address is taken, and what was taken on the way is given back.
	c, _, _, _ := testConfig(t.TempDir())
	c.Listen = address
	if _, err := New(c); err == nil || !strings.Contains(err.Error(), "--listen") {
		t.Error(err)
	}
	c.Listen = ""
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
}

// What a source cannot understand is written with what cannot be compiled, and makes a generation.
func TestProblemsOfTheSource(t *testing.T) {
	f := start(t, t.TempDir())
	read := func() nodestate.Policy {
		t.Helper()
		p, err := f.state.Policy()
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	f.policies.say(document("one"), nil)
	before := read()
	problem := verifier.Problem{Object: "GenericAttestationPolicy default/one", Field: "spec", Code: "ObjectUnreadable", Text: "x"}
	f.policies.sayAll(policyChange{document: document("one"), problems: []verifier.Problem{problem}})
	after := read()
	if after.Generation <= before.Generation || !cmp.Equal(after.Problems, slices.Concat([]verifier.Problem{problem}, before.Problems)) {
		t.Errorf("%+v", after)
	}
	if f.Status().PolicyProblems != len(after.Problems) {
		t.Errorf("%+v", f.Status())
	}
}
