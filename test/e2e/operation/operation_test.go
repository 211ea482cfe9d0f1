package operation

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
	"github.com/kritis-node/kritis-node/test/site"
	"github.com/kritis-node/kritis-node/test/stack"
)

// operation is a site, and what its steps share. Each step has namespaces of its own, so that one may be run alone.
type operation struct {
	*site.Site
	// api is for what kubectl would be too slow for.
	api              dynamic.Interface
	config           *rest.Config
	signed, unsigned string
	// other is a key that nothing requires until a step does.
	other stack.Key
}

// TestOperation is the life of an installation with the chart's own values: placement pod, two webhooks, failure policy Fail.
func TestOperation(t *testing.T) {
	o := start(t)
	before := o.startBefore(t)
	check(t, o.Install(t.Context()))
	for _, step := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"installing restarts nothing", before.same},
		{"namespaces without policy", o.withoutPolicy},
		{"policies are in force in time", o.policiesInTime},
		{"authority deleted", o.authorityDeleted},
		{"key rotated", o.keyRotated},
		{"API server stopped, and break-glass expires meanwhile", o.apiServerStopped},
		{"upgraded while pods are created", o.upgradedUnderLoad},
		{"rolled back", o.rolledBack},
		{"values that are refused", o.valuesRefused},
		{"uninstalled", func(t *testing.T) { o.uninstalled(t, before) }},
	} {
		t.Run(step.name, func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Log(o.Describe(context.Background()))
				}
			}()
			step.do(t)
		})
	}
}

func start(t *testing.T) *operation {
	t.Helper()
	s, err := site.Start(t.Context(), site.Options{Kubernetes: kubernetes.Options{
		// As many pods as a node has addresses for; and static pods tell of themselves soon after the API server is back.
		KubeletArgs: []string{"--max-pods=250", "--sync-frequency=5s"},
		Progress:    func(line string) { t.Log(line) },
	}})
	check(t, err)
	o := &operation{Site: s}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(o.Logs())
		}
		check(t, o.Close())
	})
	o.config, err = clientcmd.BuildConfigFromFlags("", o.Kubeconfig())
	check(t, err)
	// Pacing is the tests' own, and that somebody is denied is no news.
	o.config.QPS, o.config.Timeout, o.config.WarningHandler = -1, 30*time.Second, rest.NoWarnings{}
	o.api, err = dynamic.NewForConfig(o.config)
	check(t, err)
	o.other, err = stack.WriteKey(filepath.Join(t.TempDir(), "other"))
	check(t, err)
	o.signed, err = o.PushSigned(t.Context(), "team/signed")
	check(t, err)
	o.unsigned, err = o.Push(t.Context(), "team/unsigned")
	check(t, err)
	return o
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// await is [cluster.Await] with more patience: what is waited for here goes through many hands.
func await(ctx context.Context, what string, ready func(context.Context) error) (err error) {
	for range 4 {
		if err = cluster.Await(ctx, what, ready); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// kubectl runs it, and fails the test if it fails.
func (o *operation) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	output, err := o.KubectlOutput(t.Context(), args...)
	check(t, err)
	return output
}

// signWith signs with another key than the site's.
func (o *operation) signWith(t *testing.T, key stack.Key, reference string) {
	t.Helper()
	empty := filepath.Join(t.TempDir(), "docker.json")
	check(t, os.WriteFile(empty, []byte("{}"), 0o644))
	output, err := exec.CommandContext(t.Context(), o.Program, "sign", "--key", key.Private, "--registry-config", o.RegistryConfig(),
		"--docker-config", empty, reference).CombinedOutput()
	if err != nil {
		t.Fatalf("kritis sign: %v: %s", err, output)
	}
}

func (o *operation) pods(namespace string) dynamic.ResourceInterface {
	return o.api.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).Namespace(namespace)
}

// authority applies an authority with keys.
func (o *operation) authority(t *testing.T, namespace, name string, keys ...stack.Key) {
	t.Helper()
	text, err := stack.Authority(namespace, name, "", keys...)
	check(t, err)
	check(t, o.Apply(t.Context(), text))
}

// governed makes a namespace that requires the site's key, and waits until the node and every webhook do.
func (o *operation) governed(t *testing.T, namespace string) {
	t.Helper()
	o.kubectl(t, "create", "namespace", namespace)
	check(t, o.Require(t.Context(), namespace))
	check(t, await(t.Context(), "the webhooks to know the policy of "+namespace, func(ctx context.Context) error {
		return o.webhooksDeny(ctx, namespace)
	}))
}

func (o *operation) run(t *testing.T, namespace, name, image string) {
	t.Helper()
	o.kubectl(t, "--namespace", namespace, "run", name, "--image="+image, "--", "sleep", "100000")
}
