package plugin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/kritis-node/kritis-node/verifier"
)

// Limits of what is read from the runtime's stores. containerd itself refuses manifests above 8 MiB.
const (
	maxManifestSize  = 8 << 20
	maxConfigSize    = 8 << 20
	maxIndexChildren = 256
	maxIndexDepth    = 3
	// maxSearched is how many manifests and indexes are read to find out where one digest leads.
	maxSearched     = 1024
	maxLayers       = 1024
	maxImageRecords = 20_000
	// relationsKept is for what is judged again, under new rules, say: a node runs some hundred images.
	relationsKept = 4096
)

// bound is what the runtime itself ties to a container. On runtimes that report it, digest (index or manifest) and
// config are set; otherwise below, the container's snapshot. The zero value is bound to nothing.
type bound struct {
	digest, config verifier.Digest
	below          snapshot
}

// relation is a content address and what it may lead to.
type relation struct {
	from   verifier.Digest
	config verifier.Digest
	below  snapshot
}

// contents answers what leads to what in the runtime's stores. Content addresses never change their meaning, so
// what was found once is remembered.
type contents struct {
	store  runtimeStore
	paths  *lru.Cache[relation, []verifier.Digest]
	chains *lru.Cache[verifier.Digest, string]
}

func newContents(store runtimeStore) (*contents, error) {
	paths, err := lru.New[relation, []verifier.Digest](relationsKept)
	if err != nil {
		return nil, err
	}
	chains, err := lru.New[verifier.Digest, string](relationsKept)
	if err != nil {
		return nil, err
	}
	return &contents{store: store, paths: paths, chains: chains}, nil
}

// path returns the digests from d (first) to the manifest of the bound content (last; the same for a manifest), or
// nothing if d does not lead there.
func (c *contents) path(ctx context.Context, d verifier.Digest, b bound) ([]verifier.Digest, error) {
	if b == (bound{}) {
		return nil, nil
	}
	key := relation{from: d, config: b.config}
	if b.config == "" {
		key.below = b.below
	}
	if p, ok := c.paths.Get(key); ok {
		return p, nil
	}
	p, err := c.search(func(config verifier.Digest) (bool, error) { return c.isContent(ctx, config, b) }).from(ctx, d, 0)
	if err != nil {
		return nil, err
	}
	if len(p) > 0 {
		c.paths.Add(key, p)
	}
	return p, nil
}

// document is the part of a manifest or index that says where it leads.
type document struct {
	Config *struct {
		Digest string `json:"digest"`
	} `json:"config"`
	Layers    []json.RawMessage `json:"layers"`
	Manifests []struct {
		Digest string `json:"digest"`
	} `json:"manifests"`
}

// search looks for a manifest behind a digest. Indexes may name the same ones again and again: each is read once, and not too many.
type search struct {
	store runtimeStore
	// accept says whether a manifest with this config is the one.
	accept func(config verifier.Digest) (bool, error)
	seen   map[verifier.Digest]bool
}

func (c *contents) search(accept func(verifier.Digest) (bool, error)) *search {
	return &search{store: c.store, accept: accept, seen: map[verifier.Digest]bool{}}
}

// from returns the digests from d to the manifest, both included; nothing if d does not lead to one that is accepted.
func (s *search) from(ctx context.Context, d verifier.Digest, depth int) ([]verifier.Digest, error) {
	switch {
	case s.seen[d]:
		return nil, nil
	case len(s.seen) >= maxSearched:
		return nil, fmt.Errorf("more than %d manifests and indexes would have to be read", maxSearched)
	}
	s.seen[d] = true
	data, err := s.store.blob(ctx, d, maxManifestSize)
	if errors.Is(err, errAbsent) {
		return nil, nil // not on this node, so it leads to nothing that could run here
	}
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", d, err)
	}
	var doc document
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, nil // content of another kind leads to no image
	}
	switch {
	case doc.Manifests != nil && (doc.Config != nil || doc.Layers != nil):
		// Manifest to one reader and index to another (CVE-2021-41190): it leads nowhere.
		return nil, nil
	case doc.Config != nil:
		config, err := verifier.ParseDigest(doc.Config.Digest)
		if err != nil {
			return nil, nil
		}
		if ok, err := s.accept(config); err != nil || !ok {
			return nil, err
		}
		return []verifier.Digest{d}, nil
	}
	if depth >= maxIndexDepth || len(doc.Manifests) > maxIndexChildren {
		return nil, fmt.Errorf("index %s is nested too deeply or has more than %d manifests", d, maxIndexChildren)
	}
	for _, m := range doc.Manifests {
		child, err := verifier.ParseDigest(m.Digest)
		if err != nil {
			continue
		}
		p, err := s.from(ctx, child, depth+1)
		if err != nil {
			return nil, err
		}
		if len(p) > 0 {
			return append([]verifier.Digest{d}, p...), nil
		}
	}
	return nil, nil
}

// isContent says whether the image with this config is the bound content.
func (c *contents) isContent(ctx context.Context, config verifier.Digest, b bound) (bool, error) {
	if b.config != "" {
		return config == b.config, nil
	}
	chain, err := c.chain(ctx, config)
	if errors.Is(err, errAbsent) {
		return false, nil
	}
	return err == nil && b.below.rests(chain), err
}

