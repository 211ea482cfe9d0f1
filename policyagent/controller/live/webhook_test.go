package live

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/clustertest"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
)

// A webhook that has the Secret's certificate answers the API server, through its Service, and goes on doing so while a
// new authority is made and the certificate is not there yet.
func testWebhook(t *testing.T, kube *kubernetes.Cluster) {
	startController(t, kube, 9101)
	first := secret(t, kube, "a certificate", good)
	trusted(t, kube, first.Data["ca.crt"])
	dir := t.TempDir()
	write := func(data map[string][]byte) {
		t.Helper()
		for _, name := range []string{"tls.crt", "tls.key"} {
			check(t, os.WriteFile(filepath.Join(dir, name), data[name], 0o600))
		}
	}
	write(first.Data)
	program, err := cluster.Build(t.Context(), "./cmd/kritis")
	check(t, err)
	hook := clustertest.StartProgram(t, cluster.Command{
		Path: program,
		Args: []string{"webhook", "--kubeconfig", kube.Kubeconfig(), "--listen", ":8443", "--status-listen", "127.0.0.1:9103", "--drain-delay", "0s",
			"--registry=false", "--attestation-dir", dir, "--tls-cert", dir + "/tls.crt", "--tls-key", dir + "/tls.key"},
	}, nil)
	apply(t, kube, `
apiVersion: v1
kind: Namespace
metadata: {name: judged}
---
apiVersion: v1
kind: Service
metadata: {name: kritis-webhook, namespace: kritis-system}
spec: {ports: [{port: 443, targetPort: 8443}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kritis-webhook, namespace: kritis-system, labels: {kubernetes.io/service-name: kritis-webhook}}
addressType: IPv4
ports: [{port: 8443, protocol: TCP, name: ""}]
endpoints: [{addresses: ["`+kube.NodeAddress()+`"]}]
`+object(v1beta1.KindPolicy, "judged", "p", "{attestationAuthorityNames: [nobody]}"))
	denied := func(ctx context.Context) error {
		_, stderr, code, err := kube.Kubectl(ctx, "create", "deployment", "x", "--image=alpine:3.11", "--namespace=judged", "--dry-run=server")
		if err == nil && (code == 0 || !strings.Contains(stderr, "denied the request: image alpine:3.11 is not attested")) {
			err = fmt.Errorf("%d %s", code, stderr)
		}
		return err
	}
	check(t, cluster.Await(t.Context(), "the webhook to answer", denied))

	kubectl(t, kube, "delete", "secret", secretName, "--namespace", namespace)
	second := secret(t, kube, "another certificate", good)
	trusted(t, kube, second.Data["ca.crt"], first.Data["ca.crt"])
	for range 10 {
		if err := denied(t.Context()); err != nil {
			t.Fatalf("with the old certificate: %v", err)
		}
		time.Sleep(200 * time.Millisecond) // until the API server has seen the configuration
	}
	write(second.Data)
	check(t, cluster.Await(t.Context(), "the webhook to take the new certificate", func(ctx context.Context) error {
		log, err := os.ReadFile(hook.LogFile())
		if err == nil && !strings.Contains(string(log), "certificate changed") {
			err = errors.New("it has not")
		}
		return err
	}))
	check(t, denied(t.Context()))
}
