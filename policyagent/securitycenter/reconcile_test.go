package securitycenter

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
)

// stand is a reconciler before an API server of controller-runtime's own; what the real one does is in live.
type stand struct {
	*reconciler
	t      *testing.T
	cloud  *cloud
	server client.WithWatch
	events *events.FakeRecorder
	writes []string
	uids   int
}

func newStand(t *testing.T) *stand {
	t.Helper()
	scheme := runtime.NewScheme()
	check(t, core.AddToScheme(scheme))
	for _, kind := range []string{kindAuthority, kindPolicy} {
		scheme.AddKnownTypeWithName(v1beta1.GroupVersion().WithKind(kind), &unstructured.Unstructured{})
		scheme.AddKnownTypeWithName(v1beta1.GroupVersion().WithKind(kind+"List"), &unstructured.UnstructuredList{})
	}
	s := &stand{t: t, cloud: newCloud(), events: events.NewFakeRecorder(100)}
	s.server = fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(newObject(kindAuthority), newObject(kindPolicy)).
		WithInterceptorFuncs(interceptor.Funcs{
			Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
				u := o.(client.Object)
				what := "apply " // of one object, not of whatever has the name
				if u.GetUID() == "" {
					what = "make "
				}
				if err := c.Apply(ctx, o, opts...); err != nil {
					return err
				}
				s.writes = append(s.writes, what+u.GetName())
				return s.identify(ctx, u)
			},
			Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
				s.writes = append(s.writes, "delete "+o.GetName())
				return c.Delete(ctx, o, opts...)
			},
			SubResourceApply: func(ctx context.Context, c client.Client, sub string, o runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
				s.writes = append(s.writes, "status "+o.(client.Object).GetName())
				return c.SubResource(sub).Apply(ctx, o, opts...)
			},
		}).Build()
	s.reconciler = &reconciler{engine: syncing(s.cloud, nil), client: s.server, reader: s.server, recorder: s.events, made: map[removed]made{}}
	s.namespace("team")
	return s
}

// identify gives an object a UID, which that server does not.
func (s *stand) identify(ctx context.Context, o client.Object) error {
	if o.GetUID() != "" {
		return nil
	}
	s.uids++
	u := newObject(o.GetObjectKind().GroupVersionKind().Kind)
	if err := s.server.Get(ctx, client.ObjectKeyFromObject(o), u); err != nil {
		return err
	}
	u.SetUID(types.UID(fmt.Sprint("u-", s.uids)))
	if err := s.server.Update(ctx, u); err != nil {
		return err
	}
	o.SetUID(u.GetUID())
	o.SetResourceVersion(u.GetResourceVersion())
	return nil
}

func (s *stand) namespace(name string) {
	s.t.Helper()
	s.uids++
	check(s.t, s.server.Create(s.t.Context(), &core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(fmt.Sprint("n-", s.uids))}}))
}

// user makes or replaces an object as a user does.
func (s *stand) user(kind, name string, spec map[string]any) {
	s.t.Helper()
	u := newObject(kind)
	u.SetNamespace("team")
	u.SetName(name)
	s.uids++
	u.SetUID(types.UID(fmt.Sprint("u-", s.uids)))
	u.Object["spec"] = spec
	check(s.t, s.server.Create(s.t.Context(), u))
}

func (s *stand) get(kind, name string) *unstructured.Unstructured {
	s.t.Helper()
	u := newObject(kind)
	if err := s.server.Get(s.t.Context(), types.NamespacedName{Namespace: "team", Name: name}, u); err != nil {
		check(s.t, client.IgnoreNotFound(err))
		return nil
	}
	return u
}

// reconcile returns what was written, in order.
func (s *stand) reconcile() []string {
	s.t.Helper()
	s.writes = nil
	_, err := s.Reconcile(s.t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: "team"}})
	check(s.t, err)
	return s.writes
}

func (s *stand) sync() []string {
	s.t.Helper()
	s.engine.sync(s.t.Context())
	return s.reconcile()
}

