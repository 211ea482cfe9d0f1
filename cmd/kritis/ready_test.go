package main

import (
	"bytes"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
)

func TestReadyAsksAWebhook(t *testing.T) {
	const good = `{"response":{"uid":"kritis-ready","allowed":true}}`
	for name, tc := range map[string]struct {
		status     int
		answer     string
		serverName string
		foreignCA  bool
		complaint  string // empty: it is ready
	}{
		"it answers":           {http.StatusOK, good, "example.com", false, ""},
		"not yet ready":        {http.StatusServiceUnavailable, "no policies yet", "example.com", false, "503 Service Unavailable: no policies yet"},
		"answers another one":  {http.StatusOK, `{"response":{"uid":"x","allowed":true}}`, "example.com", false, "not what it should be"},
		"denies":               {http.StatusOK, `{"response":{"uid":"kritis-ready"}}`, "example.com", false, "not what it should be"},
		"no JSON":              {http.StatusOK, `<html>`, "example.com", false, "read the webhook's answer"},
		"certificate of other": {http.StatusOK, good, "kritis-webhook.kritis-system.svc", false, "certificate"},
		"authority of other":   {http.StatusOK, good, "example.com", true, "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.status)
				_, _ = w.Write([]byte(tc.answer))
			}))
			defer server.Close()
			server.Config.ErrorLog = nil
			ca := filepath.Join(t.TempDir(), "ca.crt")
			certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
			if tc.foreignCA {
				certificate = foreignAuthority(t)
			}
			if err := os.WriteFile(ca, certificate, 0o600); err != nil {
				t.Fatal(err)
			}
			var out, errOut bytes.Buffer
			code := run([]string{"ready", "--webhook", server.Listener.Addr().String(), "--webhook-name", tc.serverName, "--webhook-ca", ca}, nil, &out, &errOut)
			if (code == exitAllowed) != (tc.complaint == "") || !strings.Contains(errOut.String(), tc.complaint) || strings.Count(errOut.String(), "\n") > 1 {
				t.Errorf("exit code %d: %s", code, errOut.String())
			}
		})
	}
}

// foreignAuthority did not sign the certificate of the server that answers.
func foreignAuthority(t *testing.T) []byte {
	t.Helper()
	certificate, err := cluster.NewCertificate("example.com")
	if err != nil {
		t.Fatal(err)
	}
	return certificate.CAPEM
}

func TestReadyNeedsToKnowWhomToAsk(t *testing.T) {
	for _, args := range [][]string{
		{"ready"}, {"ready", "--plugin-socket", "a", "--webhook", "b"}, {"ready", "--webhook", "localhost:1"},
		{"ready", "--plugin-socket", filepath.Join(t.TempDir(), "none.sock")},
		{"ready", "--webhook", "localhost:1", "--webhook-name", "x", "--webhook-ca", filepath.Join(t.TempDir(), "none")},
	} {
		var out, errOut bytes.Buffer
		if code := run(args, nil, &out, &errOut); code != exitUnknown || strings.Count(errOut.String(), "\n") != 1 {
			t.Errorf("%v: exit code %d: %s", args, code, errOut.String())
		}
	}
}
