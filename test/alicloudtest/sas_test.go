package alicloudtest_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"github.com/kritis-node/kritis-node/test/alicloudtest"
)

// listing is a page of Security Center.
type listing struct {
	PageInfo struct {
		CurrentPage, PageSize, TotalCount, Count int
	}
	Attestors              []map[string]any
	BinarySecurityPolicies []map[string]any
}

func TestWitnesses(t *testing.T) {
	e, alice := start(t, alicloudtest.Options{})
	c := as(t, e, alice)
	tell := func(action string, pairs ...string) error {
		_, err := do(t, c, request(e, sasVersion, action, pairs...))
		return err
	}
	list := func(pairs ...string) (l listing) {
		t.Helper()
		answer, err := do(t, c, request(e, sasVersion, "DescribeAttestors", pairs...))
		check(t, err)
		check(t, json.Unmarshal(answer.GetHttpContentBytes(), &l))
		return l
	}
	if l := list(); l.PageInfo.TotalCount != 0 || l.Attestors == nil {
		t.Errorf("nothing is listed as %+v", l)
	}
	for i := range 41 {
		check(t, tell("CreateAttestor", "Name", fmt.Sprintf("w%02d", i), "KeyId", "key-"+itoa(i), "KeyRegionId", "cn-beijing", "KeyVersionId", "v", "Remark", "r"))
	}
	expect(t, tell("CreateAttestor", "Name", "w00"), 400, "DataExists")
	expect(t, tell("CreateAttestor"), 400, "MissingName")
	expect(t, tell("ModifyAttestor", "Name", "nobody"), 400, "DataNotExists")

	for _, test := range []struct {
		number, size, count int
		first               string
	}{{1, 20, 20, "w00"}, {2, 20, 20, "w20"}, {3, 20, 1, "w40"}, {4, 20, 0, ""}, {1, 100, 41, "w00"}, {41, 1, 1, "w40"}} {
		l := list("CurrentPage", itoa(test.number), "PageSize", itoa(test.size))
		if l.PageInfo.TotalCount != 41 || l.PageInfo.Count != test.count || l.PageInfo.CurrentPage != test.number || l.PageInfo.PageSize != test.size ||
			len(l.Attestors) != test.count || test.count > 0 && l.Attestors[0]["Name"] != test.first {
			t.Errorf("page %+v: %+v", test, l)
		}
	}
	if l := list(); len(l.Attestors) != 20 {
		t.Errorf("a page has %d by default", len(l.Attestors))
	}
	for _, bad := range []string{"0", "101", "x"} {
		_, err := do(t, c, request(e, sasVersion, "DescribeAttestors", "PageSize", bad))
		expect(t, err, 400, "InvalidPageSize")
	}
	check(t, tell("ModifyAttestor", "Name", "w07", "KeyId", "key-new"))
	want := map[string]any{"Name": "w07", "KeyId": "key-new", "KeyRegionId": "cn-beijing", "KeyVersionId": "v", "Remark": "r"}
	if l := list("Name", "w07"); len(l.Attestors) != 1 || !reflect.DeepEqual(l.Attestors[0], want) {
		t.Errorf("modified: %+v", l)
	}
	check(t, tell("DeleteAttestor", "Name", "w07"))
	if l := list("Name", "w07"); len(l.Attestors) != 0 {
		t.Errorf("deleted: %+v", l)
	}
}

