package workstation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/kube"
	"github.com/kritis-node/kritis-node/policyagent/nodereport"
)

// maxPlatforms is how many platforms of nodes are told apart.
const maxPlatforms = 8

// Fleet is how the nodes of a cluster enforce.
type Fleet struct {
	// Namespace is where the reports come from; empty: nowhere is one.
	Namespace string `json:"namespace,omitempty"`
	Nodes     []Node `json:"nodes"`
	// Modes counts the nodes by mode.
	Modes map[string]int `json:"modes"`
	// Untold is what could not be read, a line each. There may be nodes that are not in Nodes then.
	Untold []string `json:"untold,omitempty"`
}

// Node is one node.
type Node struct {
	Name string `json:"name"`
	// Mode is one of nodereport's, Gaps say why it is not enforcing.
	Mode string           `json:"mode"`
	Gaps []nodereport.Gap `json:"gaps,omitempty"`
	// RenewedAt is when its agent was heard of last.
	RenewedAt time.Time `json:"renewedAt,omitzero"`
	// Report is the last report, old or not; nil: none that can be read.
	Report *nodereport.Report `json:"report,omitempty"`
}

// Codes of gaps that are found here.
const (
	CodeNoReport         = "NoReport"
	CodeReportOld        = "ReportOld"
	CodeReportUnreadable = "ReportUnreadable"
	CodeClockAhead       = "ClockAhead"
)

