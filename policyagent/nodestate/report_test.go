package nodestate

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/kritis-node/kritis-node/verifier"
)

func testReport() Report {
	return Report{
		Version: "v1", Placement: "host", StartedAt: testTime, Mode: "best effort", Gaps: []Gap{{"NotRequired", "the runtime does not require it"}},
		Runtime: "containerd v2.4.2", Decisions: Decisions{3, 2, 1}, PolicyGeneration: 7,
		Incidents: []Incident{{
			At: testTime, Place: "create", Namespace: "prod", Pod: "web-1", PodUID: "u", Container: "main", Image: "registry.example/app:v1",
			Outcome: verifier.CouldNotTell, Reason: verifier.SourceFailed, Admitted: true, Message: "image … could not be verified",
			BreakGlass: &BreakGlass{"AdmissionAllowlist emergency", "registry.example/*", "INC-1", testTime.Add(time.Hour)},
		}},
	}
}

func TestReport(t *testing.T) {
	got := &reports{}
	c := serveAll(t, nil, got)
	if err := c.Report(t.Context(), testReport()); err != nil {
		t.Fatal(err)
	}
	if len(got.all) != 1 || !cmp.Equal(got.all[0], testReport()) {
		t.Error(cmp.Diff(got.all, []Report{testReport()}))
	}
}

// What the plugin sends is within its limits, whatever it has to tell, and fits.
func TestReportsAreBound(t *testing.T) {
	r := testReport()
	hostile := strings.Repeat("\x1b[2J\u202e\n<é\xff", 100_000)
	r.Version, r.Placement, r.Mode, r.Runtime = hostile, hostile, hostile, hostile
	i := r.Incidents[0]
	i.Place, i.Namespace, i.Pod, i.PodUID, i.Container, i.Image, i.Message, i.Reason = hostile, hostile, hostile, hostile, hostile, hostile, hostile, verifier.Reason(hostile)
	i.BreakGlass = &BreakGlass{hostile, hostile, hostile, testTime}
	r.Gaps, r.Incidents = slices.Repeat([]Gap{{hostile, hostile}}, MaxGaps+1), slices.Repeat([]Incident{i}, MaxIncidents+1)
	got := &reports{}
	if err := serveAll(t, nil, got).Report(t.Context(), r); err != nil || len(got.all) != 1 {
		t.Fatal(err)
	}
	arrived := got.all[0]
	if len(arrived.Gaps) != MaxGaps || len(arrived.Incidents) != MaxIncidents {
		t.Errorf("%d gaps, %d incidents", len(arrived.Gaps), len(arrived.Incidents))
	}
	first := arrived.Incidents[0]
	for limit, all := range map[int][]string{
		MaxName: {arrived.Version, arrived.Mode, arrived.Runtime, arrived.Gaps[0].Code, first.Place, first.Namespace, first.Pod, first.PodUID, first.Container, string(first.Reason)},
		MaxText: {arrived.Gaps[0].Text, first.Image, first.Message, first.BreakGlass.Object, first.BreakGlass.Pattern, first.BreakGlass.Reason},
	} {
		for n, s := range all {
			if len(s) > limit || len(s) < limit/2 || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%d: %d bytes: %q", n, len(s), s[:min(len(s), 40)])
			}
		}
	}
	if r.Incidents[0].Image != hostile {
		t.Error("what was given is changed")
	}
}

func TestReportLimits(t *testing.T) {
	encode := func(change func(*Report)) []byte {
		r := testReport()
		change(&r)
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	pad := func(n int) []byte { return append(encode(func(*Report) {}), slices.Repeat([]byte(" "), n)...) }
	size := len(pad(0))
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"usual":             {pad(0), ""},
		"as large as may":   {pad(MaxReport - size), ""},
		"too large":         {pad(MaxReport - size + 1), "more than"},
		"most incidents":    {encode(func(r *Report) { r.Incidents = slices.Repeat(r.Incidents, MaxIncidents) }), ""},
		"one more":          {encode(func(r *Report) { r.Incidents = slices.Repeat(r.Incidents, MaxIncidents+1) }), "33 incidents"},
		"most gaps":         {encode(func(r *Report) { r.Gaps = slices.Repeat(r.Gaps, MaxGaps) }), ""},
		"one more gap":      {encode(func(r *Report) { r.Gaps = slices.Repeat(r.Gaps, MaxGaps+1) }), "9 gaps"},
		"no mode":           {encode(func(r *Report) { r.Mode = "" }), "no mode"},
		"empty":             {nil, "not the JSON"},
		"null":              {[]byte("null"), "no mode"},
		"unknown member":    {[]byte(`{"mode":"enforcing","more":1}`), "one version"},
		"unknown in nested": {[]byte(`{"mode":"enforcing","incidents":[{"more":1}]}`), "one version"},
		"unknown outcome":   {[]byte(`{"mode":"enforcing","incidents":[{"outcome":"fine"}]}`), "not an outcome"},
		"trailing":          {append(pad(0), '1'), "more follows"},
		"negative count":    {[]byte(`{"mode":"enforcing","decisions":{"denied":-1}}`), "not the JSON"},
	} {
		_, err := parseReport(c.data)
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 500) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is refused is told to the agent, which may know why, and to the plugin.
func TestReportsThatCannotBeRead(t *testing.T) {
	got := &reports{}
	c := serveAll(t, nil, got)
	if err := c.post(t.Context(), reportPath, map[string]int{"later": 1}, &reportResponse{}); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Error(err)
	}
	if len(got.unreadable) != 1 || !strings.Contains(got.unreadable[0].Error(), "one version") || len(got.all) != 0 {
		t.Errorf("%v, %v", got.unreadable, got.all)
	}
}

// Fetches that wait are not in the way of reports.
func TestReportsHaveTheirOwnPlaces(t *testing.T) {
	h := &handler{slots: make(chan struct{})}
	r := &reportHandler{reporter: &reports{}, slots: make(chan struct{}, 1)}
	data, err := json.Marshal(testReport())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the place is given back
		if code := post(t, r, data); code != 200 {
			t.Error(code)
		}
	}
	if code := post(t, h, []byte("{}")); code != 503 {
		t.Errorf("no places: %d", code)
	}
	r.slots <- struct{}{}
	if code := post(t, r, data); code != 503 {
		t.Errorf("no places for reports: %d", code)
	}
}

func FuzzParseReport(f *testing.F) {
	data, err := json.Marshal(testReport())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"mode":"` + strings.Repeat(`\u0000`, 300) + `","gaps":[{}],"incidents":[{"breakGlass":{}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseReport(data)
		if err != nil {
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			if errors.As(err, new(*json.MarshalerError)) {
				return // a year that RFC 3339 cannot say
			}
			t.Fatal(err)
		}
		if len(again) > MaxReport {
			t.Fatalf("%d bytes", len(again))
		}
		if strings.ContainsFunc(r.Mode+r.Version, func(c rune) bool { return !unicode.IsPrint(c) }) {
			t.Fatalf("%q", r.Mode+r.Version)
		}
	})
}
