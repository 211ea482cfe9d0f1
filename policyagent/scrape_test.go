package policyagent

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/kritis-node/kritis-node/policyagent/nodereport"
	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/test/documented"
)

// plugged serves as a plugin's socket what answer writes, and returns what an agent with that socket exposes.
func plugged(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	dir := t.TempDir()
	if answer != nil {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", dir+"/p")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: answer, ReadHeaderTimeout: time.Minute}
		go server.Serve(l)
		defer server.Close()
	}
	f := start(t, dir, func(c *Config) { c.PluginSocket = dir + "/p" })
	code, body := get(t, f.Handler(), "/metrics")
	if code != 200 || !strings.Contains(body, "kritis_policyagent_policy_generation") {
		t.Errorf("%d %s", code, body)
	}
	return body
}

func text(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			fmt.Fprint(w, s)
		}
	}
}

func TestThePluginsMetrics(t *testing.T) {
	const good = "# HELP kritis_plugin_x h\n# TYPE kritis_plugin_x counter\nkritis_plugin_x{a=\"b\"} 7\n# TYPE kritis_plugin_h histogram\nkritis_plugin_h_bucket{le=\"1\"} 1\nkritis_plugin_h_bucket{le=\"+Inf\"} 2\nkritis_plugin_h_sum 3\nkritis_plugin_h_count 2\n"
	body := plugged(t, text(good+"# TYPE kritis_policyagent_policy_generation gauge\nkritis_policyagent_policy_generation 99\nup 1\n"))
	for _, want := range []string{`kritis_plugin_x{a="b"} 7`, `kritis_plugin_h_bucket{le="+Inf"} 2`, "kritis_policyagent_plugin_up 1", "kritis_policyagent_policy_generation 0"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
	if strings.Contains(body, "\nup 1") || strings.Contains(body, " 99") {
		t.Errorf("the plugin speaks for others:\n%s", body)
	}
	long := func(n int) string {
		return good + strings.Repeat("#"+strings.Repeat("c", 126)+"\n", (n-len(good))/128) + strings.Repeat("\n", (n-len(good))%128)
	}
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "kritis_plugin_x{a=\"%d\"} 1\n", i)
		}
		return b.String()
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		up     int
	}{
		"absent":    {nil, 0},
		"garbage":   {text("<html>"), 0},
		"an error":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, 0},
		"full size": {text(long(maxScrape)), 1},
		"too large": {text(long(maxScrape + 1)), 0},
		"full":      {text(many(maxSeries)), 1},
		"too many":  {text(many(maxSeries + 1)), 0},
		"cut short": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, good)
		}, 0},
		"never answers": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 0},
	} {
		began := time.Now()
		body := plugged(t, c.answer)
		if !strings.Contains(body, fmt.Sprintf("kritis_policyagent_plugin_up %d", c.up)) || strings.Contains(body, "kritis_plugin_x{") != (c.up == 1) {
			t.Errorf("%s: not %d", name, c.up)
		}
		if took := time.Since(began); took > 10*scrapeTimeout {
			t.Errorf("%s took %s", name, took)
		}
	}
}

func TestMetricsAreDocumented(t *testing.T) {
	f := start(t, t.TempDir(), func(c *Config) { c.PluginSocket = "/nonexistent/p" })
	f.policies.say(document("one"), nil)
	f.Report(nodestate.Report{Mode: nodereport.ModeBestEffort, Gaps: []nodestate.Gap{{Code: "NotRequired"}}})
	_, body := get(t, f.Handler(), "/metrics")
	parser := expfmt.NewTextParser(model.LegacyValidation)
	parsed, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if n := documented.Metrics(t, "../docs/cluster.md", slices.Collect(maps.Values(parsed))); n < 20 {
		t.Errorf("%d metrics only", n)
	}
}
