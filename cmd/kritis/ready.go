package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/policyagent/webhook"
)

const (
	// readyTimeout bounds one question, in all.
	readyTimeout = 15 * time.Second
	// maxReview bounds the webhook's answer in bytes.
	maxReview = 1 << 20
	// probeUID is what the question of `kritis ready` is known by, and the answer has to name.
	probeUID = "kritis-ready"
)

type readyFlags struct {
	pluginSocket, address, name, caFile string
}

func newReadyCommand() *cobra.Command {
	var f readyFlags
	cmd := &cobra.Command{
		Use:   "ready (--plugin-socket SOCKET | --webhook HOST:PORT --webhook-name NAME --webhook-ca FILE)",
		Short: "say whether a plugin or a webhook answers; for probes and for helm test",
		Long: `Ask the plugin of this node whether it works, or a webhook for its verdict on a pod without containers, as an API server
does: with a certificate for its name, of its authority.

Exit codes: 0 it answers, 2 it does not.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), readyTimeout)
			defer cancel()
			switch {
			case (f.pluginSocket == "") == (f.address == ""):
				return errors.New("name what to ask: --plugin-socket or --webhook, and not both")
			case f.pluginSocket != "":
				var s plugin.Status
				return askPlugin(ctx, f.pluginSocket, http.MethodGet, "/v1/status", nil, &s)
			case f.name == "" || f.caFile == "":
				return errors.New("--webhook needs --webhook-name and --webhook-ca: its certificate is checked")
			default:
				return askWebhook(ctx, f)
			}
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.pluginSocket, "plugin-socket", "", "the plugin's `socket`, such as "+plugin.DefaultSocket)
	fs.StringVar(&f.address, "webhook", "", "`address` of a webhook, as host:port")
	fs.StringVar(&f.name, "webhook-name", "", "`name` in the webhook's certificate, as <service>.<namespace>.svc")
	fs.StringVar(&f.caFile, "webhook-ca", "", "`file` with the authority of that certificate, PEM")
	return cmd
}

// askWebhook sends a review that changes nothing, and checks that it is answered.
func askWebhook(ctx context.Context, f readyFlags) error {
	pem, err := os.ReadFile(f.caFile)
	if err != nil {
		return fmt.Errorf("read the webhook's authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no certificate: name the PEM file of the webhook's authority", f.caFile)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: f.name, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	body := `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"` + probeUID + `","dryRun":true,
"kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},
"operation":"CREATE","namespace":"kube-system","object":{"metadata":{"name":"kritis-ready","namespace":"kube-system"},"spec":{"containers":[]}}}}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+f.address+webhook.PodsPath, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return fmt.Errorf("ask the webhook: %w", err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxReview))
	if err != nil {
		return fmt.Errorf("read the webhook's answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the webhook does not answer reviews: %s: %.200s", res.Status, bytes.TrimSpace(data))
	}
	var answer struct {
		Response struct {
			UID     string `json:"uid"`
			Allowed bool   `json:"allowed"`
		} `json:"response"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return fmt.Errorf("read the webhook's answer: %w", err)
	}
	if answer.Response.UID != probeUID || !answer.Response.Allowed {
		return fmt.Errorf("the webhook's answer to a pod of kube-system without containers is not what it should be: %.200s", bytes.TrimSpace(data))
	}
	return nil
}
