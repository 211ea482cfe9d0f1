package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
)

// review is what the API server sends about a new pod of the image.
func (s *webhookServer) review(namespace string) ([]byte, error) {
	labels := map[string]string{}
	fields := bytes.NewBufferString(`{"f:metadata":{"f:labels":{".":{}`)
	for i := range 12 {
		labels[fmt.Sprintf("app.kubernetes.io/label-%d", i)] = "value"
		fmt.Fprintf(fields, `,"f:app.kubernetes.io/label-%d":{}`, i)
	}
	fields.WriteString("}}}")
	pod, err := json.Marshal(corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: namespace, Labels: labels, UID: "c8a1ef09-0d0e-4d2d-8b1f-5fd9f9c3f0aa",
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl-run", Operation: "Update", APIVersion: "v1", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields.String())}}},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "app", Image: s.image, Command: []string{"sleep", "10"},
				Env:          []corev1.EnvVar{{Name: "A", Value: "a"}, {Name: "B", Value: "b"}},
				VolumeMounts: []corev1.VolumeMount{{Name: "kube-api-access", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount", ReadOnly: true}}}},
			Volumes:       []corev1.Volume{{Name: "kube-api-access", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}}}}}}},
			Tolerations:   []corev1.Toleration{{Key: "node.kubernetes.io/not-ready", Operator: "Exists", Effect: "NoExecute"}, {Key: "node.kubernetes.io/unreachable", Operator: "Exists", Effect: "NoExecute"}},
			RestartPolicy: "Always", DNSPolicy: "ClusterFirst", SchedulerName: "default-scheduler",
		}})
	if err != nil {
		return nil, err
	}
	return json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{UID: "1f0f1f7a-6f0a-4b57-8e0e-6a3c1d2f9a10", Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Pod"},
			Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"}, Namespace: namespace, Operation: admissionv1.Create,
			Object: apiruntime.RawExtension{Raw: pod}}})
}

// drive sends reviews from all clients for a while and returns how long each took. All must be allowed.
func (s *webhookServer) drive(ctx context.Context, namespace string, period time.Duration) (sample, error) {
	body, err := s.review(namespace)
	if err != nil {
		return nil, err
	}
	ends := time.Now().Add(period)
	took := make([]sample, webhookClients)
	g, ctx := errgroup.WithContext(ctx)
	for i := range webhookClients {
		g.Go(func() error {
			// As API servers do: a connection each, HTTP/2.
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.roots}, ForceAttemptHTTP2: true}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			for first := true; time.Now().Before(ends); first = false {
				began := time.Now()
				if err := s.one(ctx, client, body); err != nil {
					return err
				}
				if !first { // it opens the connection
					took[i] = append(took[i], time.Since(began))
				}
			}
			return nil
		})
	}
	err = g.Wait()
	return concat(took), err
}

func (s *webhookServer) one(ctx context.Context, client *http.Client, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && !bytes.Contains(answer, []byte(`"allowed":true`)) {
		err = fmt.Errorf("the webhook answered %s: %s", resp.Status, answer)
	}
	return err
}

// writeCertificate writes a self-signed pair and trusts it.
func (s *webhookServer) writeCertificate(dir string) (cert, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "webhook"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return "", "", err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", err
	}
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(cert, certPEM, 0o644); err != nil {
		return "", "", err
	}
	s.roots = x509.NewCertPool()
	s.roots.AppendCertsFromPEM(certPEM)
	return cert, key, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600)
}
