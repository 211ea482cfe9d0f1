package securitycenter

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kritis-node/kritis-node/policyagent/alicloud"
)

// cloud stands for Alibaba Cloud. Its tests are those of alicloud and of the emulator; here it is what fails on demand.
type cloud struct {
	mu        sync.Mutex
	witnesses map[string]alicloud.Witness
	policies  map[string]alicloud.SecurityPolicy
	keys      map[alicloud.KeyReference]alicloud.PublicKey
	failing   error // of listings
	keyError  error
	hang      bool // of PublicKey
	silent    bool // of SecurityPolicies
	asked     map[alicloud.KeyReference]int
	listed    []time.Time
	busy      int
	overlap   bool
}

func newCloud() *cloud {
	c := &cloud{
		witnesses: map[string]alicloud.Witness{}, policies: map[string]alicloud.SecurityPolicy{},
		keys: map[alicloud.KeyReference]alicloud.PublicKey{}, asked: map[alicloud.KeyReference]int{},
	}
	c.witness("qa", "key-1", "v1")
	c.witness("security", "key-2", "v1")
	return c
}

// witness makes a witness, and its key.
func (c *cloud) witness(name, id, version string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.witnesses[name] = alicloud.Witness{Name: name, KeyID: id, KeyVersion: version}
	c.keys[alicloud.KeyReference{ID: id, Version: version}] = alicloud.PublicKey{ID: id, Version: version, PEM: "PEM of " + id + " " + version, State: enabled}
}

// policy makes a policy for namespaces of cluster c-1.
func (c *cloud) policy(name string, on bool, witnesses string, namespaces ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.policies[name] = alicloud.SecurityPolicy{
		Name: name, Enabled: on, Witnesses: strings.Fields(witnesses), Scopes: []alicloud.ClusterScope{{ClusterID: "c-1", Namespaces: namespaces}},
	}
}

func (c *cloud) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func (c *cloud) SecurityPolicies(ctx context.Context) ([]alicloud.SecurityPolicy, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.silent {
		<-ctx.Done()
		return nil, &alicloud.Error{Service: "sas", Action: "DescribeBinarySecurityPolicies", Text: "no answer in time"}
	}
	c.listed = append(c.listed, time.Now())
	c.overlap = c.overlap || c.busy > 0
	return slices.Collect(maps.Values(c.policies)), c.failing
}

func (c *cloud) Witnesses(context.Context) ([]alicloud.Witness, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.witnesses)), c.failing
}

func (c *cloud) PublicKey(ctx context.Context, ref alicloud.KeyReference) (alicloud.PublicKey, error) {
	c.mu.Lock()
	hang := c.hang
	c.asked[ref]++
	c.busy++
	c.mu.Unlock()
	if hang {
		<-ctx.Done()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy--
	switch k, ok := c.keys[ref]; {
	case hang:
		return alicloud.PublicKey{}, &alicloud.Error{Service: "kms", Action: "GetPublicKey", Text: "no answer in time"}
	case c.keyError != nil:
		return alicloud.PublicKey{}, c.keyError
	case !ok:
		return alicloud.PublicKey{}, &alicloud.Error{Kind: alicloud.NotFound, Service: "kms", Action: "GetPublicKey", Text: "there is no such key", Code: "Forbidden.KeyNotFound", RequestID: "r-1"}
	default:
		return k, nil
	}
}

var denied = &alicloud.Error{Kind: alicloud.Denied, Service: "kms", Action: "GetPublicKey", Text: "the RAM policy refuses it", Code: "Forbidden.NoPermission", RequestID: "r-2"}

// config is what most tests use.
func config(c Cloud) Config {
	return Config{Cloud: c, ClusterID: "c-1", Interval: 30 * time.Second, KeyRefresh: 12 * time.Hour, Log: slog.New(slog.DiscardHandler)}
}

// syncing returns an engine that knows of nothing, and is asked to sync by the test.
func syncing(c *cloud, change func(*Config)) *engine {
	cfg := config(c)
	if change != nil {
		change(&cfg)
	}
	e := newEngine(cfg, newMetrics(), func(context.Context, []string) {})
	e.start(context.Background(), state{}, nil)
	return e
}

// shows what a namespace has: "policy: witness witness" and "witness= key key", objects that go with "-".
func show(t *testing.T, e *engine, ns string) string {
	t.Helper()
	w, err := e.wanted(ns)
	check(t, err)
	var all []string
	e.mu.Lock()
	defer e.mu.Unlock()
	if sp := e.state[ns]; sp != nil {
		for _, name := range slices.Sorted(maps.Keys(sp.authorities)) {
			var keys []string
			for _, k := range sp.authorities[name].keys {
				keys = append(keys, k.ID+"/"+k.Version)
			}
			all = append(all, name+"="+strings.Join(keys, ","))
		}
		for _, name := range slices.Sorted(maps.Keys(sp.policies)) {
			all = append(all, name+":"+strings.Join(sp.policies[name].witnesses, ","))
		}
	}
	for _, g := range w.gone {
		all = append(all, "-"+g.name)
	}
	return strings.Join(all, " ")
}

func reason(t *testing.T, e *engine, ns, kind, cloud string) condition {
	t.Helper()
	w, err := e.wanted(ns)
	check(t, err)
	for _, o := range w.objects {
		if o.kind == kind && o.cloud == cloud {
			return o.condition
		}
	}
	return condition{}
}

// objects returns a namespace's objects as the API server would.
func objects(t *testing.T, e *engine, ns string) []unstructured.Unstructured {
	t.Helper()
	w, err := e.wanted(ns)
	check(t, err)
	var all []unstructured.Unstructured
	for i := range w.objects {
		raw, err := w.objects[i].object("").MarshalJSON()
		check(t, err)
		var u unstructured.Unstructured
		check(t, u.UnmarshalJSON(raw))
		if !w.objects[i].is(&u) {
			t.Errorf("%s is not as wanted", u.GetName())
		}
		all = append(all, u)
	}
	return all
}
