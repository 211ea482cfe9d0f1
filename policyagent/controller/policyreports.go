package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/kritis-node/kritis-node/policyagent/nodereport"
)

const (
	// PolicyReportName is the name of the report in each namespace that has findings.
	PolicyReportName = "kritis-node"
	// policyReportLabel and its value tell our reports from those of others.
	policyReportLabel = "app.kubernetes.io/managed-by"

	// reportsEvery is how often reports are compared with what nodes say, kindsEvery how often a kind is looked for that the
	// cluster did not have.
	reportsEvery = 5 * time.Second
	kindsEvery   = 30 * time.Second
	// reportsTimeout bounds one round of writing.
	reportsTimeout = time.Minute
)

// reportKinds are the kinds of reports, the one that is used if the cluster has it first.
func reportKinds() []schema.GroupVersionKind {
	return []schema.GroupVersionKind{
		{Group: "wgpolicyk8s.io", Version: "v1alpha2", Kind: "PolicyReport"},
		{Group: "openreports.io", Version: "v1alpha1", Kind: "Report"},
	}
}

// policyReports keeps a report in each namespace that has findings of nodes. A cluster that has no kind for it gets none.
type policyReports struct {
	client    client.Client
	live      client.Reader
	mapper    meta.RESTMapper
	namespace string
	log       *slog.Logger

	// Those are Start's alone: the kind that the cluster has, when it was looked for, and what is written, by namespace; nil: it
	// has to be read.
	kind     schema.GroupVersionKind
	lookedAt time.Time
	written  map[string]string
	failing  string
}

func addPolicyReports(m manager.Manager, cfg Config) error {
	return m.Add(&policyReports{client: m.GetClient(), live: m.GetAPIReader(), mapper: m.GetRESTMapper(), namespace: cfg.Namespace, log: cfg.Log})
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (p *policyReports) NeedLeaderElection() bool { return true }

// Start implements manager.Runnable.
func (p *policyReports) Start(ctx context.Context) error {
	tick := time.NewTicker(reportsEvery)
	defer tick.Stop()
	for {
		err := p.round(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			p.written = nil // somebody may have changed them
			if err.Error() != p.failing {
				p.log.WarnContext(ctx, "policy reports are not up to date; it is tried again", "error", err)
			}
			p.failing = err.Error()
		default:
			p.failing = ""
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// round writes what differs.
func (p *policyReports) round(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reportsTimeout)
	defer cancel()
	if err := p.look(time.Now()); err != nil || p.kind.Empty() {
		return err
	}
	if p.written == nil {
		if err := p.read(ctx); err != nil {
			return p.gone(err)
		}
	}
	wanted, err := p.wanted(ctx)
	if err != nil {
		return err
	}
	for namespace, report := range wanted {
		if err := p.write(ctx, namespace, report); err != nil {
			return p.gone(err)
		}
	}
	for namespace := range p.written {
		if _, ok := wanted[namespace]; ok {
			continue
		}
		err := p.client.Delete(ctx, p.object(namespace))
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("deleting the policy report of namespace %s: %w", namespace, err)
		}
		delete(p.written, namespace)
	}
	return nil
}

// look finds out which kind the cluster has, again and again while it has none.
func (p *policyReports) look(now time.Time) error {
	if !p.kind.Empty() || !p.lookedAt.IsZero() && now.Sub(p.lookedAt) < kindsEvery {
		return nil
	}
	p.lookedAt = now
	for _, kind := range reportKinds() {
		_, err := p.mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err == nil {
			p.kind, p.written = kind, nil
			p.log.Info("findings of nodes are kept as policy reports", "kind", kind.String())
			return nil
		}
		if !meta.IsNoMatchError(err) && !apierrors.IsNotFound(err) {
			return fmt.Errorf("looking for the kind %s: %w", kind.Kind, err)
		}
	}
	return nil
}

// gone forgets a kind that the cluster does not have any more.
func (p *policyReports) gone(err error) error {
	if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		p.kind, p.written = schema.GroupVersionKind{}, nil
		return nil
	}
	return err
}

// read notes which reports there are, also those of an earlier leader. What they say is written anew.
func (p *policyReports) read(ctx context.Context) error {
	written := map[string]string{}
	for next := ""; ; {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(p.kind.GroupVersion().WithKind(p.kind.Kind + "List"))
		err := p.live.List(ctx, list, client.MatchingLabels{policyReportLabel: fieldOwner}, client.Limit(page), client.Continue(next))
		if err != nil {
			return err
		}
		for i := range list.Items {
			if list.Items[i].Name == PolicyReportName {
				written[list.Items[i].Namespace] = ""
			}
		}
		if next = list.Continue; next == "" {
			p.written = written
			return nil
		}
	}
}

// wanted is what nodes have found, by namespace. The report of a node that is gone counts no more.
func (p *policyReports) wanted(ctx context.Context) (map[string]policyReport, error) {
	leases, nodes := &coordination.LeaseList{}, &core.NodeList{}
	if err := p.client.List(ctx, leases, client.InNamespace(p.namespace)); err != nil {
		return nil, fmt.Errorf("listing the reports of nodes: %w", err)
	}
	if err := p.client.List(ctx, nodes); err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	known := map[string]bool{}
	for i := range nodes.Items {
		known[nodes.Items[i].Name] = true
	}
	var reports []nodereport.Report
	for i := range leases.Items {
		name, ok := nodereport.NodeName(leases.Items[i].Name)
		report, err := nodereport.Parse(leases.Items[i].Annotations[nodereport.Annotation])
		if ok && err == nil && known[name] && report.Node == name && report.Running != nil {
			reports = append(reports, report)
		}
	}
	return policyReportsOf(reports, p.namespace), nil
}

func (p *policyReports) object(namespace string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(p.kind)
	u.SetNamespace(namespace)
	u.SetName(PolicyReportName)
	return u
}

// write writes a report if it is another than was written. Findings may name namespaces that do not exist: a client of the
// runtime chooses names.
func (p *policyReports) write(ctx context.Context, namespace string, report policyReport) error {
	report.APIVersion, report.Kind = p.kind.GroupVersion().String(), p.kind.Kind
	report.Metadata = policyReportMeta{Name: PolicyReportName, Namespace: namespace, Labels: map[string]string{policyReportLabel: fieldOwner}}
	body, err := json.Marshal(report)
	if err != nil {
		return fmt.Errorf("encoding the policy report of namespace %s: %w", namespace, err)
	}
	if p.written[namespace] == string(body) {
		return nil
	}
	err = p.client.Patch(ctx, p.object(namespace), client.RawPatch(applyPatch, body), client.FieldOwner(fieldOwner), client.ForceOwnership)
	switch {
	case namespaceMissing(err):
		return nil
	case err != nil:
		return fmt.Errorf("writing the policy report of namespace %s: %w", namespace, err)
	}
	p.written[namespace] = string(body)
	return nil
}

// namespaceMissing says whether an error is that the namespace is not there, or about to go.
func namespaceMissing(err error) bool {
	status, ok := err.(apierrors.APIStatus) //nolint:errorlint // the client does not wrap it
	if !ok {
		return false
	}
	details := status.Status().Details
	return apierrors.IsNotFound(err) && details != nil && details.Kind == "namespaces" ||
		apierrors.HasStatusCause(err, core.NamespaceTerminatingCause)
}
