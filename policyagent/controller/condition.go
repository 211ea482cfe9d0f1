package controller

import (
	"fmt"
	"strings"
	"time"

	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/policyagent/nodereport"
)

// modeUnreadable is a mode of metrics only.
const modeUnreadable = "unreadable"

// judgeNode returns the condition of a node, and its mode for metrics. lease is nil if there is none; fresh says whether
// it was renewed of late.
func judgeNode(node string, lease *coordination.Lease, fresh bool) (core.NodeCondition, string) {
	c := core.NodeCondition{Type: nodereport.Condition, Status: core.ConditionUnknown, Reason: ReasonSilent}
	if lease == nil {
		c.Message = textNoReport
		return c, nodereport.ModeSilent
	}
	if !fresh {
		last := "a time unknown"
		if r := lease.Spec.RenewTime; r != nil {
			last = r.UTC().Format(time.RFC3339)
		}
		c.Message = fmt.Sprintf(textSilent, last)
		return c, nodereport.ModeSilent
	}
	report, err := nodereport.Parse(lease.Annotations[nodereport.Annotation])
	if err == nil && report.Node != node {
		err = fmt.Errorf(textOtherNode, brief(report.Node))
	}
	if err == nil {
		if c, err = judgeReport(c, report); err == nil {
			return c, report.Mode
		}
	}
	c.Reason, c.Message = ReasonUnreadable, v1beta1.Message(fmt.Sprintf(textUnreadable, err))
	return c, modeUnreadable
}

func judgeReport(c core.NodeCondition, r nodereport.Report) (core.NodeCondition, error) {
	c.Status = core.ConditionFalse
	switch r.Mode {
	case nodereport.ModeEnforcing:
		c.Status, c.Reason, c.Message = core.ConditionTrue, ReasonEnforcing, textEnforcing
		return c, nil // gaps would contradict the mode, and the plugin names none
	case nodereport.ModeBestEffort:
		c.Reason, c.Message = ReasonBestEffort, textBestEffort
	case nodereport.ModeWaiting:
		c.Reason, c.Message = ReasonWaiting, textWaiting
	case nodereport.ModeAbsent:
		c.Reason, c.Message = ReasonAbsent, textAbsent
	default:
		c.Status = core.ConditionUnknown
		return c, fmt.Errorf(textOtherMode, brief(r.Mode))
	}
	var gaps []string
	for _, g := range r.Gaps {
		if g.Text != "" {
			gaps = append(gaps, g.Text)
		}
	}
	if len(gaps) > 0 {
		c.Message += ": " + strings.Join(gaps, "; ")
	}
	c.Message = v1beta1.Message(c.Message)
	return c, nil
}

func brief(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}
