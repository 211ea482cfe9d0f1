package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kritis-node/kritis-node/plugin/inventory"
	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

// newRunningSubject is the subject of a container that runs: read as at create, from containerd's record of it. What is bound
// to it the caller adds.
func newRunningSubject(c inventory.Container, pod inventory.Pod, record inventory.Record) subject {
	s := subject{
		containerID: c.ID, podName: pod.Name, podUID: pod.UID, container: c.Name, namespace: pod.Namespace, handler: pod.Handler,
		image: record.Annotations[imageNameAnnotation],
	}
	for _, name := range []string{c.Written, record.Image, c.Image} {
		if s.image == "" {
			s.image = name
		}
	}
	for _, key := range checkpointAnnotations {
		if _, ok := record.Annotations[key]; ok {
			s.checkpoint = true
		}
	}
	for _, source := range record.Mounts {
		if v, ok := volumeOf(source); ok {
			s.volumes = append(s.volumes, v)
		}
	}
	return s
}

// reviewed is what a container that runs would be told if it came now.
type reviewed struct {
	*decision
	// wanted is what to ask the agent for, before a verdict that does not admit is certain.
	wanted []nodestate.FetchRequest
}

// review judges a container that runs by the rules and the content that count at create. Unlike there it keeps nothing, asks
// nobody, and takes for certain only what is: records that were fetched before fresh do not say that an attestation is missing,
// and content that has left the node's stores says nothing.
func (d *decider) review(ctx context.Context, s *subject, fresh, now time.Time) reviewed {
	r := d.rules.load()
	var all reviewed
	judge := func(_ context.Context, r *rules, req verifier.Request, c verifier.Content) *decision {
		if r.broken != "" {
			return couldNotTell(req.Image, r.generation, verifier.NoSnapshot, r.broken)
		}
		look := &lookup{records: d.records, now: now, fresh: fresh}
		v := r.Decide(req, c, look)
		if v.Outcome != verifier.Allowed {
			all.wanted = append(all.wanted, look.wanted...)
		}
		return r.conclude(req, v)
	}
	view := &runningContent{content: content{ctx: ctx, contents: d.contents, bound: s.bound, runs: true}}
	made := judge(ctx, r, s.request(s.image, now), view)
	switch {
	case made.admits() && !made.unbound:
		made = d.restsOnImage(ctx, s, made)
	case made.verdict.Reason == verifier.DigestMismatch:
		if err := view.doubt(s.image); err != nil {
			made = couldNotTell(s.image, r.generation, verifier.RuntimeFailed, err.Error())
		}
	}
	for _, v := range s.volumes {
		if !made.admits() {
			break
		}
		if dv := d.volume(ctx, r, s, v, now, judge); !dv.admits() {
			if _, err := d.contents.store.blob(ctx, v.target, maxManifestSize); errors.Is(err, errAbsent) {
				dv = couldNotTell(dv.image, r.generation, verifier.RuntimeFailed, textImageGone)
			}
			made = dv
		}
	}
	if made.admits() && made.verdict.Outcome == verifier.Allowed {
		all.wanted = nil // for another of the names of a volume, say
	}
	all.decision = made
	return all
}

// restsOnImage compares the layers that the container runs on with those of the image that was approved.
func (d *decider) restsOnImage(ctx context.Context, s *subject, made *decision) *decision {
	chain, err := d.contents.boundChain(ctx, s.bound)
	if errors.Is(err, errAbsent) {
		err = errors.New(textImageGone)
	}
	if err != nil {
		return couldNotTell(s.image, made.generation, verifier.RuntimeFailed, err.Error())
	}
	snap, err := d.contents.store.snapshot(ctx, s.containerID)
	switch {
	case errors.Is(err, errAbsent):
		return couldNotTell(s.image, made.generation, verifier.RuntimeFailed, textNoSnapshot)
	case err != nil:
		return couldNotTell(s.image, made.generation, verifier.RuntimeFailed, "read the container's snapshot: "+err.Error())
	case !snap.rests(chain):
		return mismatch(s.image, made.generation)
	}
	return made
}

// runningContent is the content of a container that runs. Names may have moved on since it was started, and images been
// removed: then nobody can tell any more what the name led to.
type runningContent struct {
	content
	moved bool
}

// Named implements verifier.Content.
func (c *runningContent) Named(ref verifier.Reference) (bool, error) {
	named, err := c.content.Named(ref)
	c.moved = c.moved || err == nil && !named
	return named, err
}

// doubt says why a verdict that the name leads to other content is not certain; nil if it is.
func (c *runningContent) doubt(image string) error {
	ref, err := verifier.ParseReference(image)
	switch {
	case err != nil:
		return nil //nolint:nilerr // such a name never led to anything
	case c.moved, ref.Digest == "":
		return errors.New(textNameMoved)
	}
	for _, d := range slices.Compact([]verifier.Digest{ref.Digest, c.bound.config}) {
		if d == "" {
			continue
		}
		_, err := c.contents.store.blob(c.ctx, d, max(maxManifestSize, maxConfigSize))
		if errors.Is(err, errAbsent) {
			return errors.New(textImageGone)
		}
		if err != nil {
			return fmt.Errorf("read the image: %w", err)
		}
	}
	return nil
}
