package nodereport

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func testReport() Report {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	return Report{
		Node: "n1", Version: "v1", Mode: ModeBestEffort, Gaps: []Gap{{"NotRequired", "a < b & c"}}, At: at,
		Plugin: &Plugin{Version: "v1", Placement: PlacementPod, Started: at, Runtime: "containerd v2.4.2", Decisions: map[string]uint64{"denied": 1}, HeardAt: at},
		Policy: Policy{Generation: 7, WrittenAt: at, ConfirmedAt: at, Error: "e", Problems: 2}, LastDenial: &Denial{at, "prod", "web", "image", "NotAttested"},
	}
}

func TestReport(t *testing.T) {
	value, err := testReport().Encode()
	if err != nil || strings.Contains(value, "\n") {
		t.Fatalf("%v: %s", err, value)
	}
	got, err := Parse(value)
	if err != nil || !cmp.Equal(got, testReport()) {
		t.Errorf("%v: %s", err, cmp.Diff(got, testReport()))
	}
}

func TestLimits(t *testing.T) {
	size := func(n int) Report { // whose JSON has so many bytes
		r := Report{Node: "n", Mode: "m"}
		value, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		r.Mode += strings.Repeat("<", n-len(value))
		return r
	}
	value, err := size(maxReport).Encode()
	if err != nil || len(value) != maxReport {
		t.Fatalf("%v, %d bytes", err, len(value))
	}
	if _, err := size(maxReport + 1).Encode(); err == nil {
		t.Error("one byte more is taken")
	}
	if _, err := Parse(value); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct{ value, want string }{
		"one byte more":  {value + " ", "may have"},
		"empty":          {"", "no JSON"},
		"not JSON":       {"{", "no JSON"},
		"trailing":       {`{"node":"n","mode":"m"}{}`, "no JSON"},
		"null":           {"null", "no node"},
		"no node":        {`{"mode":"m"}`, "no node"},
		"no mode":        {`{"node":"n"}`, "no mode"},
		"wrong type":     {`{"node":1,"mode":"m"}`, "no JSON"},
		"unknown fields": {`{"node":"n","mode":"m","later":{"x":[1]},"plugin":{"later":1}}`, ""},
		"unknown mode":   {`{"node":"n","mode":"of a later version"}`, ""},
	} {
		if _, err := Parse(c.value); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLeaseName(t *testing.T) {
	for node, want := range map[string]string{"n1": "kritis-node.n1", "": "", strings.Repeat("n", 241): "kritis-node." + strings.Repeat("n", 241), strings.Repeat("n", 242): ""} {
		if got, err := LeaseName(node); got != want || (err == nil) != (want != "") {
			t.Errorf("%.10s: %q, %v", node, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	value, err := testReport().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value)
	f.Add(`{"node":"n","mode":"m","plugin":{"decisions":{"x":18446744073709551615}},"at":"9999-12-31T23:59:59Z"}`)
	f.Fuzz(func(t *testing.T, value string) {
		r, err := Parse(value)
		if err == nil && (r.Node == "" || r.Mode == "" || len(value) > maxReport) {
			t.Errorf("%+v", r)
		}
	})
}
