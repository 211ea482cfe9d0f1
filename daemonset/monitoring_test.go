package daemonset

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

var (
	// documented finds metrics in the tables of docs/cluster.md, which a test beside them compares with what the code exposes.
	documented = regexp.MustCompile("`(kritis_[a-z_]+)(?:\\{([a-z,]*)\\})?`")
	// described finds those of the controller, where they are made.
	described = regexp.MustCompile(`NewDesc\("(kritis_controller_[a-z_]+)", "[^"]*", \[\]string\{([^}]*)\}`)
	inQuery   = regexp.MustCompile(`\b(kritis_[a-z_]+)(?:\{([^}]*)\})?`)
	matcher   = regexp.MustCompile(`^([a-z_]+)(?:=|!=|=~|!~)"[^"]*"$`)
	grouping  = regexp.MustCompile(`\bby \(([^)]*)\)`)
)

// metrics returns the labels of every metric that there is, by name.
func metrics(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, m := range documented.FindAllStringSubmatch(readFile(t, "../docs/cluster.md"), -1) {
		all[m[1]] = strings.Split(m[2], ",")
	}
	controller := described.FindAllStringSubmatch(readFile(t, "../policyagent/controller/metrics.go"), -1)
	for _, m := range controller {
		all[m[1]] = strings.Split(strings.ReplaceAll(strings.ReplaceAll(m[2], `"`, ""), " ", ""), ",")
	}
	if len(controller) < 3 {
		t.Fatalf("the controller has %d metrics: where are they?", len(controller))
	}
	if len(all) < 30 {
		t.Fatalf("docs/cluster.md names %d metrics: where are they?", len(all))
	}
	return all
}

// checkQuery says what is wrong with a query, as far as can be told without Prometheus: names, labels, brackets.
func checkQuery(known map[string][]string, query string) (complaints []string) {
	found := inQuery.FindAllStringSubmatch(query, -1)
	if len(found) == 0 {
		complaints = append(complaints, "it names no metric")
	}
	labels := []string{"instance", "node", "le"} // those of a scrape, and of a histogram
	for _, m := range found {
		name := m[1]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if _, ok := known[name]; !ok {
				name = strings.TrimSuffix(m[1], suffix)
			}
		}
		own, ok := known[name]
		if !ok {
			complaints = append(complaints, "there is no metric "+m[1])
		}
		labels = append(labels, own...)
		for part := range strings.SplitSeq(m[2], ",") {
			if label := matcher.FindStringSubmatch(strings.TrimSpace(part)); m[2] != "" && (label == nil || !slices.Contains(own, label[1])) {
				complaints = append(complaints, m[1]+" has no "+part)
			}
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(query, -1) {
		for label := range strings.SplitSeq(g[1], ",") {
			if !slices.Contains(labels, strings.TrimSpace(label)) {
				complaints = append(complaints, "nothing has label "+label)
			}
		}
	}
	for _, pair := range []string{"()", "[]", "{}"} {
		if strings.Count(query, pair[:1]) != strings.Count(query, pair[1:]) {
			complaints = append(complaints, "brackets do not match: "+pair)
		}
	}
	return complaints
}

func TestAlertsAreAboutWhatThereIs(t *testing.T) {
	var rules struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []struct {
				Alert       string            `json:"alert"`
				Expr        string            `json:"expr"`
				For         string            `json:"for"`
				Labels      map[string]string `json:"labels"`
				Annotations map[string]string `json:"annotations"`
			} `json:"rules"`
		} `json:"groups"`
	}
	if err := yaml.UnmarshalStrict([]byte(readFile(t, "chart/monitoring/rules.yaml")), &rules); err != nil {
		t.Fatal(err)
	}
	known, seen := metrics(t), map[string]bool{}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			for _, c := range checkQuery(known, r.Expr) {
				t.Errorf("%s: %s", r.Alert, c)
			}
			if seen[r.Alert] || !slices.Contains([]string{"info", "warning", "critical"}, r.Labels["severity"]) || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s: is there twice, or has no severity, summary or description", r.Alert)
			}
			seen[r.Alert] = true
		}
	}
	if len(seen) < 10 {
		t.Errorf("%d alerts", len(seen))
	}
}

func TestDashboardShowsWhatThereIs(t *testing.T) {
	var dashboard struct {
		Panels []struct {
			ID      int    `json:"id"`
			Title   string `json:"title"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal([]byte(readFile(t, "chart/monitoring/dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	known, queries := metrics(t), 0
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			queries++
			for _, c := range checkQuery(known, target.Expr) {
				t.Errorf("%s: %s", p.Title, c)
			}
		}
	}
	if queries < 15 {
		t.Errorf("%d queries", queries)
	}
}

// The check itself must see what is wrong.
func TestQueriesAreChecked(t *testing.T) {
	known := map[string][]string{"kritis_a_total": {"why"}, "kritis_b_seconds": {""}}
	for query, good := range map[string]bool{
		`sum by (why) (rate(kritis_a_total{why="x"}[5m]))`: true, `kritis_b_seconds_bucket`: true, `max by (instance) (kritis_b_seconds)`: true,
		`kritis_c`: false, `kritis_a_total{mode="x"}`: false, `sum by (mode) (kritis_a_total)`: false, `rate(kritis_a_total[5m]`: false, `up`: false,
		`kritis_a_total{why=x}`: false,
	} {
		if got := checkQuery(known, query); (len(got) == 0) != good {
			t.Errorf("%s: %v", query, got)
		}
	}
}