// told returns the reasons of events since it was last asked.
func (s *stand) told() []string {
	var all []string
	for {
		select {
		case e := <-s.events.Events:
			all = append(all, strings.Fields(e)[1])
		default:
			return all
		}
	}
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestReconcile(t *testing.T) {
	s := newStand(t)
	s.cloud.policy("prod", true, "qa security", "team")
	expect(t, "made", s.sync(), "make qa", "status qa", "make security", "status security", "make prod", "status prod")
	expect(t, "settled", s.sync())
	expect(t, "told", s.told())

	p := s.get(kindPolicy, "prod")
	for _, field := range []string{"dryRun", "tagPolicy", "admissionAllowlistPatterns", "attestationAuthorityNames"} {
		if _, ok := p.Object["spec"].(map[string]any)[field]; !ok {
			t.Errorf("spec.%s is anybody's", field)
		}
	}
	p.Object["spec"].(map[string]any)["dryRun"] = true
	p.SetLabels(nil)
	p.SetAnnotations(nil)
	check(t, s.server.Update(t.Context(), p))
	expect(t, "put right", s.reconcile(), "apply prod")
	expect(t, "told", s.told(), EventPutRight)
	if p = s.get(kindPolicy, "prod"); p.Object["spec"].(map[string]any)["dryRun"] != false || !marked(p) {
		t.Errorf("%v", p)
	}

	check(t, s.server.Delete(t.Context(), s.get(kindPolicy, "prod")))
	expect(t, "deleted by a user", s.reconcile(), "make prod", "status prod")

	s.cloud.policy("prod", false, "qa", "team")
	expect(t, "held back", s.sync(), "status prod")
	expect(t, "told", s.told(), ReasonHeldBack)
	if removed := s.sync(); len(removed) != 3 || removed[0] != "delete prod" {
		t.Errorf("removed: %q", removed)
	}
	if s.get(kindAuthority, "qa") != nil || s.get(kindAuthority, "security") != nil || s.get(kindPolicy, "prod") != nil {
		t.Error("something is left")
	}
	expect(t, "nothing more", s.sync())
}

func TestUsersObjects(t *testing.T) {
	s := newStand(t)
	s.user(kindAuthority, "qa", map[string]any{"noteReference": "mine"})
	s.user(kindPolicy, "prod", map[string]any{"attestationAuthorityNames": []any{"mine"}})
	s.cloud.policy("prod", true, "qa", "team")
	authority, policy := alternativeName("qa"), alternativeName("prod")
	expect(t, "made", s.sync(), "make "+authority, "status "+authority, "make "+policy, "status "+policy)
	expect(t, "told", s.told(), EventNameTaken, EventNameTaken)
	if names := s.get(kindPolicy, policy).Object["spec"].(map[string]any)["attestationAuthorityNames"]; fmt.Sprint(names) != "["+authority+"]" {
		t.Errorf("the policy means %v", names)
	}
	if a, p := s.get(kindAuthority, "qa"), s.get(kindPolicy, "prod"); marked(a) || marked(p) || len(a.Object["spec"].(map[string]any)) != 1 {
		t.Errorf("written: %v %v", a, p)
	}
	expect(t, "settled", s.sync())

	// An object of ours that a user replaced is the user's.
	s = newStand(t)
	s.cloud.policy("prod", true, "qa", "team")
	s.sync()
	check(t, s.server.Delete(t.Context(), s.get(kindAuthority, "qa")))
	s.user(kindAuthority, "qa", map[string]any{"noteReference": "mine"})
	s.reconcile()
	if a := s.get(kindAuthority, "qa"); marked(a) || s.get(kindAuthority, authority) == nil {
		t.Errorf("taken over: %v", a)
	}
	// What is removed is ours only.
	s.cloud.policy("prod", false, "qa", "team")
	s.sync()
	s.sync()
	if s.get(kindAuthority, "qa") == nil || s.get(kindAuthority, authority) != nil || s.get(kindPolicy, "prod") != nil {
		t.Error("the user's object went, or ours stayed")
	}
}

// What a user put in the place of an object that has to go stays.
func TestReplacedBeforeRemoval(t *testing.T) {
	s := newStand(t)
	s.cloud.policy("prod", true, "qa", "team")
	s.sync()
	s.cloud.policy("prod", false, "qa", "team")
	s.engine.sync(t.Context())
	s.engine.sync(t.Context())
	check(t, s.server.Delete(t.Context(), s.get(kindAuthority, "qa")))
	s.user(kindAuthority, "qa", map[string]any{"noteReference": "mine"})
	expect(t, "removed", s.reconcile(), "delete prod")
	if s.get(kindAuthority, "qa") == nil {
		t.Error("the user's object is gone")
	}
	expect(t, "nothing more", s.reconcile())
}

// A cache that has not seen a condition yet does not make it be told again.
func TestCacheThatLags(t *testing.T) {
	s := newStand(t)
	s.cloud.policy("prod", true, "qa", "team")
	s.cloud.keyError = denied
	s.sync()
	s.told()
	stale := s.get(kindAuthority, "qa")
	delete(stale.Object, "status")
	stale.SetResourceVersion("stale")
	s.client = interceptor.NewClient(s.server, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, k client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if u, ok := o.(*unstructured.Unstructured); ok && k.Name == "qa" {
				u.Object = stale.DeepCopy().Object
				return nil
			}
			return c.Get(ctx, k, o, opts...)
		},
	})
	expect(t, "written", s.reconcile(), "status qa")
	expect(t, "not written again", s.reconcile())
	expect(t, "told", s.told(), ReasonKeyUnavailable)
}

// Deleting an object confirms a removal that is held back; deleting its namespace does not.
func TestDeletedWhileHeldBack(t *testing.T) {
	s := newStand(t)
	s.cloud.policy("prod", true, "qa", "team")
	s.sync()
	clear(s.cloud.policies)
	expect(t, "held back", s.sync(), "status prod")
	gone := func() {
		for kind, name := range map[string]string{kindPolicy: "prod", kindAuthority: "qa"} {
			check(t, s.server.Delete(t.Context(), s.get(kind, name)))
		}
	}
	gone()
	check(t, s.server.Delete(t.Context(), &core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}))
	expect(t, "without namespace", s.sync())
	s.namespace("team")
	expect(t, "made again", s.reconcile(), "make qa", "status qa", "make prod", "status prod")

	// The same, when nothing was seen in between.
	gone()
	check(t, s.server.Delete(t.Context(), &core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}))
	s.namespace("team")
	expect(t, "made again", s.reconcile(), "make qa", "status qa", "make prod", "status prod")

	check(t, s.server.Delete(t.Context(), s.get(kindPolicy, "prod")))
	expect(t, "confirmed", s.reconcile(), "delete qa")
	expect(t, "nothing more", s.sync())
}

// A policy is made even if its authority cannot be, and removed before.
func TestAuthorityThatCannotBeMade(t *testing.T) {
	s := newStand(t)
	s.cloud.policy("prod", true, "qa", "team")
	s.engine.sync(t.Context())
	s.client = interceptor.NewClient(s.server, interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			if o.(client.Object).GetName() == "qa" {
				return fmt.Errorf("refused")
			}
			return c.Apply(ctx, o, opts...)
		},
	})
	_, err := s.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: "team"}})
	if err == nil || !strings.Contains(err.Error(), "making AttestationAuthority team/qa: refused") || s.get(kindPolicy, "prod") == nil {
		t.Errorf("%v", err)
	}
}
