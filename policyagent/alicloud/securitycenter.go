package alicloud

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Witnesses returns all attestors of Security Center: complete, or an error.
func (c *Client) Witnesses(ctx context.Context) ([]Witness, error) {
	var all []Witness
	err := c.all(ctx, c.securityCenter("DescribeAttestors", "Attestors", func(o object) (string, error) {
		w, err := witness(o)
		all = append(all, w)
		return w.Name, err
	}))
	if err != nil {
		return nil, err
	}
	return all, nil
}

// SecurityPolicies returns all policies of Security Center, whatever their switch: complete, or an error.
func (c *Client) SecurityPolicies(ctx context.Context) ([]SecurityPolicy, error) {
	var all []SecurityPolicy
	err := c.all(ctx, c.securityCenter("DescribeBinarySecurityPolicies", "BinarySecurityPolicies", func(o object) (string, error) {
		p, err := securityPolicy(o)
		all = append(all, p)
		return p.Name, err
	}))
	if err != nil {
		return nil, err
	}
	return all, nil
}

func (c *Client) securityCenter(action, name string, item func(object) (string, error)) listing {
	return listing{
		call:   call{service: sas, action: action, region: c.config.Region},
		number: "CurrentPage", size: 50, item: item,
		page: func(o object) ([]json.RawMessage, int, error) {
			info, found, err := o.child("PageInfo")
			if err != nil || !found {
				return nil, 0, fmt.Errorf("it has no PageInfo")
			}
			return itemsOf(o, info, name)
		},
	}
}

func witness(o object) (Witness, error) {
	var w Witness
	for name, to := range map[string]*string{"Name": &w.Name, "KeyId": &w.KeyID, "KeyRegionId": &w.KeyRegion, "KeyVersionId": &w.KeyVersion, "Remark": &w.Remark} {
		var err error
		if *to, err = o.text(name); err != nil {
			return w, err
		}
	}
	if w.Name == "" {
		return w, fmt.Errorf("it has no Name")
	}
	return w, nil
}

func securityPolicy(o object) (SecurityPolicy, error) {
	var p SecurityPolicy
	var err error
	if p.Name, err = o.text("Name"); err != nil {
		return p, err
	}
	if p.Name == "" {
		return p, fmt.Errorf("it has no Name")
	}
	if p.Remark, err = o.text("Remark"); err != nil {
		return p, err
	}
	if p.Enabled, err = policySwitch(o); err != nil {
		return p, err
	}
	rule, found, err := o.child("Policy")
	if err != nil || !found {
		return p, fmt.Errorf("it has no Policy")
	}
	mode, err := rule.text("PolicyMode")
	if err != nil {
		return p, err
	}
	if mode != "requireAttestor" {
		return p, fmt.Errorf("its PolicyMode is %s, known is requireAttestor", quoted(mode))
	}
	if p.Witnesses, err = rule.texts("RequiredAttestors"); err != nil {
		return p, err
	}
	if slices.Contains(p.Witnesses, "") {
		return p, fmt.Errorf("RequiredAttestors holds an empty name")
	}
	clusters, _, err := o.list("Clusters")
	if err != nil {
		return p, err
	}
	for _, raw := range clusters {
		scope, err := clusterScope(raw)
		if err != nil {
			return p, fmt.Errorf("one of Clusters: %w", err)
		}
		p.Scopes = append(p.Scopes, scope)
	}
	return p, nil
}

// policySwitch reads Status. Documents say enable where a policy is made and enabled where it is read; numbers and
// truth values are how the service writes switches elsewhere.
func policySwitch(o object) (bool, error) {
	s, err := o.text("Status")
	if err != nil {
		return false, err
	}
	switch strings.ToLower(s) {
	case "enable", "enabled", "1", "true":
		return true, nil
	case "disable", "disabled", "0", "false":
		return false, nil
	default:
		return false, fmt.Errorf("its Status is %s, known are enable(d) and disable(d)", quoted(s))
	}
}

func clusterScope(raw json.RawMessage) (ClusterScope, error) {
	o, err := parseObject(raw)
	if err != nil {
		return ClusterScope{}, err
	}
	var s ClusterScope
	if s.ClusterID, err = o.text("ClusterId"); err != nil {
		return s, err
	}
	if s.ClusterID == "" {
		return s, fmt.Errorf("it has no ClusterId")
	}
	s.Namespaces, err = o.texts("Namespaces")
	return s, err
}
