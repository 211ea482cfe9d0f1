package live

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	admission "k8s.io/api/admissionregistration/v1"
	core "k8s.io/api/core/v1"

	"github.com/kritis-node/kritis-node/policyagent/webhook"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
)

const secretName = "kritis-webhook-certificate"

// configuration is what a chart writes: two webhooks of ours; and two that are somebody else's, one with the name of our
// Service and one in our namespace.
const configuration = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: kritis-validation-hook}
webhooks:
- name: ` + webhook.PodsName + `
  clientConfig: {service: {namespace: kritis-system, name: kritis-webhook, path: ` + webhook.PodsPath + `, port: 443}}
  failurePolicy: Fail
  sideEffects: NoneOnDryRun
  admissionReviewVersions: [v1]
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: judged}}
  rules: [{apiGroups: [""], apiVersions: ["*"], operations: [CREATE, UPDATE], resources: [pods]}]
- name: ` + webhook.WorkloadsName + `
  clientConfig: {service: {namespace: kritis-system, name: kritis-webhook, path: ` + webhook.WorkloadsPath + `, port: 443}}
  failurePolicy: Fail
  sideEffects: NoneOnDryRun
  admissionReviewVersions: [v1]
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: judged}}
  rules: [{apiGroups: [apps], apiVersions: ["*"], operations: [CREATE, UPDATE], resources: [deployments]}]
- name: somebody.else.example
  clientConfig: {service: {namespace: else, name: kritis-webhook, path: /, port: 443}}
  failurePolicy: Ignore
  sideEffects: None
  admissionReviewVersions: [v1]
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: nowhere}}
  rules: [{apiGroups: [""], apiVersions: ["*"], operations: [CREATE], resources: [pods]}]
- name: another.else.example
  clientConfig: {service: {namespace: kritis-system, name: else, path: /, port: 443}}
  failurePolicy: Ignore
  sideEffects: None
  admissionReviewVersions: [v1]
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: nowhere}}
  rules: [{apiGroups: [""], apiVersions: ["*"], operations: [CREATE], resources: [pods]}]
