package securitycenter

import (
	"errors"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/policyagent/alicloud"
)

var away = &alicloud.Error{Service: "sas", Action: "DescribeBinarySecurityPolicies", Text: "no answer", Code: "InternalError", RequestID: "r-9"}

// Each case starts with policy "prod" on in "team" (qa) and "other" (qa), and synced once. Then each step is a change and a sync, and
// what "team" has to have afterwards.
func TestWhatMayLoosen(t *testing.T) {
	type step struct {
		change func(*cloud)
		want   string
		held   bool // the policy's condition
	}
	const before = "qa=key-1/v1 prod:qa"
	nothing := func(*cloud) {}
	fail := func(c *cloud) { c.failing = away }
	repaired := func(c *cloud) { c.failing = nil }
	off := func(c *cloud) { c.policy("prod", false, "qa", "team", "other") }
	on := func(c *cloud) { c.policy("prod", true, "qa", "team", "other") }
	deleted := func(c *cloud) { delete(c.policies, "prod"); c.policy("unrelated", false, "qa", "x") }
	for name, steps := range map[string][]step{
		"off":                 {{off, before, true}, {nothing, "-prod -qa", false}},
		"deleted":             {{deleted, before, true}, {nothing, "-prod -qa", false}},
		"off and on":          {{off, before, true}, {on, before, false}, {off, before, true}, {on, before, false}},
		"off, failure, off":   {{off, before, true}, {fail, before, true}, {repaired, before, true}, {nothing, "-prod -qa", false}},
		"failures only":       {{fail, before, false}, {nothing, before, false}, {nothing, before, false}, {repaired, before, false}},
		"an inconsistent one": {{off, before, true}, {func(c *cloud) { c.policy("bad", true, "nobody", "x") }, before, true}, {func(c *cloud) { delete(c.policies, "bad") }, before, true}, {nothing, "-prod -qa", false}},
		"no policies at all": {{func(c *cloud) { clear(c.policies) }, before, true}, {nothing, before, true}, {nothing, before, true},
			{off, before, true}, {nothing, "-prod -qa", false}},
		"no witnesses at all": {{func(c *cloud) { clear(c.witnesses); off(c) }, before, true}, {nothing, before, true}, {nothing, before, true}},
		"empty, then gone":    {{func(c *cloud) { clear(c.policies) }, before, true}, {deleted, before, true}, {nothing, "-prod -qa", false}},
		"namespace taken out": {{func(c *cloud) { c.policy("prod", true, "qa", "other") }, before, true}, {nothing, "-prod -qa", false}},
		"no namespaces":       {{func(c *cloud) { c.policy("prod", true, "qa") }, before, true}, {nothing, before, true}, {nothing, before, true}},
		"no clusters": {{func(c *cloud) {
			c.policies["prod"] = alicloud.SecurityPolicy{Name: "prod", Enabled: true, Witnesses: []string{"qa"}}
		}, before, true},
			{nothing, before, true}},
		"no witness": {{func(c *cloud) { c.policy("prod", true, "", "team", "other") }, before, true}, {nothing, before, true}, {nothing, before, true}},
		"another cluster": {{func(c *cloud) {
			p := c.policies["prod"]
			p.Scopes = []alicloud.ClusterScope{{ClusterID: "c-2", Namespaces: []string{"team"}}}
			c.policies["prod"] = p
		}, before, true}, {nothing, "-prod -qa", false}},
		"a namespace that cannot be": {{func(c *cloud) { c.policy("prod", true, "qa", "*") }, before, true}, {nothing, before, true}},
		"witness added":              {{func(c *cloud) { c.policy("prod", true, "qa security", "team") }, "qa=key-1/v1 security=key-2/v1 prod:qa,security", false}},
		"witness exchanged": {
			{func(c *cloud) { c.policy("prod", true, "security", "team") }, "qa=key-1/v1 security=key-2/v1 prod:qa,security", true},
			{nothing, "security=key-2/v1 prod:security -qa", false},
		},
		"two that do not agree": {
			{func(c *cloud) { c.policy("prod", true, "security", "team") }, "qa=key-1/v1 security=key-2/v1 prod:qa,security", true},
			{func(c *cloud) { c.policy("prod", true, "qa", "team") }, "qa=key-1/v1 security=key-2/v1 prod:qa,security", true},
			{nothing, "qa=key-1/v1 prod:qa -security", false},
		},
		"gone, then back with another witness": {
			{off, before, true},
			{func(c *cloud) { c.policy("prod", true, "security", "team") }, "qa=key-1/v1 security=key-2/v1 prod:qa,security", true},
			{nothing, "security=key-2/v1 prod:security -qa", false},
		},
		"a new policy beside": {{func(c *cloud) { c.policy("new", true, "security", "team") }, "qa=key-1/v1 security=key-2/v1 new:security prod:qa", false}},
		"an authority that another needs": {
			{func(c *cloud) { c.policy("new", true, "qa", "team") }, "qa=key-1/v1 new:qa prod:qa", false},
			{off, "qa=key-1/v1 new:qa prod:qa", true},
			{nothing, "qa=key-1/v1 new:qa -prod", false},
		},
		"witness unlisted": {{func(c *cloud) { delete(c.witnesses, "qa") }, before, false}, {nothing, before, false}},
		"another key":      {{func(c *cloud) { c.witness("qa", "key-9", "v1") }, before, false}, {nothing, "qa=key-9/v1 prod:qa", false}},
		"another key, failure": {{func(c *cloud) { c.witness("qa", "key-9", "v1") }, before, false}, {fail, before, false}, {repaired, before, false},
			{nothing, "qa=key-9/v1 prod:qa", false}},
		"another key, inconsistent": {{func(c *cloud) { c.witness("qa", "key-9", "v1") }, before, false},
			{func(c *cloud) { c.policy("bad", true, "nobody", "x") }, before, false}, {func(c *cloud) { delete(c.policies, "bad") }, before, false},
			{nothing, "qa=key-9/v1 prod:qa", false}},
		"two other keys": {{func(c *cloud) { c.witness("qa", "key-9", "v1") }, before, false}, {func(c *cloud) { c.witness("qa", "key-8", "v1") }, before, false},
			{nothing, "qa=key-8/v1 prod:qa", false}},
		"another version":          {{func(c *cloud) { c.witness("qa", "key-1", "v2") }, before, false}, {nothing, "qa=key-1/v2 prod:qa", false}},
		"a key that cannot be had": {{func(c *cloud) { c.witness("qa", "key-9", "v1"); clear(c.keys) }, before, false}, {nothing, before, false}, {nothing, before, false}},
		"twice in a listing": {{func(c *cloud) {
			p := c.policies["prod"]
			p.Enabled = false
			c.policies["prod"] = p
			c.policies["x"] = p
		}, before, false}, {nothing, before, false}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud()
			c.policy("prod", true, "qa", "team", "other")
			e := syncing(c, nil)
			e.sync(t.Context())
			if got := show(t, e, "team"); got != before {
				t.Fatalf("%q", got)
			}
			for i, s := range steps {
				s.change(c)
				e.sync(t.Context())
				got := show(t, e, "team")
				if got != s.want {
					t.Errorf("step %d: %q, want %q", i+1, got, s.want)
				}
				for g := range e.removed {
					e.isGone(g)
				}
				if held := reason(t, e, "team", kindPolicy, "prod").reason == ReasonHeldBack; held != s.held {
					t.Errorf("step %d: held back %v, want %v: %+v", i+1, held, s.held, reason(t, e, "team", kindPolicy, "prod"))
				}
			}
		})
	}
}

