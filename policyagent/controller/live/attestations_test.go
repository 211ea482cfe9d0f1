package live

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
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

// askFor writes a question that nobody will ask again.
func askFor(t *testing.T, kube *kubernetes.Cluster, d verifier.Digest) {
	t.Helper()
	patch := fmt.Sprintf(`{"apiVersion":%q,"kind":"Attestation","metadata":{"name":%q,"labels":{%q:%q}},"spec":{"wanted":[{"repository":"x.cr.aliyuncs.com/a","askedAt":"2026-01-02T03:04:05Z"}]}}`,
		v1beta1.APIVersion, v1beta1.AttestationName(d), v1beta1.LabelAsked, v1beta1.LabelAskedValue)
	file := t.TempDir() + "/asked.json"
	check(t, os.WriteFile(file, []byte(patch), 0o600))
	kubectl(t, kube, "apply", "--server-side", "--field-manager", v1beta1.AskerFor("x.cr.aliyuncs.com/a"), "--filename", file)
}

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
	t.Run("not attested yet", func(t *testing.T) { testLater(t, kube, c, n, other) })
	t.Run("a second witness", func(t *testing.T) { testSecondWitness(t, kube, c, n, other) })
	t.Run("failures", func(t *testing.T) { testFailing(t, c, n) })
	t.Run("repaired", func(t *testing.T) { testRepaired(t, c, n) })
	t.Run("not covered", func(t *testing.T) { testNotCovered(t, c, n) })
	t.Run("statements of others", func(t *testing.T) { testBeside(t, kube, c, n) })
	t.Run("too many", func(t *testing.T) { testTooMany(t, c, n) })
	t.Run("nobody asks any more", func(t *testing.T) { testExpired(t, kube, c) })
	t.Run("schema", func(t *testing.T) { testAttestationSchema(t, kube) })
	t.Run("rights", func(t *testing.T) { testAskerRights(t, kube) })
	t.Run("the kind is gone", func(t *testing.T) { testNoKind(t, kube, n) })
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
	// As `kritis sign -o yaml` prints it, applied as it says: of two signers, and for two repositories.
	program, err := cluster.Build(t.Context(), "./cmd/kritis")
	check(t, err)
	dir := t.TempDir()
	for i, repository := range []string{"registry.example/app", "mirror.example/app", "registry.example/app"} {
		key, file := fmt.Sprintf("%s/%d.pem", dir, i/2), dir+"/attestation.yaml"
		if i != 1 {
			private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			check(t, err)
			der, err := x509.MarshalPKCS8PrivateKey(private)
			check(t, err)
			check(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
		}
		out, err := exec.CommandContext(t.Context(), program, "sign", "--key", key, "-o", "yaml", repository+"@"+string(digestOf("b"))).Output()
		check(t, err)
		check(t, os.WriteFile(file, out, 0o600))
		_, command, _ := strings.Cut(string(out), "\n# kubectl ")
		command, _, _ = strings.Cut(command, "\n")
		kubectl(t, kube, strings.Fields(strings.Replace(command, "FILE", file, 1))...)
	}
	found, err := n.Attestations(t.Context(), "registry.example/app", digestOf("b"))
	if err != nil || len(found) != 3 {
		t.Errorf("%+v, %v", found, err)
	}
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

// What is not attested yet is found soon after it is; and until then the source is asked ever more rarely, however often
// nodes ask.
func testLater(t *testing.T, kube *kubernetes.Cluster, c *cloud, n, other attestations.Source) {
	repository, d := coveredAt+"later", digestOf("1")
	want(t, n, repository, d, "", "")
	for range 20 {
		want(t, n, repository, d, "", "")
		want(t, other, repository, d, "", "")
	}
	if calls := c.called(repository); calls != 1 {
		t.Errorf("%d calls", calls)
	}
	c.set(repository, nil, "signed")
	began := time.Now()
	check(t, cluster.Await(t.Context(), "the attestation", func(context.Context) error {
		got, err := payloads(t.Context(), n, repository, d)
		if err == nil && got != "signed" {
			err = fmt.Errorf("%q", got)
		}
		return err
	}))
	t.Logf("found after %s", time.Since(began))
	for range 20 {
		want(t, other, repository, d, "signed", "")
	}
	if calls := c.called(repository); calls != 2 {
		t.Errorf("%d calls", calls)
	}
	// A question that is asked all the same gets the answer that there is.
	var before, after v1beta1.Attestation
	get(t, kube, &before, "attestation", v1beta1.AttestationName(d))
	kubectl(t, kube, "patch", "attestation", v1beta1.AttestationName(d), "--type=json", "--patch", `[{"op":"replace","path":"/spec/wanted/0/askedAt","value":"2026-01-02T03:04:05Z"}]`)
	await(t, kube, "default", "attestation/"+v1beta1.AttestationName(d), "{.status.answers[0].askedAt}", "2026-01-02T03:04:05Z")
	get(t, kube, &after, "attestation", v1beta1.AttestationName(d))
	if a, b := before.Status.Answers[0], after.Status.Answers[0]; !a.ObservedAt.Equal(&b.ObservedAt) || b.Statements != 1 || b.State != "Complete" || b.Source != "a test" || c.called(repository) != 2 {
		t.Errorf("%+v, %+v, %d calls", a, b, c.called(repository))
	}
}

// A policy wants two witnesses, and one signs later. What is known does not suffice then: that is found some 10 s after the
// last look, although the answer would hold for minutes. For whom it suffices, nothing is looked for.
func testSecondWitness(t *testing.T, kube *kubernetes.Cluster, c *cloud, n, other attestations.Source) {
	repository, d := coveredAt+"witnesses", digestOf("d")
	c.set(repository, nil, "one")
	looked := time.Now()
	want(t, n, repository, d, "one", "")
	insufficient := attestations.Insufficient(t.Context())
	if got, err := payloads(insufficient, other, repository, d); got != "one" || err != nil || c.called(repository) != 1 {
		t.Errorf("a moment later: %q, %v, %d calls", got, err, c.called(repository))
	}
	c.set(repository, nil, "one", "two")
	check(t, cluster.Await(insufficient, "the second attestation", func(ctx context.Context) error {
		want(t, n, repository, d, "one", "")
		got, err := payloads(ctx, other, repository, d)
		if err == nil && len(strings.Fields(got)) != 2 {
			err = fmt.Errorf("%q", got)
		}
		return err
	}))
	took := time.Since(looked)
	t.Logf("found %s after the first look", took)
	if took > v1beta1.LookInterval+10*time.Second || c.called(repository) != 2 {
		t.Errorf("after %s, %d calls", took, c.called(repository))
	}
	// Whom it suffices asks nothing, and many who need more are one: until the next look is due, and then.
	for _, calls := range []int{2, 3} {
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				s, ctx := n, t.Context()
				if i%2 == 0 {
					s, ctx = other, insufficient
				}
				if got, err := payloads(ctx, s, repository, d); len(strings.Fields(got)) != 2 || err != nil {
					t.Errorf("%q, %v", got, err)
				}
			})
		}
		wg.Wait()
		if got := c.called(repository); got != calls {
			t.Errorf("%d calls, want %d", got, calls)
		}
		backdate(t, kube, d)
	}
}

