package live

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/kritis-node/kritis-node/policyagent/signing"
	"github.com/kritis-node/kritis-node/policyagent/webhook"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/clustertest"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
	"github.com/kritis-node/kritis-node/verifier"
)

func TestMain(m *testing.M) {
	cluster.Isolate(kubernetes.Tool, "./cmd/kritis")
	goleak.VerifyTestMain(m)
}

const (
	crds    = "../../../daemonset/chart/crds"
	address = "127.0.0.1:8443"
	beside  = "127.0.0.1:8080"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// hook is a `kritis webhook` of its own, and the authority whose signatures it wants.
type hook struct {
	*clustertest.Program
	dir  string
	key  *rsa.PrivateKey
	cert *cluster.Certificate
}

// startHook starts the webhook with the policies of the cluster, and attestations from a folder.
func startHook(t *testing.T, kube *kubernetes.Cluster) *hook {
	t.Helper()
	program, err := cluster.Build(t.Context(), "./cmd/kritis")
	check(t, err)
	h := &hook{dir: t.TempDir()}
	h.key, err = rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	h.cert, err = cluster.NewCertificate("127.0.0.1")
	check(t, err)
	check(t, os.WriteFile(h.dir+"/tls.crt", h.cert.CertPEM, 0o600))
	check(t, os.WriteFile(h.dir+"/tls.key", h.cert.KeyPEM, 0o600))
	check(t, os.Mkdir(h.dir+"/attestations", 0o755))
	h.Program = clustertest.StartProgram(t, cluster.Command{Path: program, Args: []string{"webhook",
		"--kubeconfig", kube.Kubeconfig(), "--listen", address, "--status-listen", beside, "--tls-cert", h.dir + "/tls.crt", "--tls-key", h.dir + "/tls.key",
		"--registry=false", "--attestation-dir", h.dir + "/attestations", "--drain-delay", "1s",
		"--pod-template", "apps.kruise.io/CloneSet=spec.template"}}, ready)
	return h
}

func ready(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+beside+"/readyz", nil)
	if err != nil {
		return err
	}
	defer http.DefaultClient.CloseIdleConnections()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("readyz: %s", resp.Status)
	}
	return nil
}

// sign attests an image.
func (h *hook) sign(t *testing.T, image string) {
	t.Helper()
	repository, d, _ := strings.Cut(image, "@")
	payload, err := signing.Payload(repository, verifier.Digest(d))
	check(t, err)
	hash := sha256.Sum256(payload)
	value, err := rsa.SignPKCS1v15(rand.Reader, h.key, crypto.SHA256, hash[:])
	check(t, err)
	statement, err := json.Marshal(map[string]any{"serializedPayload": payload, "signatures": []map[string]any{{"publicKeyId": "team", "signature": value}}})
	check(t, err)
	check(t, os.WriteFile(filepath.Join(h.dir, "attestations", strings.Replace(d, ":", "-", 1)+".json"), statement, 0o600))
}

// require makes a namespace require the authority, in the form of ACK.
func (h *hook) require(t *testing.T, kube *kubernetes.Cluster, namespace, extra string) {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(h.key.Public())
	check(t, err)
	public := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	check(t, kube.Apply(t.Context(), fmt.Sprintf(`
apiVersion: kritis.grafeas.io/v1beta1
kind: AttestationAuthority
metadata: {name: team, namespace: %[1]s}
spec: {noteReference: namespaces/%[1]s, publicKeyData: %[2]s, publicKeyId: key}
---
apiVersion: kritis.grafeas.io/v1beta1
kind: GenericAttestationPolicy
metadata: {name: only-team, namespace: %[1]s}
spec: {attestationAuthorityNames: [team]%[3]s}
`, namespace, public, extra)))
}

// configuration tells the API server of the webhook.
func (h *hook) configuration(failurePolicy string) string {
	const each = `
- name: %s
  clientConfig: {url: "https://%s%s", caBundle: %s}
  failurePolicy: %s
  sideEffects: NoneOnDryRun
  admissionReviewVersions: [v1]
  timeoutSeconds: 10
  namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [kube-system]}]}
  rules:`
	const rule = `
  - {apiGroups: [%q], apiVersions: ["*"], operations: [CREATE, UPDATE], resources: [%s]}`
	ca := base64.StdEncoding.EncodeToString(h.cert.CAPEM)
	return "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: kritis-validation-hook}\nwebhooks:" +
		fmt.Sprintf(each, webhook.PodsName, address, webhook.PodsPath, ca, failurePolicy) + fmt.Sprintf(rule, "", `pods, "pods/*"`) +
		fmt.Sprintf(each, webhook.WorkloadsName, address, webhook.WorkloadsPath, ca, failurePolicy) +
		fmt.Sprintf(rule, "apps", `deployments, daemonsets, replicasets, statefulsets, "deployments/*"`) +
		fmt.Sprintf(rule, "batch", "jobs, cronjobs") + fmt.Sprintf(rule, "", "replicationcontrollers") +
		fmt.Sprintf(rule, "apps.kruise.io", "clonesets") + fmt.Sprintf(rule, "example.com", "unknowns") + "\n"
}
