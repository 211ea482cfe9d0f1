package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/site"
)

const webhookSecret = "kritis-webhook-certificate"

// expired is a certificate of the webhook's Service, with its key, that ended an hour ago; both in PEM.
func expired(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
		DNSNames: []string{"kritis-webhook." + site.Namespace + ".svc"}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	check(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	check(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

// testCertificateExpired: with nobody there to renew it, the API server refuses rather than lets pass, and the node goes on judging.
// The controller, once it is back, makes it good.
func (s *suite) testCertificateExpired(t *testing.T) {
	ctx := t.Context()
	s.system(t, "scale", "deployment/kritis-controller", "--replicas=0")
	s.system(t, "wait", "pods", "--selector=app.kubernetes.io/component=controller", "--for=delete", "--timeout=1m")
	certificate, key := expired(t)
	encode := base64.StdEncoding.EncodeToString
	s.system(t, "patch", "secret", webhookSecret, "--type=merge", "--patch",
		fmt.Sprintf(`{"data":{"tls.crt":%q,"tls.key":%q,"ca.crt":%[1]q,"ca.key":%[2]q}}`, encode(certificate), encode(key)))
	s.restartWebhook(t)
	try := func(image string) (string, int) {
		_, stderr, code, err := s.Kubectl(ctx, "--namespace", namespace, "run", "expired", "--dry-run=server", "--image="+image)
		check(t, err)
		return stderr, code
	}
	check(t, cluster.Await(ctx, "the API server to meet the certificate", func(context.Context) error {
		if stderr, code := try(s.signed); code == 0 || !strings.Contains(stderr, "certificate") {
			return fmt.Errorf("exit code %d: %s", code, stderr)
		}
		return nil
	}))
	if stderr, code := try(s.unsigned); code == 0 || !strings.Contains(stderr, "failed calling webhook") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	for name, image := range map[string]string{"expired-signed": s.signed, "expired-unsigned": s.unsigned} {
		half := filepath.Join(s.StaticPodDir(), "."+name)
		check(t, os.WriteFile(half, []byte(pod(name, image, "")), 0o644))
		check(t, os.Rename(half, filepath.Join(s.StaticPodDir(), name+".yaml")))
		defer os.Remove(filepath.Join(s.StaticPodDir(), name+".yaml"))
	}
	s.onNode(t, "expired-signed", true)
	s.onNode(t, "expired-unsigned", false)

	s.system(t, "scale", "deployment/kritis-controller", "--replicas=1")
	check(t, cluster.Await(ctx, "the certificate to be renewed", func(ctx context.Context) error {
		now, err := s.KubectlOutput(ctx, "--namespace", site.Namespace, "get", "secret", webhookSecret, `--output=jsonpath={.data.tls\.crt}`)
		if err == nil && now == encode(certificate) {
			err = fmt.Errorf("it is the old one")
		}
		return err
	}))
	s.restartWebhook(t)
	s.awaitWebhook(t)
	stderr, code := try(s.signed)
	accepted(t, stderr, code)
}

// system runs kubectl in the product's namespace.
func (s *suite) system(t *testing.T, args ...string) {
	t.Helper()
	_, err := s.KubectlOutput(t.Context(), append([]string{"--namespace", site.Namespace}, args...)...)
	check(t, err)
}

// restartWebhook replaces its pods, which take the Secret as it is then; otherwise kubelet would take a minute.
func (s *suite) restartWebhook(t *testing.T) {
	t.Helper()
	s.system(t, "delete", "pods", "--selector=app.kubernetes.io/component=webhook", "--grace-period=1")
	s.system(t, "rollout", "status", "deployment/kritis-webhook", "--timeout=1m")
}

// onNode waits until the runtime has started a pod's container, or the plugin has denied one.
func (s *suite) onNode(t *testing.T, pod string, runs bool) {
	t.Helper()
	check(t, cluster.Await(t.Context(), "the node to decide on "+pod, func(ctx context.Context) error {
		audit, err := os.ReadFile(s.Nodes()[0].Path("/var/log/kritis/decisions.jsonl"))
		if err != nil {
			return err
		}
		var admitted, kept bool
		for line := range strings.Lines(string(audit)) {
			if strings.Contains(line, `"`+pod+"-"+s.NodeName()+`"`) {
				admitted = admitted || strings.Contains(line, `"admitted":true`)
				kept = kept || strings.Contains(line, `"admitted":false`)
			}
		}
		if admitted && !runs {
			t.Fatal("it let it run")
		}
		if admitted && runs || kept && !runs {
			return nil
		}
		return errors.New("it has not")
	}))
}
