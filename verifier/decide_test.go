package verifier

import (
	"errors"
	"slices"
	"testing"
	"time"
)

func TestDecide(t *testing.T) {
	down := errors.New("registry refused")
	with := func(change func(*Document)) Document { d := document(); change(&d); return d }
	policy := func(change func(*PolicySpec)) Document { d := document(); change(&d.Policies[0]); return d }
	allow := func(specs ...AllowSpec) Document { d := document(); d.Allowlist = specs; return d }
	for _, test := range []struct {
		name    string
		doc     Document
		floor   FloorSpec
		noSet   bool
		req     Request
		world   *world
		want    Outcome
		reason  Reason
		dryRun  bool
		detail  string
		lookups int
	}{
		{name: "attested by digest as written", doc: document(), req: app(appPinned),
			world: honestWorld().attested(appDigest, kritisBy(qaKey(), "kms-qa", appDigest)), want: Allowed, reason: Attested},
		{name: "attested by platform manifest", doc: document(), req: app(appPinned),
			world: honestWorld().attested(platformDigest, kritisBy(qaKey(), "kms-qa", platformDigest)), want: Allowed, reason: Attested},
		{name: "attested by cosign", doc: document(), req: app(appPinned),
			world: honestWorld().attested(appDigest, cosignBy(qaKey(), appDigest)), want: Allowed, reason: Attested},
		{name: "attested by bundle", doc: document(), req: app(appPinned),
			world: honestWorld().attested(appDigest, bundleBy(qaKey(), appDigest)), want: Allowed, reason: Attested},
		{name: "tag and digest", doc: document(), req: app(appTagged + "@" + string(appDigest)),
			world: honestWorld().attested(appDigest, kritisBy(qaKey(), "", appDigest)), want: Allowed, reason: Attested},
		{name: "not attested", doc: document(), req: app(appPinned), world: honestWorld(), want: Denied, reason: NotAttested,
			detail: "authority qa, which policy default/main requires, has not attested it: sign it with `kritis sign --key FILE IMAGE`"},
		{name: "attested by another's key", doc: document(), req: app(appPinned),
			world: honestWorld().attested(appDigest, kritisBy(otherKey(), "kms-qa", appDigest)), want: Denied, reason: NotAttested,
			detail: "no attestation by authority qa, which policy default/main requires, counts: its signature fits none of the authority's keys: sign it with `kritis sign --key FILE IMAGE`"},
		{name: "attestation of a digest filed under another", doc: document(), req: app(appPinned),
			world: honestWorld().attested(appDigest, kritisBy(qaKey(), "kms-qa", otherDigest)), want: Denied, reason: NotAttested},
		{name: "no policy", doc: document(), req: Request{Namespace: "free", Image: appTagged}, world: honestWorld(), want: Allowed, reason: NoPolicy},
		{name: "no policy and no valid name", doc: document(), req: Request{Namespace: "free", Image: "UPPER"}, world: honestWorld(), want: Allowed, reason: NoPolicy},
		{name: "no policy where one is demanded", doc: document(), floor: FloorSpec{DenyWithoutPolicy: true},
			req: Request{Namespace: "free", Image: appPinned}, world: honestWorld(), want: Denied, reason: NoPolicyDenied,
			detail: `namespace "free" has no policy and this node demands one: create a GenericAttestationPolicy in it`},

		{name: "handler nobody listed, where no policy asks", doc: document(), req: Request{Namespace: "free", Image: appPinned, RuntimeHandler: "kata"},
			world: honestWorld(), want: Allowed, reason: NoPolicy},
		{name: "handler nobody listed, where a policy asks", doc: document(), req: Request{Namespace: "default", Image: appPinned, RuntimeHandler: "kata"},
			world: honestWorld(), want: Denied, reason: RuntimeHandler},
		{name: "handler nobody listed, in dry run", doc: policy(func(p *PolicySpec) { p.DryRun = true }), req: Request{Namespace: "default", Image: appPinned, RuntimeHandler: "kata"},
			world: honestWorld(), want: Denied, reason: RuntimeHandler, dryRun: true},
		{name: "restored from a checkpoint", doc: document(), req: Request{Namespace: "default", Image: appPinned, Restored: true},
			world: honestWorld().attested(appDigest, kritisBy(qaKey(), "kms-qa", appDigest)), want: Denied, reason: Checkpoint,
			detail: "it is restored from a checkpoint, which need not hold what the image says: start it from its image"},
		{name: "restored, in dry run", doc: policy(func(p *PolicySpec) { p.DryRun = true }), req: Request{Namespace: "default", Image: appPinned, Restored: true},
			world: honestWorld().attested(appDigest, kritisBy(qaKey(), "kms-qa", appDigest)), want: Denied, reason: Checkpoint, dryRun: true},
		{name: "restored where no policy asks", doc: document(), req: Request{Namespace: "free", Image: appPinned, Restored: true},
			world: honestWorld(), want: Allowed, reason: NoPolicy},
		{name: "handler not listed", doc: document(), floor: FloorSpec{RuntimeHandlers: []string{"", "runc"}}, req: Request{Namespace: "free", Image: appPinned, RuntimeHandler: "kata"},
			world: honestWorld(), want: Denied, reason: RuntimeHandler,
			detail: `runtime handler "kata" may not run on this node: list it under runtimeHandlers in the node's floor, or take runtimeClassName off the pod`},
		{name: "handler runc", doc: document(), req: Request{Namespace: "free", Image: appPinned, RuntimeHandler: "runc"}, world: honestWorld(), want: Allowed, reason: NoPolicy},
		{name: "handler listed", doc: document(), floor: FloorSpec{RuntimeHandlers: []string{"kata"}},
			req: Request{Namespace: "free", Image: appPinned, RuntimeHandler: "kata"}, world: honestWorld(), want: Allowed, reason: NoPolicy},
		{name: "default handler off the list", doc: document(), floor: FloorSpec{RuntimeHandlers: []string{"kata"}},
			req: Request{Namespace: "free", Image: appPinned}, world: honestWorld(), want: Denied, reason: RuntimeHandler},
		{name: "dry run never softens a listed floor's word on handlers", doc: with(func(d *Document) { d.DryRun = true }), floor: FloorSpec{RuntimeHandlers: []string{"runc"}},
			req: Request{Namespace: "default", Image: appPinned, RuntimeHandler: "kata"}, world: honestWorld(), want: Denied, reason: RuntimeHandler},

		{name: "no snapshot", noSet: true, req: app(appPinned), world: honestWorld(), want: CouldNotTell, reason: NoSnapshot,
			detail: "no policy has arrived on this node yet: start the policy agent here, and see `kritis status`"},
		{name: "no snapshot in kube-system", noSet: true, req: Request{Namespace: "kube-system", Image: "x:1"}, world: honestWorld(), want: Allowed, reason: Bootstrapping},
		{name: "no snapshot and nothing exempt", noSet: true, floor: FloorSpec{BootstrapExempt: []string{}},
			req: Request{Namespace: "kube-system", Image: "x:1"}, world: honestWorld(), want: CouldNotTell, reason: NoSnapshot},
		{name: "no snapshot, floor fails", noSet: true, floor: FloorSpec{Document: floorDocument(), BootstrapExempt: []string{"default"}},
			req: app(appPinned), world: honestWorld(), want: Denied, reason: NotAttested},
		{name: "no snapshot, floor satisfied, exempt", noSet: true, floor: FloorSpec{Document: floorDocument(), BootstrapExempt: []string{"default"}},
			req: app(appPinned), world: honestWorld().attested(appDigest, kritisBy(prodKey(), "", appDigest)), want: Allowed, reason: Bootstrapping},
		{name: "no snapshot, floor satisfied, not exempt", noSet: true, floor: FloorSpec{Document: floorDocument()},
			req: app(appPinned), world: honestWorld().attested(appDigest, kritisBy(prodKey(), "", appDigest)), want: CouldNotTell, reason: NoSnapshot},

		{name: "upper case", doc: document(), req: app("Nginx"), world: honestWorld(), want: Denied, reason: InvalidReference,
			detail: "the image's host or repository has upper-case letters: write it in lower case"},
		{name: "upper case and allow-listed", doc: allow(AllowSpec{Pattern: "Nginx"}), req: app("Nginx"), world: honestWorld(), want: Denied, reason: InvalidReference},

		{name: "tag", doc: document(), req: app(appTagged),
			world: honestWorld().attested(appDigest, kritisBy(qaKey(), "", appDigest)), want: Denied, reason: TagReference,
			detail: "it is named by tag: name it by its digest, here " + string(appDigest)},
		{name: "tag, digest not known here", doc: document(), req: app("alpine:3.11"), world: honestWorld(), want: Denied, reason: TagReference,
			detail: "it is named by tag: name it by its digest, as `kritis resolve` does in manifests"},
		{name: "tag, runtime fails", doc: document(), req: app(appTagged), world: &world{digestsErr: down}, want: Denied, reason: TagReference},
		{name: "tag resolved", doc: policy(func(p *PolicySpec) { p.TagPolicy = "Resolve" }), req: app(appTagged),
			world: honestWorld().attested(appDigest, kritisBy(qaKey(), "", appDigest)), want: Allowed, reason: Attested},
		{name: "tag resolved, not attested", doc: policy(func(p *PolicySpec) { p.TagPolicy = "Resolve" }), req: app(appTagged),
			world: honestWorld(), want: Denied, reason: NotAttested},
		{name: "tag resolved to nothing", doc: policy(func(p *PolicySpec) { p.TagPolicy = "Resolve" }), req: app(appRepo + ":v2"),
			world: honestWorld(), want: Denied, reason: DigestMismatch},
		{name: "tag resolved, runtime fails", doc: policy(func(p *PolicySpec) { p.TagPolicy = "Resolve" }), req: app(appTagged),
			world: &world{digestsErr: down}, want: CouldNotTell, reason: RuntimeFailed},
		{name: "tag, one policy resolves and fails, the other would be satisfied", req: app(appTagged),
			doc: with(func(d *Document) {
				d.Policies = append(d.Policies, PolicySpec{Namespace: "default", Name: "z", AuthorityNames: []string{"prod"}, TagPolicy: "Resolve"})
			}), world: honestWorld().attested(appDigest, kritisBy(qaKey(), "", appDigest)), want: Denied, reason: NotAttested},
		{name: "unknown tag policy", doc: policy(func(p *PolicySpec) { p.TagPolicy = "resolve" }), req: app(appTagged),
			world: honestWorld().attested(appDigest, kritisBy(qaKey(), "", appDigest)), want: Denied, reason: TagReference},

		{name: "digest leads elsewhere", doc: document(), req: app(appRepo + "@" + string(otherDigest)),
			world: honestWorld().attested(otherDigest, kritisBy(qaKey(), "", otherDigest)), want: Denied, reason: DigestMismatch,
			detail: "on this node the digest does not lead to the content that would run: pull the image again by this digest"},
		{name: "runtime fails", doc: document(), req: app(appPinned), world: &world{digestsErr: errors.New("no socket")}, want: CouldNotTell, reason: RuntimeFailed,
			detail: "the runtime could not say what would run: no socket: it will be tried again"},
		{name: "runtime answers a malformed digest", doc: document(), req: app(appPinned),
			world: &world{digests: map[string][]Digest{appPinned: {"sha256:ABC"}}}, want: CouldNotTell, reason: RuntimeFailed},

		{name: "source fails", doc: document(), req: app(appPinned),
			world: &world{digests: honestWorld().digests, sourceErr: map[Digest]error{appDigest: down}}, want: CouldNotTell, reason: SourceFailed,
			detail: "not all attestations could be had: registry refused: it will be tried again, and `kritis status` tells more"},
		{name: "source fails for the platform manifest only", doc: document(), req: app(appPinned),
			world: &world{digests: honestWorld().digests, sourceErr: map[Digest]error{platformDigest: down}}, want: CouldNotTell, reason: SourceFailed},
		{name: "source fails and what it had is enough", doc: document(), req: app(appPinned),
			world: &world{digests: honestWorld().digests, sourceErr: map[Digest]error{appDigest: down},
				attestations: map[Digest][]Attestation{appDigest: {kritisBy(qaKey(), "", appDigest)}}}, want: Allowed, reason: Attested},
		{name: "source fails and the policy could not be satisfied anyway", doc: policy(func(p *PolicySpec) { p.AuthorityNames = append(p.AuthorityNames, "gone") }),
			req: app(appPinned), world: &world{digests: honestWorld().digests, sourceErr: map[Digest]error{appDigest: down}}, want: Denied, reason: NotAttested},

		{name: "all authorities must attest: one does not", doc: policy(func(p *PolicySpec) { p.AuthorityNames = []string{"qa", "prod"} }),
			req: app(appPinned), world: honestWorld().attested(appDigest, kritisBy(qaKey(), "", appDigest)), want: Denied, reason: NotAttested,
			detail: "no attestation by authority prod, which policy default/main requires, counts: its signature fits none of the authority's keys: sign it with `kritis sign --key FILE IMAGE`"},
		{name: "all authorities must attest: the first does not", doc: policy(func(p *PolicySpec) { p.AuthorityNames = []string{"prod", "qa"} }),
			req: app(appPinned), world: honestWorld().attested(appDigest, kritisBy(qaKey(), "", appDigest)), want: Denied, reason: NotAttested},
		{name: "all authorities must attest: they do, on either digest", doc: policy(func(p *PolicySpec) { p.AuthorityNames = []string{"qa", "prod"} }),
			req: app(appPinned), world: honestWorld().attested(appDigest, kritisBy(qaKey(), "", appDigest)).attested(platformDigest, kritisBy(prodKey(), "", platformDigest)), want: Allowed, reason: Attested},
		{name: "one satisfied policy is enough", req: app(appPinned),
			doc: with(func(d *Document) {
				d.Policies = append(d.Policies, PolicySpec{Namespace: "default", Name: "a", AuthorityNames: []string{"prod"}})
			}), world: honestWorld().attested(appDigest, kritisBy(qaKey(), "", appDigest)), want: Allowed, reason: Attested, lookups: 2},
		{name: "policy without authorities", doc: policy(func(p *PolicySpec) { p.AuthorityNames = nil }), req: app(appPinned), world: honestWorld(),
			want: Denied, reason: NotAttested, detail: "policy default/main cannot be satisfied: it names no authority"},
		{name: "policy with a missing authority", doc: policy(func(p *PolicySpec) { p.AuthorityNames = []string{"gone"} }), req: app(appPinned), world: honestWorld(),
			want: Denied, reason: NotAttested, detail: "authority gone, which policy default/main requires, cannot attest: it does not exist"},
		{name: "authority of another namespace", doc: with(func(d *Document) { d.Authorities = []AuthoritySpec{qaSpec("elsewhere")} }), req: app(appPinned),
			world: honestWorld().attested(appDigest, kritisBy(qaKey(), "", appDigest)), want: Denied, reason: NotAttested},
		{name: "duplicate authority", doc: with(func(d *Document) { d.Authorities = append(d.Authorities, qaSpec("default")) }), req: app(appPinned),
			world: honestWorld().attested(appDigest, kritisBy(qaKey(), "", appDigest)), want: Denied, reason: NotAttested},
		{name: "duplicate policy, the second weaker", req: app(appPinned),
			doc: with(func(d *Document) {
				d.Policies = append(d.Policies, PolicySpec{Namespace: "default", Name: "main", AuthorityNames: []string{"qa"}, Allow: []string{appRepo + "@*"}, DryRun: true})
			}), world: honestWorld().attested(appDigest, kritisBy(qaKey(), "", appDigest)), want: Denied, reason: NotAttested},

		{name: "allow-listed", doc: allow(AllowSpec{List: "acs", Pattern: "vendor.example/acs/*"}), req: app(sidecar), world: honestWorld(), want: Allowed, reason: AllowListed},
		{name: "allow-listed although the policy cannot be satisfied", req: app(sidecar), world: honestWorld(), want: Allowed, reason: AllowListed,
			doc: Document{Allowlist: []AllowSpec{{List: "acs", Pattern: sidecar}}, Policies: []PolicySpec{{Namespace: "default", Name: "main"}}}},
		{name: "allow-listed elsewhere", doc: allow(AllowSpec{Pattern: sidecar, Namespace: "kube-system"}), req: app(sidecar), world: honestWorld(), want: Denied, reason: TagReference},
		{name: "allow-listed by a namespace pattern, which cluster lists do not have", doc: allow(AllowSpec{Pattern: sidecar, Namespace: "def*"}), req: app(sidecar), world: honestWorld(), want: Denied, reason: TagReference},
		{name: "allow-listed here", doc: allow(AllowSpec{Pattern: sidecar, Namespace: "default"}), req: app(sidecar), world: honestWorld(), want: Allowed, reason: AllowListed},
		{name: "allow-list expires later", doc: allow(AllowSpec{Pattern: sidecar, Expires: now.Add(time.Nanosecond)}), req: app(sidecar), world: honestWorld(), want: Allowed, reason: AllowListed},
		{name: "allow-list expires now", doc: allow(AllowSpec{Pattern: sidecar, Expires: now}), req: app(sidecar), world: honestWorld(), want: Denied, reason: TagReference},
		{name: "allow-list expires and there is no clock", doc: allow(AllowSpec{Pattern: sidecar, Expires: now}), req: Request{Namespace: "default", Image: sidecar}, world: honestWorld(), want: Denied, reason: TagReference},
		{name: "allow-list with a bad pattern", doc: allow(AllowSpec{Pattern: "vendor.example/(.*)"}), req: app(sidecar), world: honestWorld(), want: Denied, reason: TagReference},
		{name: "allow-listed name given to other content", doc: allow(AllowSpec{List: "acs", Pattern: sidecar}), req: app(sidecar),
			world: &world{names: map[string]bool{}}, want: Denied, reason: DigestMismatch,
			detail: "AdmissionAllowlist acs lists the name, but on this node it belongs to other content than would run: remove the image from the node and pull it again"},
		{name: "allow-listed name given to other content that is attested", doc: allow(AllowSpec{Pattern: appRepo + "@*"}), req: app(appPinned),
			world: &world{digests: honestWorld().digests, attestations: map[Digest][]Attestation{appDigest: {kritisBy(qaKey(), "", appDigest)}}}, want: Allowed, reason: Attested},
		{name: "allow-listed, runtime fails", doc: allow(AllowSpec{Pattern: sidecar}), req: app(sidecar), world: &world{namedErr: down}, want: CouldNotTell, reason: RuntimeFailed},
		{name: "allow-listed, runtime fails, attested", doc: allow(AllowSpec{Pattern: appPinned}), req: app(appPinned),
			world: &world{namedErr: down, digests: honestWorld().digests, attestations: map[Digest][]Attestation{appDigest: {kritisBy(qaKey(), "", appDigest)}}}, want: Allowed, reason: Attested},
		{name: "policy's own pattern", doc: policy(func(p *PolicySpec) { p.Allow = []string{sidecar} }), req: app(sidecar), world: honestWorld(), want: Allowed, reason: AllowListed},
		{name: "policy's own pattern in another namespace", req: app(sidecar), world: honestWorld(), want: Denied, reason: TagReference,
			doc: with(func(d *Document) {
				d.Policies = append(d.Policies, PolicySpec{Namespace: "free", Name: "p", AuthorityNames: []string{"qa"}, Allow: []string{sidecar}})
			})},

		{name: "dry run of the cluster", doc: with(func(d *Document) { d.DryRun = true }), req: app(appPinned), world: honestWorld(), want: Denied, reason: NotAttested, dryRun: true},
		{name: "dry run of the one policy", doc: policy(func(p *PolicySpec) { p.DryRun = true }), req: app(appPinned), world: honestWorld(), want: Denied, reason: NotAttested, dryRun: true},
		{name: "dry run of one policy of two", req: app(appPinned), world: honestWorld(), want: Denied, reason: NotAttested,
			doc: with(func(d *Document) {
				d.Policies = append(d.Policies, PolicySpec{Namespace: "default", Name: "a", AuthorityNames: []string{"prod"}, DryRun: true})
			})},
		{name: "dry run softens a doubt", doc: with(func(d *Document) { d.DryRun = true }), req: app(appPinned), world: &world{digestsErr: down}, want: CouldNotTell, reason: RuntimeFailed, dryRun: true},
		{name: "dry run is not told of what is allowed", doc: with(func(d *Document) { d.DryRun = true }), req: app(appPinned),
			world: honestWorld().attested(appDigest, kritisBy(qaKey(), "", appDigest)), want: Allowed, reason: Attested},

		{name: "floor alone", floor: FloorSpec{Document: floorDocument()}, req: app(appPinned),
			world: honestWorld().attested(appDigest, kritisBy(prodKey(), "", appDigest)), want: Allowed, reason: Attested},
		{name: "floor alone fails", floor: FloorSpec{Document: floorDocument()}, req: app(appPinned), world: honestWorld(), want: Denied, reason: NotAttested},
		{name: "floor of other namespaces", floor: FloorSpec{Document: floorDocument()}, req: Request{Namespace: "free", Image: appPinned}, world: honestWorld(), want: Allowed, reason: NoPolicy},
		{name: "floor fails, cluster satisfied", doc: document(), floor: FloorSpec{Document: floorDocument()}, req: app(appPinned),
			world: honestWorld().attested(appDigest, kritisBy(qaKey(), "", appDigest)), want: Denied, reason: NotAttested, lookups: 2},
		{name: "floor satisfied, cluster fails", doc: document(), floor: FloorSpec{Document: floorDocument()}, req: app(appPinned),
			world: honestWorld().attested(appDigest, kritisBy(prodKey(), "", appDigest)), want: Denied, reason: NotAttested},
		{name: "floor and cluster satisfied", doc: document(), floor: FloorSpec{Document: floorDocument()}, req: app(appPinned),
			world: honestWorld().attested(appDigest, kritisBy(prodKey(), "", appDigest), kritisBy(qaKey(), "", appDigest)), want: Allowed, reason: Attested, lookups: 1},
		{name: "cluster's allow-list does not satisfy the floor", doc: allow(AllowSpec{Pattern: appPinned}), floor: FloorSpec{Document: floorDocument()}, req: app(appPinned),
			world: honestWorld(), want: Denied, reason: NotAttested},
		{name: "floor's allow-list does not satisfy the cluster", doc: document(), req: app(appPinned), world: honestWorld(), want: Denied, reason: NotAttested,
			floor: FloorSpec{Document: Document{Authorities: floorDocument().Authorities, Policies: floorDocument().Policies, Allowlist: []AllowSpec{{Pattern: appPinned}}}}},
		{name: "floor's allow-list satisfies the floor", req: app(appPinned), world: honestWorld(), want: Allowed, reason: AllowListed,
			floor: FloorSpec{Document: Document{Authorities: floorDocument().Authorities, Policies: floorDocument().Policies, Allowlist: []AllowSpec{{Pattern: appPinned, Namespace: "d*"}}}}},
		{name: "cluster's dry run does not soften the floor", doc: with(func(d *Document) { d.DryRun = true }), floor: FloorSpec{Document: floorDocument()}, req: app(appPinned),
			world: honestWorld(), want: Denied, reason: NotAttested},
		{name: "floor's dry run does not soften the cluster", doc: document(), req: app(appPinned), world: honestWorld(), want: Denied, reason: NotAttested,
			floor: FloorSpec{Document: Document{Authorities: floorDocument().Authorities, Policies: floorDocument().Policies, DryRun: true}}},
		{name: "floor's dry run softens the floor", req: app(appPinned), world: honestWorld(), want: Denied, reason: NotAttested, dryRun: true,
			floor: FloorSpec{Document: Document{Authorities: floorDocument().Authorities, Policies: floorDocument().Policies, DryRun: true}}},
		{name: "both in dry run", doc: with(func(d *Document) { d.DryRun = true }), req: app(appPinned), world: honestWorld(), want: Denied, reason: NotAttested, dryRun: true,
			floor: FloorSpec{Document: Document{Authorities: floorDocument().Authorities, Policies: floorDocument().Policies, DryRun: true}}},
		{name: "floor ignores the cluster's dry run", doc: with(func(d *Document) { d.DryRun = true }), floor: FloorSpec{IgnoreClusterDryRun: true}, req: app(appPinned),
			world: honestWorld(), want: Denied, reason: NotAttested},
		{name: "floor ignores a policy's dry run", doc: policy(func(p *PolicySpec) { p.DryRun = true }), floor: FloorSpec{IgnoreClusterDryRun: true}, req: app(appPinned),
			world: honestWorld(), want: Denied, reason: NotAttested},
		{name: "floor ignores the cluster's allow-lists", doc: allow(AllowSpec{Pattern: sidecar}), floor: FloorSpec{IgnoreClusterAllowlists: true}, req: app(sidecar),
			world: honestWorld(), want: Denied, reason: TagReference},
		{name: "floor ignores a policy's patterns", doc: policy(func(p *PolicySpec) { p.Allow = []string{sidecar} }), floor: FloorSpec{IgnoreClusterAllowlists: true}, req: app(sidecar),
			world: honestWorld(), want: Denied, reason: TagReference},
	} {
		t.Run(test.name, func(t *testing.T) {
			rules := Rules{Floor: floorOf(t, test.floor)}
			if !test.noSet {
				rules.Cluster = compiled(test.doc)
			}
			v := rules.Decide(test.req, test.world, test.world)
			if v.Outcome != test.want || v.Reason != test.reason {
				t.Fatalf("got %v %s (%s), want %v %s", v.Outcome, v.Reason, v.Detail, test.want, test.reason)
			}
			if v.DryRun != test.dryRun {
				t.Errorf("dry run: got %v", v.DryRun)
			}
			if got, want := v.Admits(), test.want == Allowed || test.dryRun; got != want {
				t.Errorf("admits: got %v, want %v", got, want)
			}
			if test.detail != "" && v.Detail != test.detail {
				t.Errorf("detail:\n got %s\nwant %s", v.Detail, test.detail)
			}
			if v.Outcome != Allowed && v.Detail == "" {
				t.Error("a failure without a detail")
			}
			if (v.AllowedBy != nil) != (v.Reason == AllowListed) {
				t.Errorf("allowed by: got %v", v.AllowedBy)
			}
			unique := slices.Compact(slices.Sorted(slices.Values(test.world.lookups)))
			if len(unique) != len(test.world.lookups) {
				t.Errorf("looked up more than once: %v", test.world.lookups)
			}
			if test.lookups > 0 && len(test.world.lookups) != test.lookups {
				t.Errorf("lookups: got %d, want %d", len(test.world.lookups), test.lookups)
			}
		})
	}
}

