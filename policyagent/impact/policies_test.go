package impact

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kritis-node/kritis-node/verifier"
)

type (
	doc       = verifier.Document
	authority = verifier.AuthoritySpec
	policy    = verifier.PolicySpec
	allow     = verifier.AllowSpec
)

func TestEnforced(t *testing.T) {
	before := doc{DryRun: true, Policies: []policy{{Name: "a", DryRun: true}, {Name: "b"}}}
	if diff := cmp.Diff(doc{Policies: []policy{{Name: "a"}, {Name: "b"}}}, Enforced(before)); diff != "" {
		t.Error(diff)
	}
	if !before.Policies[0].DryRun {
		t.Error("it changed what it was given")
	}
}

func TestApplied(t *testing.T) {
	cluster := doc{
		Authorities: []authority{{Namespace: "a", Name: "x"}, {Namespace: "b", Name: "x"}},
		Policies:    []policy{{Namespace: "a", Name: "p", DryRun: true}, {Namespace: "b", Name: "p"}},
		Allowlist:   []allow{{List: "l", Pattern: "1"}, {List: "l", Pattern: "2"}, {List: "m", Pattern: "3"}},
	}
	objects := doc{
		Authorities: []authority{{Namespace: "a", Name: "x", NoteReference: "new"}, {Namespace: "a", Name: "y"}},
		Policies:    []policy{{Namespace: "a", Name: "p", TagPolicy: "Resolve"}},
		Allowlist:   []allow{{List: "l", Pattern: "4"}},
	}
	want := doc{
		Authorities: []authority{{Namespace: "b", Name: "x"}, {Namespace: "a", Name: "x", NoteReference: "new"}, {Namespace: "a", Name: "y"}},
		Policies:    []policy{{Namespace: "b", Name: "p"}, {Namespace: "a", Name: "p", TagPolicy: "Resolve"}},
		Allowlist:   []allow{{List: "m", Pattern: "3"}, {List: "l", Pattern: "4"}},
	}
	if diff := cmp.Diff(want, Applied(cluster, objects)); diff != "" {
		t.Error(diff)
	}
	if cluster.Policies[0].Namespace != "a" || len(cluster.Allowlist) != 3 {
		t.Error("it changed what it was given")
	}
}

func TestSpread(t *testing.T) {
	objects := doc{Authorities: []authority{{Namespace: "a", Name: "x"}}, Policies: []policy{{Namespace: "a", Name: "p"}}, Allowlist: []allow{{Pattern: "1"}}}
	running := []Running{{Namespace: "c"}, {Namespace: "a"}, {Namespace: "b"}, {Namespace: "b"}}
	got, err := Spread(objects, Without(objects, running))
	check(t, err)
	want := doc{
		Authorities: []authority{{Namespace: "b", Name: "x"}, {Namespace: "c", Name: "x"}},
		Policies:    []policy{{Namespace: "b", Name: "p"}, {Namespace: "c", Name: "p"}}, Allowlist: []allow{{Pattern: "1"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// Two with one name would be one, and which is anybody's guess.
	for name, d := range map[string]doc{
		"authorities": {Authorities: []authority{{Namespace: "a", Name: "x"}, {Namespace: "b", Name: "x"}}},
		"policies":    {Policies: []policy{{Namespace: "a", Name: "p"}, {Namespace: "b", Name: "p"}}},
	} {
		if _, err := Spread(d, []string{"c"}); err == nil {
			t.Errorf("%s: both", name)
		}
	}
}
