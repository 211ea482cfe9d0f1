package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kritis-node/kritis-node/policyagent"
	"github.com/kritis-node/kritis-node/policyagent/kube"
	"github.com/kritis-node/kritis-node/policyagent/webhook"
)

// cluster says whether policy comes from a cluster, which can be told things.
func (p *policyFlags) cluster() bool { return p.inCluster || p.kubeconfig != "" }

// events returns a writer of events with a connection of its own, so that they never wait for, or hold up, policy.
func (p *policyFlags) events(component, instance string, log *slog.Logger) (*kube.Events, error) {
	server, err := p.server()
	if err != nil {
		return nil, err
	}
	return kube.NewEvents(server, component, instance, log), nil
}

// tellCluster gives an agent what it needs to tell the cluster what happens on its node.
func (p *policyFlags) tellCluster(cfg *policyagent.Config, namespace string, log *slog.Logger) error {
	cfg.Node = p.node
	if namespace != "" && (!p.cluster() || p.node == "") {
		return errors.New("--report-namespace needs a cluster and the node's name: give --in-cluster or --kubeconfig, and --node-name")
	}
	if !p.cluster() {
		return nil
	}
	instance := p.node
	if instance == "" {
		instance, _ = os.Hostname() // for people to read; without one it is unknown
	}
	events, err := p.events("kritis-policyagent", instance, log)
	if err != nil {
		return err
	}
	cfg.Events = events
	if namespace == "" {
		return nil
	}
	server, err := p.server()
	if err != nil {
		return err
	}
	lease, err := kube.NewNodeLease(server, namespace, p.node, log)
	if err != nil {
		return err
	}
	cfg.Reports = lease
	return nil
}

// clusterRecorder tells the webhook's events to the API server.
type clusterRecorder struct{ events *kube.Events }

// recorder returns what tells the webhook's events: to the cluster that policy comes from, else to the log.
func (p *policyFlags) recorder(log *slog.Logger) (webhook.Recorder, error) {
	if !p.cluster() {
		return webhook.LogRecorder{Log: log}, nil
	}
	instance, _ := os.Hostname() // the pod's name
	events, err := p.events("kritis-webhook", instance, log)
	if err != nil {
		return nil, err
	}
	return clusterRecorder{events}, nil
}

// Record implements webhook.Recorder. The message names the object: in the list of events only its kind and name show.
func (r clusterRecorder) Record(ctx context.Context, e webhook.Event) error {
	const limit = 1 << 10
	message := fmt.Sprintf("%s %s/%s: %s", strings.ToLower(e.Kind), e.Namespace, e.Name, e.Message)
	if len(message) > limit {
		message = strings.ToValidUTF8(message[:limit-len("…")], "") + "…"
	}
	return r.events.Write(ctx, policyagent.Event{
		Namespace: webhook.EventNamespace, Reason: e.Reason, Message: message,
		Object: policyagent.Object{APIVersion: e.APIVersion, Kind: e.Kind, Namespace: e.Namespace, Name: e.Name},
	})
}

// Metrics returns what to collect about the events.
func (r clusterRecorder) Metrics() prometheus.Collector { return r.events.Metrics() }