// chain returns the chain ID of the layers that a config names, which pins the file system to the byte.
func (c *contents) chain(ctx context.Context, config verifier.Digest) (string, error) {
	if chain, ok := c.chains.Get(config); ok {
		return chain, nil
	}
	data, err := c.store.blob(ctx, config, maxConfigSize)
	if err != nil {
		return "", fmt.Errorf("read image config %s: %w", config, err)
	}
	var image struct {
		RootFS struct {
			DiffIDs []digest.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(data, &image); err != nil || len(image.RootFS.DiffIDs) > maxLayers {
		return "", fmt.Errorf("image config %s has no usable list of layers", config)
	}
	chain := identity.ChainID(image.RootFS.DiffIDs).String()
	c.chains.Add(config, chain)
	return chain, nil
}

// boundChain returns the chain ID that the container's snapshot has to rest on.
func (c *contents) boundChain(ctx context.Context, b bound) (string, error) {
	if b.config == "" {
		return b.below.parent, nil
	}
	return c.chain(ctx, b.config)
}

// content is the verifier's view of one container's content.
type content struct {
	ctx      context.Context
	contents *contents
	bound    bound
	// runs: the container runs already, and of its image the runtime tells the config only.
	runs bool
}

// Digests implements verifier.Content.
func (c *content) Digests(ref verifier.Reference) ([]verifier.Digest, error) {
	if err := c.agree(); err != nil {
		return nil, err
	}
	if ref.Digest != "" {
		return c.contents.path(c.ctx, ref.Digest, c.bound)
	}
	var found []verifier.Digest
	seen := map[verifier.Digest]bool{}
	err := c.names(func(r verifier.Reference, target verifier.Digest) bool { return r.Repository == ref.Repository },
		func(path []verifier.Digest) bool {
			for _, d := range path {
				if !seen[d] {
					seen[d] = true
					found = append(found, d)
				}
			}
			return len(found) < maxIndexChildren
		})
	return found, err
}

// Named implements verifier.Content.
func (c *content) Named(ref verifier.Reference) (bool, error) {
	if err := c.agree(); err != nil {
		return false, err
	}
	named := false
	err := c.names(func(r verifier.Reference, target verifier.Digest) bool {
		if r.Repository != ref.Repository {
			return false
		}
		if ref.Digest != "" {
			return target == ref.Digest
		}
		return r.Tag == ref.Tag
	}, func([]verifier.Digest) bool {
		named = true
		return false
	})
	return named, err
}

// names calls found with the path of each name that is wanted and leads to the content, until it returns false.
func (c *content) names(wanted func(verifier.Reference, verifier.Digest) bool, found func([]verifier.Digest) bool) error {
	records, err := c.contents.store.images(c.ctx)
	if err != nil {
		return fmt.Errorf("list the runtime's images: %w", err)
	}
	if len(records) > maxImageRecords {
		return fmt.Errorf("the runtime has more than %d image names: remove unused images", maxImageRecords)
	}
	for _, r := range records {
		ref, err := verifier.ParseReference(r.name)
		if err != nil || !wanted(ref, r.target) {
			continue // an image ID, say, is a name to containerd but not a reference
		}
		path, err := c.contents.path(c.ctx, r.target, c.bound)
		if err != nil {
			return err
		}
		if len(path) > 0 && !found(path) {
			return nil
		}
	}
	return nil
}

// agree checks that the digest and the config that the runtime reports belong together. They come from two of its
// stores, and a name that is moved by force can mix the old config with new layers.
func (c *content) agree() error {
	if c.bound.config == "" || c.runs {
		return nil
	}
	p, err := c.contents.path(c.ctx, c.bound.digest, c.bound)
	if err != nil {
		return err
	}
	if len(p) == 0 {
		return fmt.Errorf("the runtime's image cache and image store disagree about %s: remove the image from the node and pull it again", c.bound.digest)
	}
	return nil
}

// rests says whether the snapshot was made from the layers with the chain ID: directly, or from a copy whose owners
// containerd has shifted for a user namespace. The name of such a copy is a digest over chain ID and mappings.
func (s snapshot) rests(chain string) bool {
	if chain == "" {
		return false
	}
	if s.parent == chain {
		return true
	}
	if s.uidMap == "" && s.gidMap == "" {
		return false
	}
	name, err := remappedName(chain, s.uidMap, s.gidMap)
	return err == nil && s.parent == name
}

// remappedName is the name that containerd gives to a remapped snapshot: see remappedSnapshot in its client package.
func remappedName(chain, uidMap, gidMap string) (string, error) {
	parse := func(s string) ([]specs.LinuxIDMapping, error) {
		var ms []specs.LinuxIDMapping
		for part := range strings.SplitSeq(s, ",") {
			var m specs.LinuxIDMapping
			if _, err := fmt.Sscanf(part, "%d:%d:%d", &m.ContainerID, &m.HostID, &m.Size); err != nil {
				return nil, fmt.Errorf("mapping %q: %w", part, err)
			}
			ms = append(ms, m)
		}
		slices.SortStableFunc(ms, func(a, b specs.LinuxIDMapping) int { return cmp.Compare(a.ContainerID, b.ContainerID) })
		return ms, nil
	}
	uids, err := parse(uidMap)
	if err != nil {
		return "", err
	}
	gids, err := parse(gidMap)
	if err != nil {
		return "", err
	}
	type idMap struct {
		UidMap []specs.LinuxIDMapping
		GidMap []specs.LinuxIDMapping
	}
	data, err := json.Marshal(struct {
		Parent string
		IDMap  idMap
	}{chain, idMap{uids, gids}})
	if err != nil {
		return "", err
	}
	return digest.FromBytes(data).String(), nil
}