// backdate makes the last look of an object older than LookInterval. The next question is of another second then.
func backdate(t *testing.T, kube *kubernetes.Cluster, d verifier.Digest) {
	t.Helper()
	asked := time.Now().Unix()
	patch := fmt.Sprintf(`[{"op":"replace","path":"/status/answers/0/observedAt","value":%q}]`, time.Now().Add(-v1beta1.LookInterval-time.Second).UTC().Format(time.RFC3339))
	kubectl(t, kube, "patch", "attestation", v1beta1.AttestationName(d), "--subresource=status", "--type=json", "--patch", patch)
	check(t, cluster.Await(t.Context(), "another second", func(context.Context) error {
		if time.Now().Unix() == asked {
			return errors.New("it is the same")
		}
		return nil
	}))
}

// After an outage, an image that is attested waits for 20 s at most, however long the outage was.
func testRepaired(t *testing.T, c *cloud, n attestations.Source) {
	const longest = 20 * time.Second
	repository, d := coveredAt+"repaired", digestOf("e")
	c.set(repository, errors.New("away"))
	for calls := range 3 {
		check(t, cluster.Await(t.Context(), fmt.Sprintf("look %d", calls+1), func(context.Context) error {
			want(t, n, repository, d, "", "the controller could not tell: away")
			if got := c.called(repository); got != calls+1 {
				return fmt.Errorf("%d calls", got)
			}
			return nil
		}))
	}
	c.set(repository, nil, "one")
	repaired := time.Now()
	check(t, cluster.Await(t.Context(), "the attestation", func(ctx context.Context) error {
		got, err := payloads(ctx, n, repository, d)
		if err == nil && got != "one" {
			err = fmt.Errorf("%q", got)
		}
		return err
	}))
	took := time.Since(repaired)
	t.Logf("found %s after the repair", took)
	if took > longest+5*time.Second || c.called(repository) != 4 {
		t.Errorf("after %s, %d calls", took, c.called(repository))
	}
}

