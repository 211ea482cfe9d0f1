package live

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/policyagent/attestations"
	fetch "github.com/kritis-node/kritis-node/policyagent/controller"
	nodes "github.com/kritis-node/kritis-node/policyagent/kube"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
	"github.com/kritis-node/kritis-node/verifier"
)

const (
	asker     = "system:serviceaccount:kritis-system:asker"
	coveredAt = "team-registry.cn-test.cr.aliyuncs.com/"
)

// askerRights are those of nodes and webhooks about attestations.
const askerRights = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: kritis-asker}
rules:
- {apiGroups: [kritis.grafeas.io], resources: [attestations], verbs: [get, watch, create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: kritis-asker}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: kritis-asker}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: "` + asker + `"}]
`

// cloud is a source of which the test says what it answers.
type cloud struct {
	mu    sync.Mutex
	calls map[string]int
	found map[string][]verifier.Attestation
	fails map[string]error
	notes []string
	ask   func(context.Context) ([]string, error)
}

func (c *cloud) Name() string                  { return "a test" }
func (c *cloud) Covers(repository string) bool { return !strings.Contains(repository, "/foreign/") }

func (c *cloud) Attestations(ctx context.Context, repository string, _ verifier.Digest) ([]verifier.Attestation, error) {
	notes, err := c.ask(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notes = notes
	c.calls[repository]++
	return c.found[repository], errors.Join(err, c.fails[repository])
}

func (c *cloud) called(repository string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[repository]
}

func (c *cloud) set(repository string, err error, payloads ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fails[repository], c.found[repository] = err, nil
	for _, p := range payloads {
		c.found[repository] = append(c.found[repository], verifier.Attestation{Format: verifier.FormatKritis, Payload: []byte(p), Signatures: []verifier.Signature{{KeyID: "k", Value: []byte("s")}}})
	}
}

func digestOf(c string) verifier.Digest { return verifier.Digest("sha256:" + strings.Repeat(c, 64)) }

// node returns what a node has of its own.
func node(t *testing.T, kube *kubernetes.Cluster) attestations.Source {
	t.Helper()
	kubeconfig, err := kube.KubeconfigFor(asker)
	check(t, err)
	server, err := nodes.Kubeconfig(kubeconfig, "test")
	check(t, err)
	t.Cleanup(server.Close)
	source, err := nodes.NewAttestations(server, []string{"*.cr.aliyuncs.com"})
	check(t, err)
	return source
}

// payloads asks and returns what is found.
func payloads(ctx context.Context, s attestations.Source, repository string, d verifier.Digest) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	found, err := s.Attestations(ctx, repository, d)
	var all []string
	for _, a := range found {
		all = append(all, string(a.Payload))
	}
	return strings.Join(all, " "), err
}

func want(t *testing.T, s attestations.Source, repository string, d verifier.Digest, found, failure string) {
	t.Helper()
	got, err := payloads(t.Context(), s, repository, d)
	if got != found || failure == "" && err != nil || failure != "" && (err == nil || !strings.Contains(err.Error(), failure)) {
		t.Errorf("%s of %.12s: %q, %v; want %q, %q", repository, d, got, err, found, failure)
	}
	if err != nil && strings.Contains(err.Error(), "\n") {
		t.Errorf("several lines: %v", err)
	}
}

func testAttestations(t *testing.T, kube *kubernetes.Cluster) {
	apply(t, kube, askerRights)
	n, other := node(t, kube), node(t, kube)
	t.Run("what somebody wrote needs nobody", func(t *testing.T) { testWritten(t, kube, n) })
	t.Run("no controller", func(t *testing.T) { testUnanswered(t, n) })
	c := &cloud{calls: map[string]int{}, found: map[string][]verifier.Attestation{}, fails: map[string]error{}}
	startFetching(t, kube, c)
	t.Run("many askers, one call", func(t *testing.T) { testOneCall(t, kube, c, n, other) })
}

func startFetching(t *testing.T, kube *kubernetes.Cluster, c *cloud) {
	t.Helper()
	kubeconfig, err := kube.KubeconfigFor(user)
	check(t, err)
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	check(t, err)
	config.QPS, config.Burst = 100, 100
	running, err := fetch.New(fetch.Config{
		REST: config, Namespace: namespace, WithoutLeaderElection: true, Registry: prometheus.NewRegistry(),
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Attestations: func(notes func(context.Context) ([]string, error)) (fetch.AttestationSource, error) {
			c.ask = notes
			return c, nil
		},
	})
	check(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- running.Run(ctx) }()
	t.Cleanup(func() { stop(); check(t, <-ended) })
}

func written(d verifier.Digest, id, payload string) string {
	return fmt.Sprintf("---\n%s: %s\nkind: Attestation\nmetadata: {name: %s}\nspec: {statements: [{id: %q, serializedPayload: %s, signatures: [{publicKeyId: k, signature: cw==}]}]}\n",
		"apiVersion", v1beta1.APIVersion, v1beta1.AttestationName(d), id, base64.StdEncoding.EncodeToString([]byte(payload)))
}

// A statement that a person applied is found for every registry, without a controller.
func testWritten(t *testing.T, kube *kubernetes.Cluster, n attestations.Source) {
	want(t, n, "registry.example/app", digestOf("a"), "", "")
	apply(t, kube, written(digestOf("a"), "0123456789abcdef", "written"))
	want(t, n, "registry.example/app", digestOf("a"), "written", "")
	want(t, n, "registry.example/app", digestOf("b"), "", "")
}

// Without a controller nobody can tell, and what is known counts all the same.
func testUnanswered(t *testing.T, n attestations.Source) {
	began := time.Now()
	want(t, n, coveredAt+"app", digestOf("a"), "written", "the controller has not answered within 10s")
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("%s", took)
	}
}

func testOneCall(t *testing.T, kube *kubernetes.Cluster, c *cloud, n, other attestations.Source) {
	apply(t, kube, object(v1beta1.KindAuthority, "default", "qa", "{noteReference: namespaces/qa}"))
	defer kubectl(t, kube, "delete", "aa", "qa")
	c.set(coveredAt+"app", nil, "one", "two")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			s := n
			if i%2 == 0 {
				s = other
			}
			want(t, s, coveredAt+"app", digestOf("c"), "one two", "")
		})
	}
	wg.Wait()
	if calls := c.called(coveredAt + "app"); calls != 2 { // one of them for the question from before
		t.Errorf("%d calls", calls)
	}
	check(t, cluster.Await(t.Context(), "the answer to what was asked before", func(context.Context) error {
		got, err := payloads(t.Context(), n, coveredAt+"app", digestOf("a"))
		if err == nil && got != "written one two" && got != "one two written" {
			err = errors.New(got)
		}
		return err
	}))
	if c.notes == nil || c.notes[0] != "namespaces/qa" {
		t.Errorf("notes %v", c.notes)
	}
}