`

// secret returns the certificate's Secret when it is as wanted.
func secret(t *testing.T, kube *kubernetes.Cluster, what string, want func(core.Secret) error) core.Secret {
	t.Helper()
	var s core.Secret
	check(t, cluster.Await(t.Context(), what, func(ctx context.Context) error {
		if _, err := kube.KubectlOutput(ctx, "get", "secret", secretName, "--namespace", namespace); err != nil {
			return err
		}
		s = core.Secret{}
		get(t, kube, &s, "secret", secretName, "--namespace", namespace)
		return want(s)
	}))
	return s
}

// good says whether the certificate is the authority's, and good for two months.
func good(s core.Secret) error {
	cert, err := parse(s.Data["tls.crt"])
	if err != nil {
		return err
	}
	ca := x509.NewCertPool()
	ca.AppendCertsFromPEM(s.Data["ca.crt"])
	_, err = cert.Verify(x509.VerifyOptions{DNSName: "kritis-webhook.kritis-system.svc", Roots: ca, CurrentTime: time.Now().Add(60 * 24 * time.Hour)})
	return err
}

func parse(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("no certificate in %q", data)
	}
	return x509.ParseCertificate(block.Bytes)
}

// trusted waits until the API server trusts exactly these, for our webhooks and for no other.
func trusted(t *testing.T, kube *kubernetes.Cluster, want ...[]byte) {
	t.Helper()
	var all strings.Builder
	for _, w := range want {
		all.Write(w)
	}
	check(t, cluster.Await(t.Context(), "the authority in the configuration", func(context.Context) error {
		var c admission.ValidatingWebhookConfiguration
		get(t, kube, &c, "validatingwebhookconfiguration", "kritis-validation-hook")
		for i, w := range c.Webhooks {
			expect := all.String()
			if i >= 2 {
				expect = ""
			}
			if string(w.ClientConfig.CABundle) != expect {
				return fmt.Errorf("%s trusts %d certificates, want %d", w.Name, strings.Count(string(w.ClientConfig.CABundle), "BEGIN"), strings.Count(expect, "BEGIN"))
			}
			if w.FailurePolicy == nil || len(w.Rules) != 1 {
				return fmt.Errorf("%s was changed: %+v", w.Name, w)
			}
		}
		return nil
	}))
}

// The certificate is made, told, and repaired, whatever becomes of Secret and configuration.
func testCertificates(t *testing.T, kube *kubernetes.Cluster) {
	c := startController(t, kube, 9101)
	first := secret(t, kube, "a certificate", good)
	if first.Type != core.SecretTypeTLS {
		t.Errorf("the Secret is of type %s", first.Type)
	}
	apply(t, kube, configuration) // comes later
	trusted(t, kube, first.Data["ca.crt"])
	if left := time.Until(time.Unix(int64(c.metric("kritis_controller_certificate_expiry_timestamp_seconds", "certificate=server")), 0)); left < 300*24*time.Hour || left > 366*24*time.Hour {
		t.Errorf("the certificate is good for %s", left)
	}

	t.Log("deleted")
	kubectl(t, kube, "delete", "secret", secretName, "--namespace", namespace)
	second := secret(t, kube, "another certificate", good)
	if string(second.Data["ca.crt"]) == string(first.Data["ca.crt"]) {
		t.Error("the authority is the same")
	}
	// Webhooks still have a certificate of the first.
	trusted(t, kube, second.Data["ca.crt"], first.Data["ca.crt"])

	t.Log("emptied")
	kubectl(t, kube, "patch", "secret", secretName, "--namespace", namespace, "--type=merge", "--patch", `{"data":{"tls.crt":"","tls.key":"","ca.crt":null,"ca.key":null}}`)
	third := secret(t, kube, "another certificate", good)
	trusted(t, kube, third.Data["ca.crt"], second.Data["ca.crt"], first.Data["ca.crt"])

	t.Log("corrupted")
	kubectl(t, kube, "patch", "secret", secretName, "--namespace", namespace, "--type=merge", "--patch", `{"data":{"tls.key":"`+base64.StdEncoding.EncodeToString([]byte("x"))+`"}}`)
	fourth := secret(t, kube, "a repaired certificate", good)
	if string(fourth.Data["ca.crt"]) != string(third.Data["ca.crt"]) {
		t.Error("the authority changed without need")
	}

	t.Log("near its end")
	old := issue(t, fourth.Data, 30*24*time.Hour)
	kubectl(t, kube, "patch", "secret", secretName, "--namespace", namespace, "--type=merge", "--patch", old)
	fifth := secret(t, kube, "a renewed certificate", func(s core.Secret) error {
		if strings.Contains(old, base64.StdEncoding.EncodeToString(s.Data["tls.crt"])) {
			return fmt.Errorf("it is the old one")
		}
		return good(s)
	})
	if string(fifth.Data["ca.crt"]) != string(third.Data["ca.crt"]) {
		t.Error("the authority changed without need")
	}

	t.Log("the configuration is made anew")
	kubectl(t, kube, "delete", "validatingwebhookconfiguration", "kritis-validation-hook")
	apply(t, kube, configuration)
	trusted(t, kube, fifth.Data["ca.crt"])

	// Nothing is written when all is well.
	c.Stop()
	again := startController(t, kube, 9101)
	check(t, cluster.Await(t.Context(), "the certificate to be looked at", func(context.Context) error {
		if again.metric("kritis_controller_certificate_expiry_timestamp_seconds") == 0 {
			return fmt.Errorf("not yet")
		}
		return nil
	}))
	if got := secret(t, kube, "the same", good); got.ResourceVersion != fifth.ResourceVersion {
		t.Error("the Secret was written without need")
	}
	trusted(t, kube, fifth.Data["ca.crt"])
}

// issue returns a patch that gives the Secret a certificate of its authority which ends soon.
func issue(t *testing.T, data map[string][]byte, left time.Duration) string {
	t.Helper()
	ca, err := parse(data["ca.crt"])
	check(t, err)
	block, _ := pem.Decode(data["ca.key"])
	caKey, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	check(t, err)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "x"}, DNSNames: []string{"kritis-webhook.kritis-system.svc"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(left), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca, key.Public(), caKey)
	check(t, err)
	encode := func(kind string, der []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return `{"data":{"tls.crt":"` + encode("CERTIFICATE", der) + `","tls.key":"` + encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)) + `"}}`
}