// Of the floor's entry and the cluster's the one is told that ends first, because with it the verdict does.
func TestAllowedByWhatEndsFirst(t *testing.T) {
	ends := now.Add
	for name, test := range map[string]struct {
		floor, cluster, want time.Time
	}{
		"neither ends":            {},
		"the floor's ends":        {floor: ends(1), want: ends(1)},
		"the cluster's ends":      {cluster: ends(1), want: ends(1)},
		"the floor's ends first":  {floor: ends(1), cluster: ends(2), want: ends(1)},
		"the floor's ends second": {floor: ends(2), cluster: ends(1), want: ends(1)},
	} {
		t.Run(name, func(t *testing.T) {
			floor := floorDocument()
			floor.Allowlist = []AllowSpec{{Pattern: appPinned, Expires: test.floor}}
			cluster := document()
			cluster.Allowlist = []AllowSpec{{Pattern: appPinned, Expires: test.cluster}}
			rules := Rules{Floor: floorOf(t, FloorSpec{Document: floor}), Cluster: compiled(cluster)}
			v := rules.Decide(app(appPinned), honestWorld(), honestWorld())
			if v.Reason != AllowListed || v.AllowedBy == nil || !v.AllowedBy.Expires.Equal(test.want) {
				t.Errorf("%s by %+v, want one that ends at %v", v.Reason, v.AllowedBy, test.want)
			}
		})
	}
}
