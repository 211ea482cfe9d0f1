package plugin

import (
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/plugin/inventory"
	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

// A container that runs is judged as at create, but what has left the node since is not held against it.
func TestReview(t *testing.T) {
	now := time.Now()
	b := newTestbed(t, nil)
	b.policy(t, 2, verifier.Document{
		Authorities: []verifier.AuthoritySpec{{Namespace: "prod", Name: "team", Keys: []verifier.KeySpec{{PEM: b.signer.pem}}}},
		Policies: []verifier.PolicySpec{
			{Namespace: "prod", Name: "p", AuthorityNames: []string{"team"}},
			{Namespace: "soft", Name: "p", AuthorityNames: []string{"team"}, DryRun: true},
		},
		Allowlist: []verifier.AllowSpec{{List: "list", Pattern: "r.example/listed*"}},
	})
	b.rules.reload()
	type container struct {
		subject
		manifest verifier.Digest
	}
	make := func(name string, attested bool) container {
		manifest, config, chain := b.store.image(t, name, name)
		b.store.snapshots[name] = snapshot{parent: chain}
		r := nodestate.Record{Repository: repository, Digest: manifest, FetchedAt: now}
		if attested {
			r.Attestations = []verifier.Attestation{b.signer.attest(t, repository, manifest)}
		}
		b.recs.put(r)
		return container{subject{containerID: name, namespace: "prod", image: repository + "@" + string(manifest), bound: bound{config: config}}, manifest}
	}
	attested, unsigned, other := make("attested", true), make("unsigned", false), make("other", true)
	gone := make("gone", false)
	gone.image = repository + "@sha256:" + "00000000000000000000000000000000000000000000000000000000000000ab"
	with := func(c container, change func(*subject)) subject {
		change(&c.subject)
		return c.subject
	}
	b.store.records = []imageRecord{{"r.example/listed:v1", unsigned.manifest}}
	for name, tc := range map[string]struct {
		subject subject
		fresh   time.Time
		outcome verifier.Outcome
		reason  verifier.Reason
		wanted  int
		admits  bool
	}{
		"attested":             {attested.subject, now, verifier.Allowed, verifier.Attested, 0, true},
		"not attested":         {unsigned.subject, now, verifier.Denied, verifier.NotAttested, 0, false},
		"not attested of late": {unsigned.subject, now.Add(time.Second), verifier.Denied, verifier.NotAttested, 1, false},
		"attested long ago":    {attested.subject, now.Add(time.Hour), verifier.Allowed, verifier.Attested, 0, true},
		"never asked about":    {with(unsigned, func(s *subject) { s.image = "r.example/new@" + string(unsigned.manifest) }), now, verifier.CouldNotTell, verifier.SourceFailed, 1, false},
		"dry run":              {with(unsigned, func(s *subject) { s.namespace = "soft" }), now, verifier.Denied, verifier.NotAttested, 0, true},
		"no policy":            {with(unsigned, func(s *subject) { s.namespace = "free" }), now, verifier.Allowed, verifier.NoPolicy, 0, true},
		"another's digest":     {with(unsigned, func(s *subject) { s.image = attested.image }), now, verifier.Denied, verifier.DigestMismatch, 0, false},
		"image gone":           {gone.subject, now, verifier.CouldNotTell, verifier.RuntimeFailed, 0, false},
		"config gone": {with(unsigned, func(s *subject) {
			s.image = attested.image
			s.bound.config = "sha256:" + verifier.Digest(gone.image[len(gone.image)-64:])
		}), now, verifier.CouldNotTell, verifier.RuntimeFailed, 0, false},
		"other layers":     {with(attested, func(s *subject) { s.containerID = other.containerID }), now, verifier.Denied, verifier.DigestMismatch, 0, false},
		"no snapshot":      {with(attested, func(s *subject) { s.containerID = "none" }), now, verifier.CouldNotTell, verifier.RuntimeFailed, 0, false},
		"by tag":           {with(attested, func(s *subject) { s.image = repository + ":v1" }), now, verifier.Denied, verifier.TagReference, 0, false},
		"allow-listed":     {with(unsigned, func(s *subject) { s.image = "r.example/listed:v1" }), now, verifier.Allowed, verifier.AllowListed, 0, true},
		"listed, moved on": {with(attested, func(s *subject) { s.image = "r.example/listed:v1" }), now, verifier.CouldNotTell, verifier.RuntimeFailed, 0, false},
		"checkpoint":       {with(attested, func(s *subject) { s.checkpoint = true }), now, verifier.Denied, verifier.Checkpoint, 0, false},
		"by its layers":    {with(attested, func(s *subject) { s.bound = bound{below: b.store.snapshots["attested"]} }), now, verifier.Allowed, verifier.Attested, 0, true},
		"by other layers":  {with(attested, func(s *subject) { s.bound = bound{below: b.store.snapshots["unsigned"]} }), now, verifier.Denied, verifier.DigestMismatch, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := tc.subject
			got := b.review(t.Context(), &s, tc.fresh, now)
			if v := got.verdict; v.Outcome != tc.outcome || v.Reason != tc.reason || len(got.wanted) != tc.wanted || got.admits() != tc.admits {
				t.Errorf("%s %s, %d wanted, admits %t: %s", v.Outcome, v.Reason, len(got.wanted), got.admits(), v.Detail)
			}
		})
	}
	if b.fetched.Load() > 0 {
		t.Error("the agent was asked")
	}
	if n := b.kept.decisions.Len(); n > 0 {
		t.Errorf("%d decisions are remembered", n)
	}
}