// A policy's object goes before its authorities.
func TestOrder(t *testing.T) {
	c := newCloud()
	c.policy("zz", true, "qa security", "team")
	e := syncing(c, nil)
	e.sync(t.Context())
	w, err := e.wanted("team")
	check(t, err)
	if w.objects[0].kind != kindAuthority || w.objects[1].kind != kindAuthority || w.objects[2].kind != kindPolicy {
		t.Errorf("made in the order %v", w.objects)
	}
	c.policy("zz", false, "qa security", "team")
	e.sync(t.Context())
	e.sync(t.Context())
	w, err = e.wanted("team")
	check(t, err)
	if len(w.objects) != 0 || len(w.gone) != 3 || w.gone[0].kind != kindPolicy {
		t.Errorf("removed in the order %v", w.gone)
	}
	// On again before they went: they stay.
	c.policy("zz", true, "qa security", "team")
	e.sync(t.Context())
	w, err = e.wanted("team")
	check(t, err)
	if len(w.objects) != 3 || len(w.gone) != 0 {
		t.Errorf("%v", w)
	}
}

// A restart knows what objects say, and forgets the first of two listings.
func TestRestart(t *testing.T) {
	c := newCloud()
	c.policy("prod", true, "qa", "team")
	c.policy("Über", true, "qa", "team")
	e := syncing(c, nil)
	e.sync(t.Context())
	c.policy("prod", false, "qa", "team")
	e.sync(t.Context())
	calls := len(c.asked)

	restarted := func() *engine {
		s, surplus := read(objects(t, e, "team"))
		if len(surplus) > 0 {
			t.Fatal(surplus)
		}
		again := syncing(c, nil)
		again.start(t.Context(), s, surplus)
		return again
	}
	again := restarted()
	const all = "qa=key-1/v1 prod:qa Über:qa"
	c.failing = errors.New("away")
	again.sync(t.Context())
	if got := show(t, again, "team"); got != all {
		t.Errorf("%q", got)
	}
	if got := reason(t, again, "team", kindPolicy, "prod"); got.reason != "" {
		t.Errorf("one failure after a start says %v", got)
	}
	c.failing = nil
	again.sync(t.Context())
	if got := show(t, again, "team"); got != all {
		t.Errorf("the listing before the restart counted: %q", got)
	}
	again.sync(t.Context())
	if got := show(t, again, "team"); got != "qa=key-1/v1 Über:qa -prod" {
		t.Errorf("%q", got)
	}
	if len(c.asked) != calls || c.asked[alicloud.KeyReference{ID: "key-1", Version: "v1"}] != 1 {
		t.Errorf("KMS was asked again: %v", c.asked)
	}

	t.Run("a key that somebody wrote is not taken over", func(t *testing.T) {
		items := objects(t, e, "team")
		for i := range items {
			if items[i].GetKind() == kindAuthority {
				items[i].Object["spec"].(map[string]any)["publicKeyData"] = "RVZJTA=="
			}
		}
		s, _ := read(items)
		again := syncing(c, nil)
		again.start(t.Context(), s, nil)
		if got := show(t, again, "team"); got != "qa= prod:qa Über:qa" {
			t.Errorf("%q", got)
		}
		again.sync(t.Context())
		if got := show(t, again, "team"); !strings.HasPrefix(got, "qa=key-1/v1 ") {
			t.Errorf("%q", got)
		}
	})
	t.Run("copies are not ours", func(t *testing.T) {
		items := objects(t, e, "team")
		for i := range items {
			items[i].SetName("copy-of-" + items[i].GetName())
		}
		if s, _ := read(items); len(s) != 0 {
			t.Errorf("%v", s["team"])
		}
	})
}

// What is deleted by hand while its removal is held back is given up; what Security Center has on is not.
func TestByHand(t *testing.T) {
	c := newCloud()
	c.policy("prod", true, "qa", "team")
	e := syncing(c, nil)
	e.sync(t.Context())
	if e.confirmed("team", "prod") {
		t.Error("a policy that is on can be deleted by hand")
	}
	clear(c.policies)
	e.sync(t.Context())
	got := reason(t, e, "team", kindPolicy, "prod")
	for _, want := range []string{"names no policy at all", "kubectl -n team delete gap,aa -l kritis.grafeas.io/managed-by=security-center"} {
		if !strings.Contains(got.message, want) {
			t.Errorf("%q does not say %q", got.message, want)
		}
	}
	if !e.confirmed("team", "prod") {
		t.Error("not given up")
	}
	if got := show(t, e, "team"); got != "-qa" {
		t.Errorf("%q", got)
	}
	e = syncing(c, nil)
	e.start(t.Context(), state{"team": {policies: map[string]*policy{"prod": {}}, authorities: map[string]*authority{}}}, nil)
	if e.confirmed("team", "prod") {
		t.Error("given up although nobody has said anything yet")
	}
}
