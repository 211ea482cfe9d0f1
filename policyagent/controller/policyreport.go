package controller

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kritis-node/kritis-node/policyagent/nodereport"
)

const (
	// policyReportSource is how results name this product.
	policyReportSource = "kritis-node"
	// maxResults bounds the results in a report, maxReports the reports: nodes say in which namespaces they found something.
	maxResults = 200
	maxReports = 1000

	applyPatch = types.ApplyPatchType
)

// policyReport is a PolicyReport of wgpolicyk8s.io/v1alpha2, or a Report of openreports.io/v1alpha1, as far as it is used: both
// call these fields the same.
type policyReport struct {
	APIVersion string               `json:"apiVersion"`
	Kind       string               `json:"kind"`
	Metadata   policyReportMeta     `json:"metadata"`
	Summary    policyReportSummary  `json:"summary"`
	Results    []policyReportResult `json:"results"`
}

type policyReportMeta struct {
	Name      string            `json:"name"`
	Namespace string            `json:"namespace"`
	Labels    map[string]string `json:"labels"`
}

type policyReportSummary struct {
	Pass  int `json:"pass"`
	Fail  int `json:"fail"`
	Warn  int `json:"warn"`
	Error int `json:"error"`
	Skip  int `json:"skip"`
}

type policyReportResult struct {
	Source     string               `json:"source"`
	Policy     string               `json:"policy"`
	Rule       string               `json:"rule,omitempty"`
	Category   string               `json:"category"`
	Severity   string               `json:"severity,omitempty"`
	Result     string               `json:"result"`
	Message    string               `json:"message"`
	Timestamp  policyReportTime     `json:"timestamp"`
	Resources  []policyReportObject `json:"resources"`
	Properties map[string]string    `json:"properties,omitempty"`
}

type policyReportTime struct {
	Seconds int64 `json:"seconds"`
	Nanos   int32 `json:"nanos"`
}

type policyReportObject struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
	UID        string `json:"uid,omitempty"`
}

// policyReportsOf makes reports of what nodes found, by namespace. What is in none, because it did not come through CRI, is told
// in the product's own.
func policyReportsOf(nodes []nodereport.Report, own string) map[string]policyReport {
	slices.SortFunc(nodes, func(a, b nodereport.Report) int { return strings.Compare(a.Node, b.Node) })
	all := map[string]policyReport{}
	for _, n := range nodes {
		for _, f := range n.Running.Findings {
			namespace := cmp.Or(f.Namespace, own)
			if f.Result == nodereport.ResultUnmanaged {
				namespace = own
			}
			report, ok := all[namespace]
			if !ok && len(all) >= maxReports {
				continue
			}
			result := policyReportResultOf(n.Node, f)
			switch result.Result {
			case "fail":
				report.Summary.Fail++
			case "warn":
				report.Summary.Warn++
			default:
				report.Summary.Error++
			}
			report.Results = append(report.Results, result)
			all[namespace] = report
		}
	}
	for namespace, report := range all {
		slices.SortStableFunc(report.Results, func(a, b policyReportResult) int {
			return cmp.Or(strings.Compare(severityOrder(a), severityOrder(b)), cmp.Compare(a.Timestamp.Seconds, b.Timestamp.Seconds), strings.Compare(a.Properties["id"], b.Properties["id"]))
		})
		report.Results = report.Results[:min(len(report.Results), maxResults)]
		all[namespace] = report
	}
	return all
}

// severityOrder puts what fails before what only may.
func severityOrder(r policyReportResult) string {
	return map[string]string{"fail": "0", "error": "1", "warn": "2"}[r.Result]
}

func policyReportResultOf(node string, f nodereport.Finding) policyReportResult {
	r := policyReportResult{
		Source: policyReportSource, Policy: "attested-images", Rule: f.Reason, Category: "Supply chain", Message: f.Message,
		Timestamp:  policyReportTime{Seconds: f.Since.Unix()},
		Properties: map[string]string{"node": node, "id": f.ID, "image": f.Image, "finding": f.Result},
		Resources:  []policyReportObject{{APIVersion: "v1", Kind: "Pod", Namespace: f.Namespace, Name: f.Pod, UID: f.PodUID}},
	}
	if f.Container != "" {
		r.Properties["container"] = f.Container
	}
	if f.Missed {
		r.Properties["decided"] = strconv.FormatBool(false)
	}
	switch f.Result {
	case nodereport.ResultViolation:
		r.Result, r.Severity = "fail", "high"
	case nodereport.ResultDryRun:
		r.Result, r.Severity = "warn", "medium"
	case nodereport.ResultUnmanaged:
		r.Result, r.Severity = "fail", "medium"
		r.Properties["containerdNamespace"] = f.Runtime
		r.Resources = []policyReportObject{{APIVersion: "v1", Kind: "Node", Name: node}}
	default:
		r.Result = "error"
	}
	return r
}