// A source that fails is "could not tell", and what it found all the same counts, beside what was known.
func testFailing(t *testing.T, c *cloud, n attestations.Source) {
	repository, d := coveredAt+"failing", digestOf("2")
	c.set(repository, errors.New("cr ListMetadataOccurrences: throttled\nhere"), "partial")
	want(t, n, repository, d, "partial", "the controller could not tell: cr ListMetadataOccurrences: throttled here")
	c.set(repository, errors.New("throttled"), "second part")
	check(t, cluster.Await(t.Context(), "the next try", func(context.Context) error {
		got, err := payloads(t.Context(), n, repository, d)
		if err == nil || got != "partial second part" && got != "second part partial" {
			return fmt.Errorf("%q, %w", got, err)
		}
		return nil
	}))
	if calls := c.called(repository); calls != 2 {
		t.Errorf("%d calls", calls)
	}
}

func testNotCovered(t *testing.T, c *cloud, n attestations.Source) {
	began := time.Now()
	want(t, n, coveredAt+"foreign/app", digestOf("3"), "", "")
	if took := time.Since(began); took > 5*time.Second || c.called(coveredAt+"foreign/app") != 0 {
		t.Errorf("%s, %d calls", took, c.called(coveredAt+"foreign/app"))
	}
	want(t, n, "registry.example/app", digestOf("3"), "", "")
}