func TestRunningSubject(t *testing.T) {
	c, pod := inventory.Container{ID: "id", Name: "main", Image: "sha256:id", Written: "written"}, inventory.Pod{Namespace: "ns", Name: "pod", UID: "uid", Handler: "kata"}
	for name, tc := range map[string]struct {
		record inventory.Record
		image  string
	}{
		"annotation": {inventory.Record{Image: "stored", Annotations: map[string]string{imageNameAnnotation: "annotated"}}, "annotated"},
		"written":    {inventory.Record{Image: "stored"}, "written"},
	} {
		s := newRunningSubject(c, pod, tc.record)
		if s.image != tc.image || s.namespace != "ns" || s.podName != "pod" || s.podUID != "uid" || s.handler != "kata" || s.container != "main" || s.containerID != "id" || s.checkpoint {
			t.Errorf("%s: %+v", name, s)
		}
	}
	c.Written = ""
	hex := "1234567812345678123456781234567812345678123456781234567812345678"
	s := newRunningSubject(c, pod, inventory.Record{Image: "stored", Annotations: map[string]string{"restored": "true"}, Mounts: []string{"/x", "/run/cri/image-volumes/p/" + hex}})
	if s.image != "stored" || !s.checkpoint || len(s.volumes) != 1 || s.volumes[0].target != verifier.Digest("sha256:"+hex) {
		t.Errorf("%+v", s)
	}
	if got := newRunningSubject(c, pod, inventory.Record{}).image; got != "sha256:id" {
		t.Errorf("%s", got)
	}
}

func TestWitness(t *testing.T) {
	now := time.Now()
	w := newWitness(now)
	w.asked("a", now.Add(time.Second))
	for name, tc := range map[string]struct {
		id      string
		created time.Time
		want    bool
	}{
		"asked":              {"a", now.Add(time.Second), false},
		"not asked":          {"b", now.Add(time.Second), true},
		"before the process": {"b", now.Add(-time.Second), false},
	} {
		if got := w.missed(tc.id, tc.created); got != tc.want {
			t.Errorf("%s: missed %t", name, got)
		}
	}
	for i := range decidedKept {
		w.asked("later", now.Add(time.Minute+time.Duration(i)))
	}
	if w.missed("b", now.Add(time.Second)) {
		t.Error("of what is forgotten nothing is known")
	}
}
