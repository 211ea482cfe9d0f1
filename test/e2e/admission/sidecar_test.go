package admission

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// injector is somebody else's mutating webhook: it adds a container to pods with the label inject=yes.
type injector struct {
	image  string
	server *http.Server
}

func (i *injector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var review struct {
		Request struct {
			UID string `json:"uid"`
		} `json:"request"`
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	if err != nil || json.Unmarshal(body, &review) != nil {
		http.Error(w, "no review", http.StatusBadRequest)
		return
	}
	patch := fmt.Sprintf(`[{"op":"add","path":"/spec/containers/-","value":{"name":"sidecar","image":%q,"command":["sleep","1000"]}}]`, i.image)
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":%q,"allowed":true,"patchType":"JSONPatch","patch":%q}}`,
		review.Request.UID, base64.StdEncoding.EncodeToString([]byte(patch)))
}

// startInjector serves until the test ends.
func (s *suite) startInjector(t *testing.T, image string) {
	t.Helper()
	certificate, err := cluster.NewCertificate(s.NodeAddress())
	check(t, err)
	pair, err := tls.X509KeyPair(certificate.CertPEM, certificate.KeyPEM)
	check(t, err)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(s.NodeAddress(), "0"))
	check(t, err)
	i := &injector{image: image}
	i.server = &http.Server{Handler: i, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, ReadTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = i.server.ServeTLS(listener, "", "") // ends with Close
	}()
	t.Cleanup(func() {
		i.server.Close()
		<-done
	})
	check(t, s.Apply(t.Context(), fmt.Sprintf(`apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: zz-injector}
webhooks:
- name: injector.vendor.example
  admissionReviewVersions: [v1]
  sideEffects: None
  clientConfig: {url: "https://%s/", caBundle: %s}
  objectSelector: {matchLabels: {inject: "yes"}}
  rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]
`, listener.Addr(), base64.StdEncoding.EncodeToString(certificate.CAPEM))))
	t.Cleanup(func() { s.remove(t, "mutatingwebhookconfiguration/zz-injector") })
	check(t, cluster.Await(t.Context(), "the injector to be asked", func(ctx context.Context) error {
		text, err := s.KubectlOutput(ctx, "--namespace", "kube-public", "run", "probe", "--labels=inject=yes", "--image=x", "--dry-run=server", "--output=json")
		if err == nil && !strings.Contains(text, `"sidecar"`) {
			err = fmt.Errorf("nothing is injected: %s", text)
		}
		return err
	}))
}

const injected = `{metadata: {labels: {app: injected, inject: "yes"}}, spec: `

func (s *suite) testSidecarAtAdmission(t *testing.T) {
	ctx := t.Context()
	sidecar, err := s.Push(ctx, "vendor/sidecar")
	check(t, err)
	s.startInjector(t, sidecar)
	// The workload is fine; the pod that is made of it is not what it says.
	check(t, s.Apply(ctx, "apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: injected, namespace: default}\nspec: {selector: {matchLabels: {app: injected}}, template: "+injected+fmt.Sprintf(podSpec, s.signed)+"}}}\n"))
	defer s.remove(t, "replicaset/injected")
	s.awaitEvent(t, "default", "FailedCreate", podsHook, "image "+sidecar+" is not attested")
}

func (s *suite) testSidecarOnTheNode(t *testing.T) {
	ctx := t.Context()
	sidecar, err := s.Push(ctx, "vendor/sidecar")
	check(t, err)
	s.startInjector(t, sidecar)
	_, err = s.KubectlOutput(ctx, "run", "injected", "--labels=inject=yes", "--image="+s.signed, "--", "sleep", "1000")
	check(t, err)
	defer s.remove(t, "pod/injected")
	s.awaitEvent(t, "default", "FailedKritisAdmission", "image "+sidecar+" is not attested")
	s.awaitEvent(t, "kube-system", "FailedKritisAdmission", "default/injected", "image "+sidecar+" is not attested")
	started, err := s.KubectlOutput(ctx, "get", "pod", "injected", "--output", `jsonpath={.status.containerStatuses[?(@.name=="sidecar")].state.running}{.status.containerStatuses[?(@.name=="sidecar")].lastState.terminated}`)
	if err != nil || started != "" {
		t.Errorf("the sidecar ran: %s, %v", started, err)
	}
	// Allowed in another namespace, it is not allowed here.
	allow := func(namespace string) string {
		return fmt.Sprintf("apiVersion: kritis.grafeas.io/v1beta1\nkind: AdmissionAllowlist\nmetadata: {name: sidecars}\nspec:\n  patterns:\n  - {namePattern: %q, namespace: %s}\n", s.Registry.Host()+"/vendor/*", namespace)
	}
	check(t, s.Apply(ctx, allow("elsewhere")))
	defer s.remove(t, "admissionallowlist/sidecars")
	check(t, cluster.Await(ctx, "the node to know the allow-list", func(ctx context.Context) error {
		status, err := s.Status(ctx, 0)
		if err == nil && status.Policy.Allowlist != 1 {
			err = fmt.Errorf("it has %d patterns", status.Policy.Allowlist)
		}
		return err
	}))
	started, err = s.KubectlOutput(ctx, "get", "pod", "injected", "--output", `jsonpath={.status.containerStatuses[?(@.name=="sidecar")].state.running}`)
	if err != nil || started != "" {
		t.Errorf("the sidecar runs by an allow-list of another namespace: %s, %v", started, err)
	}
	check(t, s.Apply(ctx, allow("default")))
	check(t, s.AwaitPodReady(ctx, "default", "injected")) // kubelet tries again by itself
}
