package plugin

import (
	"errors"
	"slices"
	"strconv"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"

	"github.com/kritis-node/kritis-node/verifier"
)

func TestPath(t *testing.T) {
	m := newMemoryStore()
	amd, amdConfig, chain := m.image(t, "amd", "base", "app")
	arm, armConfig, _ := m.image(t, "arm", "base-arm", "app-arm")
	twin, _, _ := m.image(t, "same layers, other config", "base", "app")
	index := m.index(t, amd, arm)
	nested := m.index(t, index)
	deep := m.index(t, m.index(t, m.index(t, nested)))
	both := m.put(t, object{"config": object{"digest": amdConfig}, "layers": []any{}, "manifests": []object{{"digest": arm}}})
	byConfig := bound{digest: index, config: amdConfig}
	byChain := bound{below: snapshot{parent: chain}}
	for name, tc := range map[string]struct {
		from  verifier.Digest
		bound bound
		want  []verifier.Digest
		fails bool
	}{
		"manifest":                              {from: amd, bound: byConfig, want: []verifier.Digest{amd}},
		"index leads to its child":              {from: index, bound: byConfig, want: []verifier.Digest{index, amd}},
		"index of an index":                     {from: nested, bound: byConfig, want: []verifier.Digest{nested, index, amd}},
		"index nested too deeply":               {from: deep, bound: byConfig, fails: true},
		"sibling platform":                      {from: arm, bound: byConfig},
		"other config, same layers":             {from: twin, bound: byConfig},
		"manifest and index at once":            {from: both, bound: byConfig},
		"both, read as an index":                {from: both, bound: bound{config: armConfig}},
		"a config is no manifest":               {from: amdConfig, bound: byConfig},
		"not on this node":                      {from: verifier.Digest(digest.FromString("x")), bound: byConfig},
		"by layers":                             {from: index, bound: byChain, want: []verifier.Digest{index, amd}},
		"by layers, any config over them":       {from: twin, bound: byChain, want: []verifier.Digest{twin}},
		"by layers, sibling":                    {from: arm, bound: byChain},
		"nothing bound":                         {from: amd, bound: bound{}},
		"nothing bound, image without a config": {from: m.put(t, object{"config": object{"digest": ""}}), bound: bound{}},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := newContents(m)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time from memory
				got, err := c.path(t.Context(), tc.from, tc.bound)
				if (err != nil) != tc.fails || !slices.Equal(got, tc.want) {
					t.Fatalf("path = %v, %v, want %v, error %v", got, err, tc.want, tc.fails)
				}
			}
		})
	}
}

func TestPathBoundsChildren(t *testing.T) {
	m := newMemoryStore()
	image, config, _ := m.image(t, "", "a")
	fill := func(n int) verifier.Digest {
		children := make([]verifier.Digest, n)
		for i := range children {
			children[i] = verifier.Digest(digest.FromString(string(rune(i))))
		}
		children[n-1] = image
		return m.index(t, children...)
	}
	c, _ := newContents(m)
	b := bound{config: config}
	if p, err := c.path(t.Context(), fill(maxIndexChildren), b); err != nil || len(p) != 2 {
		t.Errorf("an index with %d children: %v, %v", maxIndexChildren, p, err)
	}
	if p, err := c.path(t.Context(), fill(maxIndexChildren+1), b); err == nil {
		t.Errorf("an index with %d children leads to %v, want an error", maxIndexChildren+1, p)
	}
}

// Whatever somebody made of indexes, a create call waits for a bounded number of reads.
func TestPathBoundsReads(t *testing.T) {
	m := newMemoryStore()
	image, config, _ := m.image(t, "", "a")
	next := 0
	absent := func(n int) []verifier.Digest {
		children := make([]verifier.Digest, n)
		for i := range children {
			next++
			children[i] = verifier.Digest(digest.FromString(strconv.Itoa(next)))
		}
		return children
	}
	wide := func(n int) verifier.Digest { // leads to the image behind n others
		var children []verifier.Digest
		for n -= 2; n > maxIndexChildren; n -= maxIndexChildren + 1 {
			children = append(children, m.index(t, absent(maxIndexChildren)...))
		}
		return m.index(t, append(append(children, absent(n)...), image)...)
	}
	again := image
	for range maxIndexDepth {
		again = m.index(t, slices.Repeat([]verifier.Digest{again}, maxIndexChildren)...)
	}
	other := bound{config: verifier.Digest("sha256:" + hexB)}
	for name, tc := range map[string]struct {
		from  verifier.Digest
		bound bound
		found int
		reads int64
		fails bool
	}{
		"at the limit":                         {from: wide(maxSearched), bound: bound{config: config}, found: 2, reads: maxSearched},
		"one more":                             {from: wide(maxSearched + 1), bound: bound{config: config}, reads: maxSearched, fails: true},
		"the same children over and over":      {from: again, bound: bound{config: config}, found: maxIndexDepth + 1, reads: maxIndexDepth + 1},
		"the same children, and none is it":    {from: again, bound: other, reads: maxIndexDepth + 1},
		"the same children, found from a name": {from: again, reads: maxIndexDepth + 2, found: 1},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := newContents(m)
			if err != nil {
				t.Fatal(err)
			}
			before, found := m.calls.Load(), 0
			if tc.bound == (bound{}) {
				var b bound
				if b, err = c.locate(t.Context(), "r.example/app@"+string(tc.from)); b.config == config {
					found = 1
				}
			} else {
				var p []verifier.Digest
				p, err = c.path(t.Context(), tc.from, tc.bound)
				found = len(p)
			}
			if reads := m.calls.Load() - before; (err != nil) != tc.fails || found != tc.found || reads != tc.reads {
				t.Errorf("found %d after %d reads, %v; want %d after %d, error %v", found, reads, err, tc.found, tc.reads, tc.fails)
			}
		})
	}
}

