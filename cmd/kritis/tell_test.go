package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/policyagent"
	"github.com/kritis-node/kritis-node/policyagent/webhook"
)

// written returns a kubeconfig of an API server that takes everything, and what it took last.
func written(t *testing.T) (kubeconfig string, last func() (path string, body map[string]any)) {
	t.Helper()
	type request struct {
		path string
		body []byte
	}
	took := make(chan request, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		took <- request{r.URL.Path, body}
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(server.Close)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: \"" + server.URL + "\"}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\ncurrent-context: c\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, func() (string, map[string]any) {
		r := <-took
		var body map[string]any
		if err := json.Unmarshal(r.body, &body); err != nil {
			t.Fatal(err)
		}
		return r.path, body
	}
}

// The webhook's events go to kube-system, and name the object.
func TestRecorder(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	if r, err := (&policyFlags{dir: "x"}).recorder(log); err != nil || r != (webhook.LogRecorder{Log: log}) {
		t.Errorf("%+v, %v", r, err)
	}
	kubeconfig, last := written(t)
	r, err := (&policyFlags{kubeconfig: kubeconfig}).recorder(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, message := range []string{"image x is not attested", strings.Repeat("é", 600)} {
		e := webhook.Event{Reason: webhook.EventDryRun, APIVersion: "apps/v1", Kind: "Deployment", Namespace: "prod", Name: "web", Message: message}
		if err := r.Record(context.Background(), e); err != nil {
			t.Fatal(err)
		}
		path, body := last()
		got, _ := body["message"].(string)
		if path != "/api/v1/namespaces/kube-system/events" || body["reason"] != "DryRunKritisAdmission" || !strings.HasPrefix(got, "deployment prod/web: "+message[:10]) || len(got) > 1024 {
			t.Errorf("%s %v", path, body)
		}
		if o, _ := body["involvedObject"].(map[string]any); o["namespace"] != "prod" || o["kind"] != "Deployment" || o["apiVersion"] != "apps/v1" {
			t.Errorf("%v", o)
		}
	}
}

func TestTellCluster(t *testing.T) {
	kubeconfig, _ := written(t)
	for name, c := range map[string]struct {
		flags           policyFlags
		namespace, want string
		events, reports bool
	}{
		"folder":             {policyFlags{dir: "x"}, "", "", false, false},
		"folder and reports": {policyFlags{dir: "x", node: "n"}, "ns", "--report-namespace needs a cluster", false, false},
		"cluster":            {policyFlags{kubeconfig: kubeconfig}, "", "", true, false},
		"nameless node":      {policyFlags{kubeconfig: kubeconfig}, "ns", "the node's name", false, false},
		"reports":            {policyFlags{kubeconfig: kubeconfig, node: "n"}, "ns", "", true, true},
		"not a namespace":    {policyFlags{kubeconfig: kubeconfig, node: "n"}, "N", "--report-namespace", true, false},
		"not in a cluster":   {policyFlags{inCluster: true, node: "n"}, "ns", "this is not a pod", false, false},
		"no such kubeconfig": {policyFlags{kubeconfig: kubeconfig + "x"}, "", "reading kubeconfig", false, false},
	} {
		var cfg policyagent.Config
		err := c.flags.tellCluster(&cfg, c.namespace, slog.New(slog.DiscardHandler))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || (cfg.Events != nil) != c.events || (cfg.Reports != nil) != c.reports {
			t.Errorf("%s: %v, %+v", name, err, cfg)
		}
	}
}

func TestPlacementFlag(t *testing.T) {
	var out, errOut bytes.Buffer
	if code := run([]string{"plugin", "--help"}, nil, &out, &errOut); code != exitAllowed || !strings.Contains(out.String(), `--placement string`) {
		t.Errorf("%d: %s%s", code, &out, &errOut)
	}
}