// ReadFleet reads the nodes, and the reports of a namespace. If none is named it is looked for: see findReports.
func ReadFleet(ctx context.Context, s *kube.Server, namespace string, now time.Time) (Fleet, error) {
	leases, namespace, err := findReports(ctx, s, namespace)
	if err != nil {
		return Fleet{}, err
	}
	f := Fleet{Namespace: namespace, Nodes: []Node{}, Modes: map[string]int{}}
	nodes, err := readNodes(ctx, s)
	if err != nil {
		f.Untold = append(f.Untold, "nodes that do not report are not shown: "+err.Error())
		for _, l := range leases {
			nodes = append(nodes, kubeNode{name: l.node()})
		}
	}
	for _, n := range nodes {
		node := Node{Name: n.name, Mode: nodereport.ModeSilent, Gaps: []nodereport.Gap{{Code: CodeNoReport, Text: "its policy agent has not reported: does it run there?"}}}
		if l, ok := leases[n.name]; ok {
			node = l.judge(now)
		}
		f.Modes[node.Mode]++
		f.Nodes = append(f.Nodes, node)
	}
	slices.SortFunc(f.Nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return f, nil
}

// ReadNode reads how one node enforces.
func ReadNode(ctx context.Context, s *kube.Server, namespace, node string, now time.Time) (Node, error) {
	leases, _, err := findReports(ctx, s, namespace)
	if err != nil {
		return Node{}, err
	}
	if l, ok := leases[node]; ok {
		return l.judge(now), nil
	}
	return Node{Name: node, Mode: nodereport.ModeSilent, Gaps: []nodereport.Gap{{Code: CodeNoReport, Text: "its policy agent has not reported: does it run there?"}}}, nil
}

// lease is what matters of a node's Lease.
type lease struct {
	Metadata struct {
		Name        string            `json:"name"`
		Namespace   string            `json:"namespace"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		RenewTime time.Time `json:"renewTime"`
	} `json:"spec"`
}

// node is the name of the node that the lease belongs to, by its own name; empty if it is not a node's.
func (l lease) node() string {
	node, _ := nodereport.NodeName(l.Metadata.Name)
	return node
}

// judge says how the node enforces. The zero report is silent.
func (l lease) judge(now time.Time) Node {
	n := Node{Name: l.node(), Mode: nodereport.ModeSilent, RenewedAt: l.Spec.RenewTime}
	gap := func(code, text string) Node {
		n.Gaps = append([]nodereport.Gap{{Code: code, Text: text}}, n.Gaps...)
		return n
	}
	report, err := nodereport.Parse(l.Metadata.Annotations[nodereport.Annotation])
	if err == nil && report.Node != n.Name {
		err = errors.New("it is of another node")
	}
	if err != nil {
		return gap(CodeReportUnreadable, err.Error()+": are agent and command of the same version?")
	}
	n.Report, n.Gaps = &report, report.Gaps
	switch old := now.Sub(l.Spec.RenewTime); {
	case old > nodereport.StaleAfter:
		return gap(CodeReportOld, fmt.Sprintf("its policy agent was heard of last %s ago, when it said %q", old.Round(time.Second), report.Mode))
	case old < -nodereport.StaleAfter:
		return gap(CodeClockAhead, fmt.Sprintf("its report comes from %s in the future: set the clocks", (-old).Round(time.Second)))
	}
	switch report.Mode {
	case nodereport.ModeEnforcing, nodereport.ModeBestEffort, nodereport.ModeWaiting, nodereport.ModeAbsent:
		n.Mode = report.Mode
		return n
	}
	return gap(CodeReportUnreadable, fmt.Sprintf("mode %q is not known: is the agent newer than this command?", report.Mode))
}

// findReports returns the Leases of nodes by node. Whoever may write Leases in the product's namespace can lie in them, so
// those of other namespaces, where tenants write, must not mix in: it is the one that is named; or kritis-system or
// kube-system, if one is there; or else the only one that has any.
func findReports(ctx context.Context, s *kube.Server, namespace string) (map[string]lease, string, error) {
	byNamespace := map[string]map[string]lease{}
	read := func(namespace string) error {
		leases := kube.Objects{Group: "coordination.k8s.io", Version: "v1", Resource: "leases", Namespace: namespace}
		return s.ReadList(ctx, leases, kube.Selection{Labels: nodereport.Label + "=" + nodereport.LabelValue}, func(raw json.RawMessage) error {
			var l lease
			if err := unmarshal(raw, &l); err != nil {
				return err
			}
			if l.node() == "" {
				return nil
			}
			if byNamespace[l.Metadata.Namespace] == nil {
				byNamespace[l.Metadata.Namespace] = map[string]lease{}
			}
			byNamespace[l.Metadata.Namespace][l.node()] = l
			return nil
		})
	}
	if namespace != "" {
		err := read(namespace)
		return byNamespace[namespace], namespace, err
	}
	usual := []string{"kritis-system", "kube-system"}
	errAll := read("")
	if kube.IsForbidden(errAll) {
		var errs []error
		for _, namespace := range usual {
			errs = append(errs, read(namespace))
		}
		if len(byNamespace) == 0 && errors.Join(errs...) != nil {
			return nil, "", fmt.Errorf("%w; or name a namespace in which you may, with --report-namespace", errAll)
		}
	} else if errAll != nil {
		return nil, "", errAll
	}
	for _, namespace := range usual {
		if leases := byNamespace[namespace]; leases != nil {
			return leases, namespace, nil
		}
	}
	if len(byNamespace) > 1 {
		var names []string
		for name := range byNamespace {
			names = append(names, name)
		}
		slices.Sort(names)
		return nil, "", fmt.Errorf("nodes seem to report in several namespaces (%.200s): name that of kritis with --report-namespace", strings.Join(names, ", "))
	}
	for namespace, leases := range byNamespace {
		return leases, namespace, nil
	}
	return nil, "", nil
}

// kubeNode is what matters of a Node.
type kubeNode struct{ name, platform string }

// readNodes returns the nodes of Linux.
func readNodes(ctx context.Context, s *kube.Server) ([]kubeNode, error) {
	var all []kubeNode
	err := s.ReadList(ctx, kube.Objects{Version: "v1", Resource: "nodes"}, kube.Selection{}, func(raw json.RawMessage) error {
		n, linux, err := decodeNode(raw)
		if err == nil && linux {
			all = append(all, n)
		}
		return err
	})
	return all, err
}

func decodeNode(raw []byte) (kubeNode, bool, error) {
	var n struct {
		Metadata struct {
			Name   string            `json:"name"`
			Labels map[string]string `json:"labels"`
		} `json:"metadata"`
		Status struct {
			NodeInfo struct {
				OS   string `json:"operatingSystem"`
				Arch string `json:"architecture"`
			} `json:"nodeInfo"`
		} `json:"status"`
	}
	err := unmarshal(raw, &n)
	os := n.Status.NodeInfo.OS
	if os == "" {
		os = n.Metadata.Labels["kubernetes.io/os"]
	}
	arch := n.Status.NodeInfo.Arch
	if arch == "" {
		arch = n.Metadata.Labels["kubernetes.io/arch"]
	}
	node := kubeNode{name: n.Metadata.Name}
	if arch != "" {
		node.platform = "linux/" + arch
	}
	// One that does not say what it is counts: rather silent than unseen.
	return node, os == "" || os == "linux", err
}

// PlatformsByNode are the platforms of the nodes of Linux, such as "linux/amd64".
func PlatformsByNode(ctx context.Context, s *kube.Server) (map[string]string, error) {
	nodes, err := readNodes(ctx, s)
	all := make(map[string]string, len(nodes))
	for _, n := range nodes {
		all[n.name] = n.platform
	}
	return all, err
}

// Platforms are those of a node, or of all nodes, such as "linux/amd64", in order.
func Platforms(ctx context.Context, s *kube.Server, node string) ([]string, error) {
	var nodes []kubeNode
	var err error
	if node == "" {
		nodes, err = readNodes(ctx, s)
	} else {
		var raw json.RawMessage
		if err = s.ReadObject(ctx, kube.Objects{Version: "v1", Resource: "nodes"}, node, &raw); err == nil {
			var n kubeNode
			n, _, err = decodeNode(raw)
			nodes = append(nodes, n)
		}
	}
	var all []string
	for _, n := range nodes {
		if n.platform != "" && !slices.Contains(all, n.platform) && len(all) < maxPlatforms {
			all = append(all, n.platform)
		}
	}
	slices.Sort(all)
	return all, err
}
