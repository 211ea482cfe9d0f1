package kubernetes_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
)

// allowed returns a check that kubectl succeeds.
func allowed(kube *kubernetes.Cluster, args ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := kube.KubectlOutput(ctx, args...)
		return err
	}
}

// A Service is reached from another pod, from the pod behind it, from the node and through the API server; the API
// server's own Service from a pod.
func testService(t *testing.T, kube *kubernetes.Cluster) {
	ctx := t.Context()
	check(t, kube.Apply(ctx, `
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
  - {name: web, image: "`+image+`", command: [/bin/busybox, httpd, -f, -p, "8080", -h, /]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
`))
	check(t, kube.AwaitPodReady(ctx, "default", "web"))
	address, err := kube.KubectlOutput(ctx, "get", "service", "web", "--output", "jsonpath={.spec.clusterIP}")
	check(t, err)
	for _, from := range []string{"deployment/app", "pod/web"} {
		check(t, cluster.Await(ctx, "the Service to be reached from "+from, func(ctx context.Context) error {
			// Busybox, linked statically, has no resolver that its wget could ask.
			got, err := kube.KubectlOutput(ctx, "exec", from, "--",
				"sh", "-c", `printf 'GET /marker HTTP/1.0\r\n\r\n' | busybox nc -w 5 "$0" 80`, address)
			_, body, _ := strings.Cut(got, "\r\n\r\n")
			return expect(body, err, "app")
		}))
	}
	got, err := kube.KubectlOutput(ctx, "get", "--raw", "/api/v1/namespaces/default/services/web:80/proxy"+cluster.MarkerFile)
	check(t, expect(got, err, "app"))
	_, err = kube.KubectlOutput(ctx, "exec", "deployment/app", "--", "sh", "-c", "busybox nc -w 2 $KUBERNETES_SERVICE_HOST 443 < /dev/null")
	check(t, err)
}

func expect(got string, err error, want string) error {
	if err == nil && got != want {
		err = fmt.Errorf("got %q, want %q", got, want)
	}
	return err
}

// The API server asks a webhook behind a Service, here a process on the node, whether pods may be made.
func testWebhook(t *testing.T, kube *kubernetes.Cluster) {
	ctx := t.Context()
	certificate, err := cluster.NewCertificate("gate.default.svc")
	check(t, err)
	port := serve(t, kube.NodeAddress(), certificate, deny)
	check(t, kube.Apply(ctx, fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: gate}
spec:
  ports: [{port: 443, targetPort: %[1]d}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: gate-1, labels: {kubernetes.io/service-name: gate}}
addressType: IPv4
endpoints: [{addresses: [%[2]q]}]
ports: [{port: %[1]d}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: gate}
webhooks:
- name: gate.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Fail
  objectSelector: {matchLabels: {gate: closed}}
  rules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]
  clientConfig:
    service: {namespace: default, name: gate}
    caBundle: %[3]s
`, port, kube.NodeAddress(), base64.StdEncoding.EncodeToString(certificate.CAPEM))))
	check(t, cluster.Await(ctx, "the webhook to deny a pod", func(ctx context.Context) error {
		_, stderr, code, err := kube.Kubectl(ctx, "run", "denied", "--image", image, "--labels=gate=closed", "--dry-run=server")
		if err == nil && (code != 1 || !strings.Contains(stderr, "denied the request: not today")) {
			err = fmt.Errorf("exit code %d: %s", code, stderr)
		}
		return err
	}))
	_, err = kube.KubectlOutput(ctx, "run", "allowed", "--image", image, "--dry-run=server")
	check(t, err)
}

// serve answers by TLS on an address of the node until the test ends, and returns the port.
func serve(t *testing.T, address string, certificate *cluster.Certificate, handler http.HandlerFunc) int {
	t.Helper()
	pair, err := tls.X509KeyPair(certificate.CertPEM, certificate.KeyPEM)
	check(t, err)
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	check(t, err)
	server := httptest.NewUnstartedServer(handler)
	check(t, server.Listener.Close())
	server.Listener = listener
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	return listener.Addr().(*net.TCPAddr).Port
}

// deny answers an AdmissionReview.
func deny(response http.ResponseWriter, request *http.Request) {
	var review struct {
		Request struct{ UID string }
	}
	if err := json.NewDecoder(request.Body).Decode(&review); err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
		return
	}
	response.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(response).Encode(map[string]any{
		"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
		"response": map[string]any{
			"uid": review.Request.UID, "allowed": false, "status": map[string]any{"message": "not today"},
		},
	})
}
