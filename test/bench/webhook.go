package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/signing"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
	"github.com/kritis-node/kritis-node/verifier"
)

// Targets of the webhook with signed pods, driven by so many clients on two cores.
const (
	webhookClients   = 8
	targetReviews    = 2000 // a second
	targetReviewP99  = 20 * time.Millisecond
	targetResident   = 45 << 20
	webhookRounds    = 5
	webhookRoundTime = time.Second
)

// webhookServer is the real process, and how to reach it.
type webhookServer struct {
	process *cluster.Process
	url     string
	roots   *x509.CertPool
	image   string
}

// reviews measures the webhook process over TLS: reviews of a signed pod against reviews of the same pod in an exempt
// namespace, which are read and answered and not decided about.
func reviews(ctx context.Context) (err error) {
	fmt.Printf("\nThe webhook process, %d clients, %d rounds of %s each way, in turn\n", webhookClients, webhookRounds, webhookRoundTime)
	dir, err := os.MkdirTemp("/run", "webhook-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s, err := startWebhook(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.process.Stop(ctx)) }()
	idle, err := resident(s.process.PID())
	if err != nil {
		return err
	}
	var all pairs
	perSecond := map[string][]float64{}
	for _, namespace := range []string{"kube-system", "prod"} { // warm
		if _, err := s.drive(ctx, namespace, webhookRoundTime/4); err != nil {
			return err
		}
	}
	for range webhookRounds {
		for _, namespace := range []string{"kube-system", "prod"} {
			times, err := s.drive(ctx, namespace, webhookRoundTime)
			if err != nil {
				return err
			}
			perSecond[namespace] = append(perSecond[namespace], float64(len(times))/webhookRoundTime.Seconds())
			if namespace == "prod" {
				all.product = append(all.product, times)
			} else {
				all.baseline = append(all.baseline, times)
			}
		}
	}
	held, err := resident(s.process.PID())
	if err != nil {
		return err
	}
	rate, base := mean(perSecond["prod"]), mean(perSecond["kube-system"])
	fmt.Printf("reviews of a signed pod                   %8.0f /s  exempt: %.0f /s, ratio %.3f  target ≥ %d /s\n", rate, base, rate/base, targetReviews)
	all.print("review of a signed pod", "exempt", 0.5, 0)
	all.print("review of a signed pod", "exempt", 0.99, 0)
	p99 := concat(all.product).quantile(0.99)
	fmt.Printf("review of a signed pod, p99               %8s  target ≤ %s\n", p99.Round(10*time.Microsecond), targetReviewP99)
	fmt.Printf("resident memory                           %8.1f MB, idle %.1f MB  target ≤ %d MB\n", float64(held)/1e6, float64(idle)/1e6, targetResident>>20)
	if rate < targetReviews || p99 > targetReviewP99 || held > targetResident {
		return errors.New("a target was missed")
	}
	return nil
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

func concat(samples []sample) sample {
	var all sample
	for _, s := range samples {
		all = append(all, s...)
	}
	return all
}

// startWebhook builds and starts the webhook with a policy for namespace prod and one attested image.
func startWebhook(ctx context.Context, dir string) (*webhookServer, error) {
	program := filepath.Join(dir, "kritis")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./cmd/kritis")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build kritis: %w: %s", err, output)
	}
	s := &webhookServer{image: "registry.example/team/app@sha256:" + strings.Repeat("a", 64)}
	cert, key, err := s.writeCertificate(dir)
	if err != nil {
		return nil, err
	}
	policies, attested := filepath.Join(dir, "policies"), filepath.Join(dir, "attestations")
	if err := errors.Join(os.Mkdir(policies, 0o755), os.Mkdir(attested, 0o755)); err != nil {
		return nil, err
	}
	if err := s.attest(policies, attested); err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	beside, err := freeAddress()
	if err != nil {
		return nil, err
	}
	s.url = "https://" + address + "/pods?timeout=10s"
	s.process, err = cluster.StartProcess(ctx, cluster.Command{Path: program, Log: filepath.Join(dir, "webhook.log"), Args: []string{"webhook",
		"--listen", address, "--status-listen", beside, "--tls-cert", cert, "--tls-key", key, "--policy-dir", policies,
		"--attestation-dir", attested, "--registry=false", "--drain-delay", "0s"}}, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+beside+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("readyz: %s", resp.Status)
		}
		return nil
	})
	return s, err
}

// attest makes a key, a policy that requires it, and an attestation of the image.
func (s *webhookServer) attest(policies, attested string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	public := filepath.Join(filepath.Dir(policies), "team.pub")
	if err := os.WriteFile(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644); err != nil {
		return err
	}
	authority, err := stack.Authority("prod", "team", "", stack.Key{Public: public})
	if err != nil {
		return err
	}
	repository, digest, _ := strings.Cut(s.image, "@")
	payload, err := signing.Payload(repository, verifier.Digest(digest))
	if err != nil {
		return err
	}
	hash := sha256.Sum256(payload)
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, hash[:])
	if err != nil {
		return err
	}
	statement, err := json.Marshal(map[string]any{"serializedPayload": payload, "signatures": []map[string]any{{"publicKeyId": "team", "signature": signature}}})
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(policies, "prod.yaml"), []byte(authority+"---\n"+stack.Policy("prod", "only-team", "", "team")), 0o644),
		os.WriteFile(filepath.Join(attested, strings.Replace(digest, ":", "-", 1)+".json"), statement, 0o644),
	)
}

// freeAddress returns an address on which nobody listens now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
