// Package documented compares what programs expose with what docs/cluster.md says of it.
package documented

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
)

var cell = regexp.MustCompile("`(kritis_[a-z_]+)(?:\\{([a-z,]+)\\})?`")

// Metrics fails a test if a metric is not in the table of the page, or is there with other labels. It returns how many it
// compared.
func Metrics(t testing.TB, page string, families []*dto.MetricFamily) int {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{}
	for row := range strings.Lines(string(text)) {
		if first, _, ok := strings.Cut(strings.TrimPrefix(row, "| "), " | "); ok && strings.HasPrefix(row, "| `") {
			for _, m := range cell.FindAllStringSubmatch(first, -1) {
				labels[m[1]] = m[2]
			}
		}
	}
	for _, f := range families {
		want, ok := labels[f.GetName()]
		if !ok {
			t.Errorf("%s does not have %s", page, f.GetName())
			continue
		}
		for _, m := range f.GetMetric() {
			var have []string
			for _, l := range m.GetLabel() {
				have = append(have, l.GetName())
			}
			said := strings.Split(want, ",")
			if want == "" {
				said = nil
			}
			slices.Sort(said)
			if !slices.Equal(have, said) {
				t.Errorf("%s has labels %v, %s says %v", f.GetName(), have, page, said)
				break
			}
		}
	}
	return len(families)
}