func TestContent(t *testing.T) {
	m := newMemoryStore()
	app, config, _ := m.image(t, "app", "base", "app")
	evil, evilConfig, _ := m.image(t, "evil", "evil")
	index := m.index(t, app)
	m.records = []imageRecord{
		{"r.example/app:v1", index}, {"r.example/app@" + string(index), index}, {"r.example/copy:v1", app},
		{"docker.io/library/app:latest", app}, {"r.example/evil:v1", evil}, {string(config), app},
	}
	c, err := newContents(m)
	if err != nil {
		t.Fatal(err)
	}
	running := bound{digest: index, config: config}
	for name, tc := range map[string]struct {
		ref     string
		bound   bound
		digests []verifier.Digest
		named   bool
	}{
		"tag":                              {"r.example/app:v1", running, []verifier.Digest{index, app}, true},
		"digest of the index":              {"r.example/app@" + string(index), running, []verifier.Digest{index, app}, true},
		"platform manifest":                {"r.example/app@" + string(app), running, []verifier.Digest{app}, false},
		"repository resolves, tag unknown": {"r.example/app:v9", running, []verifier.Digest{index, app}, false},
		"no tag means latest":              {"app", running, []verifier.Digest{app}, true},
		"tag of a copy":                    {"r.example/copy:v1", running, []verifier.Digest{app}, true},
		"name of other content":            {"r.example/evil:v1", running, nil, false},
		"digest of other content":          {"r.example/app@" + string(evil), running, nil, false},
		"evil under a good name's digest":  {"r.example/app@" + string(index), bound{digest: evil, config: evilConfig}, nil, false},
		"digest under a name it never had": {"r.example/other@" + string(index), running, []verifier.Digest{index, app}, false},
	} {
		t.Run(name, func(t *testing.T) {
			ref, err := verifier.ParseReference(tc.ref)
			if err != nil {
				t.Fatal(err)
			}
			view := &content{ctx: t.Context(), contents: c, bound: tc.bound}
			if got, err := view.Digests(ref); err != nil || !slices.Equal(got, tc.digests) {
				t.Errorf("Digests = %v, %v, want %v", got, err, tc.digests)
			}
			if got, err := view.Named(ref); err != nil || got != tc.named {
				t.Errorf("Named = %v, %v, want %v", got, err, tc.named)
			}
		})
	}
}

// A name that was moved by force can mix the old config with the new layers.
func TestContentDisagrees(t *testing.T) {
	m := newMemoryStore()
	app, config, _ := m.image(t, "app", "app")
	other, _, _ := m.image(t, "other", "other")
	c, _ := newContents(m)
	ref, _ := verifier.ParseReference("r.example/app@" + string(app))
	for name, tc := range map[string]struct {
		bound bound
		err   error
	}{
		"digest of one image, config of another": {bound: bound{digest: other, config: config}},
		"no digest":                              {bound: bound{config: config}},
		"store fails":                            {bound: bound{digest: app, config: config}, err: errors.New("hung")},
	} {
		t.Run(name, func(t *testing.T) {
			m.err = tc.err
			defer func() { m.err = nil }()
			view := &content{ctx: t.Context(), contents: c, bound: tc.bound}
			if got, err := view.Digests(ref); err == nil {
				t.Errorf("Digests = %v, want an error", got)
			}
			if got, err := view.Named(ref); err == nil || got {
				t.Errorf("Named = %v, want an error", got)
			}
		})
	}
}

func TestSnapshotRests(t *testing.T) {
	attested := identity.ChainID([]digest.Digest{digest.FromString("base")}).String()
	onTop := identity.ChainID([]digest.Digest{digest.FromString("base"), digest.FromString("evil")}).String()
	const uids, gids = "0:100000:65536", "0:200000:65536"
	remapped, err := remappedName(attested, uids, gids)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		snapshot snapshot
		chain    string
		want     bool
	}{
		"the chain":                       {snapshot{parent: attested}, attested, true},
		"a layer on top of it":            {snapshot{parent: onTop}, attested, false},
		"remapped":                        {snapshot{parent: remapped, uidMap: uids, gidMap: gids}, attested, true},
		"remapped by other ids":           {snapshot{parent: remapped, uidMap: uids, gidMap: uids}, attested, false},
		"remapped, without labels":        {snapshot{parent: remapped}, attested, false},
		"remapped copy of other layers":   {snapshot{parent: remapped, uidMap: uids, gidMap: gids}, onTop, false},
		"labels that are no mapping":      {snapshot{parent: remapped, uidMap: "x", gidMap: "y"}, attested, false},
		"scratch":                         {snapshot{}, "", false},
		"no parent":                       {snapshot{}, attested, false},
		"nothing attested, but something": {snapshot{parent: onTop}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.snapshot.rests(tc.chain); got != tc.want {
				t.Errorf("rests = %v, want %v", got, tc.want)
			}
		})
	}
}

// The name was computed by remappedSnapshot.ID of containerd 2.4.2's client package, which is not exported.
func TestRemappedNameIsContainerds(t *testing.T) {
	got, err := remappedName("sha256:0000000000000000000000000000000000000000000000000000000000000000", "1:5:1,0:100000:65536", "0:200000:65536")
	if err != nil {
		t.Fatal(err)
	}
	if want := "sha256:5d82161a671fe4fbd39d00129f5e056abe9e026c8d1c269e5b755965673c1aa3"; got != want {
		t.Errorf("name = %s, want %s", got, want)
	}
}
