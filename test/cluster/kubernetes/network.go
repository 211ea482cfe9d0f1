package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// The addresses of the cluster. Nobody else is in its network.
const (
	bridge      = "kritis0"
	nodeNetwork = "10.250.0.0/24"
	podNetwork  = "10.244.0.0/16"
	services    = "10.96.0.0/16"
	// apiService is the address of the Service "kubernetes": the first one.
	apiService = "10.96.0.1"
)

// nodeAddress and podRange are those of a node, counted from zero.
func nodeAddress(index int) string { return fmt.Sprintf("10.250.0.%d", index+1) }

func podRange(index int) string { return fmt.Sprintf("10.244.%d.0/24", index) }

// makeNetwork makes the node's interface: a bridge, because not every kernel has dummies. Addresses of Services are
// nobody's, but without a route to them nothing would be sent, and so nothing translated. It is not the default route:
// what asks for an address outside, such as that of a name server, is to be refused at once and not to wait.
func makeNetwork(ctx context.Context) error {
	prefix := nodeNetwork[strings.IndexByte(nodeNetwork, '/'):]
	for _, args := range [][]string{
		{"link", "add", bridge, "type", "bridge"},
		{"address", "add", nodeAddress(0) + prefix, "dev", bridge},
		{"link", "set", bridge, "up"},
		{"route", "add", services, "dev", bridge},
	} {
		if err := run(ctx, "", "ip", args...); err != nil {
			return fmt.Errorf("making the node's network: %w", err)
		}
	}
	return nil
}

// joinNetwork connects a machine's network to the first node's, which routes.
func joinNetwork(ctx context.Context, index int, machine *cluster.Machine) error {
	pid := strconv.Itoa(machine.Holder().PID())
	prefix := nodeNetwork[strings.IndexByte(nodeNetwork, '/'):]
	outside := func(args ...string) error { return run(ctx, "", "ip", args...) }
	inside := func(args ...string) error {
		return run(ctx, "", "nsenter", append([]string{"--net=/proc/" + pid + "/ns/net", "ip"}, args...)...)
	}
	// An end that is left of an earlier boot goes with the network of that, which the kernel removes in its own time.
	_ = outside("link", "delete", nodeLink(index))
	for _, err := range []error{
		outside("link", "add", nodeLink(index), "type", "veth", "peer", "name", "eth0", "netns", pid),
		outside("link", "set", nodeLink(index), "master", bridge, "up"),
		inside("address", "add", nodeAddress(index)+prefix, "dev", "eth0"),
		inside("link", "set", "eth0", "up"),
		inside("route", "add", services, "dev", "eth0"),
		inside("route", "add", podNetwork, "via", nodeAddress(0)),
		outside("route", "replace", podRange(index), "via", nodeAddress(index)),
	} {
		if err != nil {
			return fmt.Errorf("connecting node %d: %w", index+1, err)
		}
	}
	return nil
}

// nodeLink is the first node's end of the connection to another one.
func nodeLink(index int) string { return fmt.Sprintf("%s-node-%d", bridge, index+1) }

// forgetServices removes what kube-proxy translated.
func forgetServices(ctx context.Context) error {
	// Deleting what may not be there is an error, unless it is added before.
	const tables = "add table ip kube-proxy\ndelete table ip kube-proxy\n" +
		"add table ip6 kube-proxy\ndelete table ip6 kube-proxy\n"
	return run(ctx, tables, "nft", "-f", "-")
}

// removeNetwork removes the interfaces, and what kube-proxy translated.
func removeNetwork(ctx context.Context) error {
	return errors.Join(forgetServices(ctx), run(ctx, "", "ip", "link", "delete", bridge))
}

// cni returns the network configuration of a node's pods. With the ptp plugin all they send is routed by the node, and
// so passes kube-proxy's rules also when the other end is a pod beside them; frames on a bridge would not.
func cni(index int, stateDir string) (string, error) {
	type object map[string]any
	content, err := json.MarshalIndent(object{
		"cniVersion": "1.0.0",
		"name":       "kritis-node-test",
		"plugins": []object{{
			"type": "ptp",
			"ipam": object{
				"type":    "host-local",
				"dataDir": stateDir,
				"ranges":  [][]object{{{"subnet": podRange(index)}}},
				"routes":  []object{{"dst": "0.0.0.0/0"}},
			},
		}},
	}, "", "  ")
	if err != nil {
		return "", fmt.Errorf("encoding the network configuration: %w", err)
	}
	return string(content), nil
}

// run runs a program that should say nothing.
func run(ctx context.Context, input, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = strings.NewReader(input)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}

// DialAPIService returns an error unless the API server can be reached as pods reach it: through kube-proxy, which after an outage takes its
// time to say so.
func (c *Cluster) DialAPIService(ctx context.Context) error {
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(apiService, "443"))
	if err != nil {
		return fmt.Errorf("reaching the API server as a service: %w", err)
	}
	return connection.Close()
}