// Statements of people, and of two repositories, stand side by side; what a source no longer has goes, and nothing else.
func testBeside(t *testing.T, kube *kubernetes.Cluster, c *cloud, n attestations.Source) {
	d, one, two := digestOf("4"), coveredAt+"beside/one", coveredAt+"beside/two"
	apply(t, kube, written(d, "0123456789abcdef", "a"))
	c.set(one, nil, "b")
	c.set(two, nil, "c")
	sorted := func() string {
		got, err := payloads(t.Context(), n, "registry.example/app", d)
		check(t, err)
		all := strings.Fields(got)
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	want(t, n, one, d, "a b", "")
	if _, err := payloads(t.Context(), n, two, d); err != nil || sorted() != "a b c" {
		t.Errorf("%s, %v", sorted(), err)
	}
	// The attestation is taken back at its source.
	c.set(one, nil)
	past := fmt.Sprintf(`{"status":{"answers":[{"repository":%q,"state":"Complete","statements":1,"askedAt":"2026-01-02T03:04:05Z","observedAt":"2026-01-02T03:04:05Z","nextAt":"2026-01-02T03:04:15Z"}]}}`, one)
	kubectl(t, kube, "patch", "attestation", v1beta1.AttestationName(d), "--subresource=status", "--type=merge", "--patch", past)
	check(t, cluster.Await(t.Context(), "the attestation to go", func(context.Context) error {
		if got := sorted(); got != "a c" {
			return errors.New(got)
		}
		return nil
	}))
	// So does who wrote one by hand.
	kubectl(t, kube, "delete", "attestation", v1beta1.AttestationName(d))
}

// More statements than an object takes are "could not tell"; those that fit are there.
func testTooMany(t *testing.T, c *cloud, n attestations.Source) {
	var many []string
	for i := range v1beta1.MaxStatements + 1 {
		many = append(many, fmt.Sprint(i))
	}
	c.set(coveredAt+"many", nil, many...)
	got, err := payloads(t.Context(), n, coveredAt+"many", digestOf("5"))
	if err == nil || !strings.Contains(err.Error(), "more than 50 attestations") || len(strings.Fields(got)) != v1beta1.MaxStatements {
		t.Errorf("%q, %v", got, err)
	}
	c.set(coveredAt+"large", nil, strings.Repeat("x", 7<<10))
	want(t, n, coveredAt+"large", digestOf("6"), "", "too large for an Attestation object")
}

// What nobody has asked for in a week goes, but not what somebody wrote.
func testExpired(t *testing.T, kube *kubernetes.Cluster, c *cloud) {
	alone, beside, fresh := v1beta1.AttestationName(digestOf("7")), v1beta1.AttestationName(digestOf("8")), v1beta1.AttestationName(digestOf("c"))
	for _, d := range []string{"7", "8"} {
		name := v1beta1.AttestationName(digestOf(d))
		askFor(t, kube, digestOf(d))
		if d == "8" { // after it: kubectl makes what it applied before part of what it applies with --server-side
			apply(t, kube, written(digestOf(d), "0123456789abcdef", "theirs"))
		}
		await(t, kube, "default", "attestation/"+name, "{.status.answers[0].state}", "Complete")
		kubectl(t, kube, "patch", "attestation", name, "--subresource=status", "--type=json", "--patch", `[{"op":"replace","path":"/status/answers/0/observedAt","value":"2026-01-02T03:04:05Z"}]`)
	}
	check(t, cluster.Await(t.Context(), "old questions to go", func(ctx context.Context) error {
		if _, err := kube.KubectlOutput(ctx, "get", "attestation", alone); err == nil {
			return errors.New("the object that nobody asks for is there")
		}
		if got, err := kube.KubectlOutput(ctx, "get", "attestation", beside, "--output", "jsonpath={.spec.wanted[*].repository}{.spec.statements[*].id}"); err != nil || got != "0123456789abcdef" {
			return fmt.Errorf("%s, %w", got, err)
		}
		return nil
	}))
	kubectl(t, kube, "get", "attestation", fresh)
}

func testAttestationSchema(t *testing.T, kube *kubernetes.Cluster) {
	head := fmt.Sprintf("apiVersion: %s\nkind: Attestation\n", v1beta1.APIVersion)
	name := "metadata: {name: " + v1beta1.AttestationName(digestOf("9")) + "}\n"
	for what, c := range map[string]struct{ manifest, want string }{
		"name":       {head + "metadata: {name: sha256-short}\n", "the name is that of a digest"},
		"upper case": {head + "metadata: {name: sha512-" + strings.Repeat("a", 64) + "}\n", "the name is that of a digest"},
		"both":       {head + name + "spec: {statements: [{id: 0123456789abcdef, bundle: eA==, serializedPayload: eA==, signatures: [{signature: eA==}]}]}", "either serializedPayload and signatures, or a bundle"},
		"unsigned":   {head + name + "spec: {statements: [{id: 0123456789abcdef, serializedPayload: eA==}]}", "either serializedPayload and signatures, or a bundle"},
		"nothing":    {head + name + "spec: {statements: [{id: 0123456789abcdef}]}", "either serializedPayload and signatures, or a bundle"},
		"no base64":  {head + name + "spec: {statements: [{id: 0123456789abcdef, bundle: '%%%'}]}", "byte"},
		"id":         {head + name + "spec: {statements: [{id: x, bundle: eA==}]}", "spec.statements[0].id"},
		"twice":      {head + name + "spec: {statements: [{id: 0123456789abcdef, bundle: eA==}, {id: 0123456789abcdef, bundle: eA==}]}", "uplicate"},
		"large":      {head + name + "spec: {statements: [{id: 0123456789abcdef, bundle: " + strings.Repeat("eA==", 4097) + "}]}", "spec.statements[0].bundle"},
	} {
		if err := kube.Apply(t.Context(), c.manifest); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// The largest that there may be is one that etcd takes, and that a node reads.
	full := v1beta1.Attestation{}
	full.APIVersion, full.Kind, full.Name = v1beta1.APIVersion, v1beta1.KindAttestation, v1beta1.AttestationName(digestOf("9"))
	for i := range v1beta1.MaxStatements {
		a := verifier.Attestation{Format: verifier.FormatKritis, Payload: []byte(strings.Repeat(fmt.Sprintf("%02d", i), 3<<10))}
		for range v1beta1.MaxStatementSignatures {
			a.Signatures = append(a.Signatures, verifier.Signature{KeyID: strings.Repeat("k", 256), Value: []byte(strings.Repeat("s", 768))})
		}
		s, err := v1beta1.StatementOf(a)
		check(t, err)
		full.Spec.Statements = append(full.Spec.Statements, s)
	}
	data, err := json.Marshal(full)
	check(t, err)
	t.Logf("%d bytes", len(data))
	file := t.TempDir() + "/full.json"
	check(t, os.WriteFile(file, data, 0o600))
	kubectl(t, kube, "apply", "--server-side", "--filename", file)
	found, err := node(t, kube).Attestations(t.Context(), "registry.example/app", digestOf("9"))
	if err != nil || len(found) != v1beta1.MaxStatements {
		t.Errorf("%d, %v", len(found), err)
	}
	full.Spec.Statements = append(full.Spec.Statements, v1beta1.Statement{ID: "0123456789abcdef", Bundle: []byte("x")})
	data, err = json.Marshal(full)
	check(t, err)
	check(t, os.WriteFile(file, data, 0o600))
	if _, err := kube.KubectlOutput(t.Context(), "apply", "--server-side", "--filename", file); err == nil || !strings.Contains(err.Error(), "Too many") {
		t.Errorf("one statement more: %.300v", err)
	}
	if got := kubectl(t, kube, "get", "attestation", v1beta1.AttestationName(digestOf("c"))); !strings.HasPrefix(got, "NAME") || !strings.Contains(got, "Complete   2") {
		t.Errorf("%s", got)
	}
}

// Who asks may do nothing but ask and read.
func testAskerRights(t *testing.T, kube *kubernetes.Cluster) {
	for what, allowed := range map[string]bool{"get attestations": true, "patch attestations": true, "create attestations": true, "watch attestations": true,
		"delete attestations": false, "patch attestations/status": false, "list attestations": false} {
		verb, resource, _ := strings.Cut(what, " ")
		out, _ := kube.KubectlOutput(t.Context(), "auth", "can-i", "--as", asker, verb, resource+".kritis.grafeas.io")
		if _, sub, ok := strings.Cut(resource, "/"); ok {
			out, _ = kube.KubectlOutput(t.Context(), "auth", "can-i", "--as", asker, verb, "attestations.kritis.grafeas.io", "--subresource", sub)
		}
		if strings.HasPrefix(out, "yes") != allowed {
			t.Errorf("%s: %s", what, out)
		}
	}
	kubeconfig, err := kube.KubeconfigFor("system:serviceaccount:kritis-system:nobody")
	check(t, err)
	server, err := nodes.Kubeconfig(kubeconfig, "test")
	check(t, err)
	defer server.Close()
	n, err := nodes.NewAttestations(server, []string{"*.cr.aliyuncs.com"})
	check(t, err)
	want(t, n, coveredAt+"app", digestOf("c"), "", "allow the policy agent's ServiceAccount to get, watch, create and patch attestations")
	want(t, n, "registry.example/app", digestOf("c"), "", "")
}

// Without the kind only images that depend on it are concerned.
func testNoKind(t *testing.T, kube *kubernetes.Cluster, n attestations.Source) {
	kubectl(t, kube, "delete", "crd", "attestations.kritis.grafeas.io")
	defer func() {
		kubectl(t, kube, "apply", "--filename", crds)
		kubectl(t, kube, "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	}()
	want(t, n, coveredAt+"app", digestOf("c"), "", "the cluster has no kind Attestation: apply the CRDs of this version")
	want(t, n, "registry.example/app", digestOf("c"), "", "")
}