func TestPolicySpellings(t *testing.T) {
	e, alice := start(t, alicloudtest.Options{})
	c := as(t, e, alice)
	_, err := do(t, c, request(e, sasVersion, "CreateBinarySecurityPolicy", "Name", "p", "Status", "enable", "Remark", "r",
		"Policy", `{"policyMode":"requireAttestor","requiredAttestors":["w"]}`, "Clusters", `[{"ClusterId":"c1","Namespaces":["default","prod"]}]`))
	check(t, err)
	clusters := []any{map[string]any{"ClusterId": "c1", "Namespaces": []any{"default", "prod"}}}
	upper := map[string]any{"PolicyMode": "requireAttestor", "RequiredAttestors": []any{"w"}}
	for name, test := range map[string]struct {
		spelling alicloudtest.Spelling
		want     map[string]any
	}{
		"default":    {alicloudtest.Spelling{}, map[string]any{"Status": "enabled", "Policy": upper, "Clusters": clusters}},
		"status":     {alicloudtest.Spelling{On: "enable"}, map[string]any{"Status": "enable", "Policy": upper, "Clusters": clusters}},
		"lower keys": {alicloudtest.Spelling{LowerKeys: true}, map[string]any{"Status": "enabled", "Policy": map[string]any{"policyMode": "requireAttestor", "requiredAttestors": []any{"w"}}, "Clusters": clusters}},
		"strings": {alicloudtest.Spelling{PolicyAsString: true, ClustersAsString: true}, map[string]any{"Status": "enabled",
			"Policy": `{"PolicyMode":"requireAttestor","RequiredAttestors":["w"]}`, "Clusters": `[{"ClusterId":"c1","Namespaces":["default","prod"]}]`}},
	} {
		t.Run(name, func(t *testing.T) {
			e.Spell(test.spelling)
			answer, err := do(t, c, request(e, sasVersion, "DescribeBinarySecurityPolicies"))
			check(t, err)
			var l listing
			check(t, json.Unmarshal(answer.GetHttpContentBytes(), &l))
			test.want["Name"], test.want["Remark"] = "p", "r"
			if len(l.BinarySecurityPolicies) != 1 || !reflect.DeepEqual(l.BinarySecurityPolicies[0], test.want) {
				t.Errorf("written as %+v\nwant %+v", l.BinarySecurityPolicies, test.want)
			}
		})
	}
}

func TestPolicyActions(t *testing.T) {
	e, alice := start(t, alicloudtest.Options{})
	c := as(t, e, alice)
	tell := func(action string, pairs ...string) error {
		_, err := do(t, c, request(e, sasVersion, action, append([]string{"Name", "p"}, pairs...)...))
		return err
	}
	statuses := func(pairs ...string) (list []string) {
		t.Helper()
		answer, err := do(t, c, request(e, sasVersion, "DescribeBinarySecurityPolicies", pairs...))
		check(t, err)
		var l listing
		check(t, json.Unmarshal(answer.GetHttpContentBytes(), &l))
		for _, p := range l.BinarySecurityPolicies {
			list = append(list, p["Status"].(string))
		}
		return list
	}
	policy, clusters := `{"PolicyMode":"requireAttestor","RequiredAttestors":["w"]}`, `[]`
	expect(t, tell("CreateBinarySecurityPolicy", "Clusters", clusters), 400, "MissingPolicy")
	expect(t, tell("CreateBinarySecurityPolicy", "Clusters", clusters, "Policy", "{"), 400, "InvalidPolicy")
	expect(t, tell("CreateBinarySecurityPolicy", "Clusters", "{}", "Policy", policy), 400, "InvalidClusters")
	expect(t, tell("CreateBinarySecurityPolicy", "Clusters", clusters, "Policy", policy, "Status", "enabled"), 400, "InvalidStatus")
	check(t, tell("CreateBinarySecurityPolicy", "Clusters", clusters, "Policy", policy))
	expect(t, tell("CreateBinarySecurityPolicy", "Clusters", clusters, "Policy", policy), 400, "DataExists")
	if got := statuses(); len(got) != 1 || got[0] != "disabled" {
		t.Errorf("a new policy is %v", got)
	}
	check(t, tell("ModifyBinarySecurityPolicy", "Status", "enable"))
	if got := statuses("Status", "enabled"); len(got) != 1 || got[0] != "enabled" {
		t.Errorf("turned on: %v", got)
	}
	if got := statuses("Status", "disabled"); got != nil {
		t.Errorf("off: %v", got)
	}
	check(t, e.EnablePolicy("p", false))
	if got := statuses(); got[0] != "disabled" {
		t.Errorf("turned off: %v", got)
	}
	if on, off := statuses("Status", "enable"), statuses("Status", "disable"); len(on) != 0 || len(off) != 1 {
		t.Errorf("listed by status: on %v, off %v", on, off)
	}
	check(t, tell("DeleteBinarySecurityPolicy"))
	if got := statuses(); got != nil {
		t.Errorf("deleted: %v", got)
	}
	expect(t, tell("ModifyBinarySecurityPolicy"), 400, "DataNotExists")
	if err := e.EnablePolicy("p", true); err == nil {
		t.Error("a policy that is not there was enabled")
	}
}
