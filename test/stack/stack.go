package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/test/cluster"
)

// Isolate is cluster.Isolate with what a Stack needs, and more.
func Isolate(more ...string) {
	cluster.Isolate(append([]string{"containerd-2.3", "cosign", "./cmd/kritis"}, more...)...)
}

// Options say what a Stack is made of. The zero value is containerd 2.4 that requires the plugin, with everything
// started.
type Options struct {
	// Containerd is "2.4" (default), "2.3", "2.2" or "2.1": the tool containerd-… of test/tools.
	Containerd string
	// NotRequired leaves the plugin out of the runtime's required plugins.
	NotRequired bool
	// Bare starts neither agent nor plugin.
	Bare bool
	// RequestTimeout is NRI's plugin_request_timeout; zero leaves containerd's 2 s.
	RequestTimeout time.Duration
	// RuntimeHandlers are names, besides "runc", under which runc can be asked for.
	RuntimeHandlers []string
	// Config is added to containerd's configuration.
	Config string
	// Referrers starts a second registry, with the referrers API.
	Referrers bool
}

// Stack is a running node with the product on it.
type Stack struct {
	Node     *cluster.Node
	Registry *cluster.Registry
	// Referrers is nil unless asked for.
	Referrers *cluster.Registry
	// Dir holds everything below.
	Dir string
	// Program is the kritis binary, Cosign cosign's.
	Program, Cosign string

	Agent, Plugin *cluster.Process

	images atomic.Uint64
}

// Start starts a Stack. Close must be called also after an error in what follows.
func Start(ctx context.Context, o Options) (_ *Stack, err error) {
	s := &Stack{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.Dir, err = os.MkdirTemp("/run", "stack-"); err != nil {
		return nil, err
	}
	for _, dir := range []string{"policies", "attestations", "keys", "log", "registry", "referrers"} {
		if err := os.Mkdir(s.path(dir), 0o755); err != nil {
			return nil, err
		}
	}
	// A policy folder without any file counts as unmounted; an empty file says that there are no policies.
	if err := os.WriteFile(s.path("policies", "none.yaml"), nil, 0o644); err != nil {
		return nil, err
	}
	if s.Program, err = cluster.Build(ctx, "./cmd/kritis"); err != nil {
		return nil, err
	}
	tools, err := cluster.Tool(ctx, "cosign")
	if err != nil {
		return nil, err
	}
	s.Cosign = filepath.Join(tools, "cosign")
	if s.Registry, err = cluster.StartDistribution(ctx, s.path("registry"), cluster.RegistryOptions{}); err != nil {
		return nil, err
	}
	nodeOptions := cluster.Options{
		Containerd: o.Containerd, PluginRequestTimeout: o.RequestTimeout, RuntimeHandlers: o.RuntimeHandlers, Config: o.Config,
	}
	if !o.NotRequired {
		nodeOptions.RequiredPlugins = []string{plugin.Name}
	}
	if s.Node, err = cluster.StartNode(ctx, nodeOptions); err != nil {
		return nil, err
	}
	if err := s.Trust(s.Registry); err != nil {
		return nil, err
	}
	if o.Referrers {
		if s.Referrers, err = cluster.StartReferrersRegistry(ctx, s.path("referrers")); err != nil {
			return nil, err
		}
		if err := s.Trust(s.Referrers); err != nil {
			return nil, err
		}
	}
	if o.Bare {
		return s, nil
	}
	if err := s.StartAgent(ctx); err != nil {
		return nil, err
	}
	return s, s.StartPlugin(ctx)
}

// Trust lets node and product use a further registry by plain HTTP. The agent has to be started afterwards.
func (s *Stack) Trust(r *cluster.Registry) error {
	if err := s.Node.AddRegistry(r.Host(), r); err != nil {
		return err
	}
	return s.configure("- host: %s\n  plainHTTP: true\n", r.Host())
}

// TrustAt is [Stack.Trust] for what is no process of test/cluster, or goes by another name: images of the host come from an address.
// Where the two differ, the address must be trusted already.
func (s *Stack) TrustAt(host, address string) error {
	if err := s.Node.AddPlainRegistry(host, address); err != nil {
		return err
	}
	if host == address {
		return s.configure("- host: %s\n  plainHTTP: true\n", host)
	}
	return s.configure("- host: %s\n  mirrors: [%q]\n", host, address)
}

// configure adds a host to the file that says how registries are reached.
func (s *Stack) configure(format string, args ...any) error {
	f, err := os.OpenFile(s.RegistryConfig(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() == 0 {
		if _, err := f.WriteString("hosts:\n"); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(f, format, args...)
	return err
}

func (s *Stack) path(parts ...string) string {
	return filepath.Join(append([]string{s.Dir}, parts...)...)
}

// StateDir is the folder between agent and plugin.
func (s *Stack) StateDir() string { return s.path("state") }

// PolicyDir is the folder of policies that the agent reads.
func (s *Stack) PolicyDir() string { return s.path("policies") }

// AttestationDir is the folder of attestations that the agent reads.
func (s *Stack) AttestationDir() string { return s.path("attestations") }

// RegistryConfig is the file that says how registries are reached.
func (s *Stack) RegistryConfig() string { return s.path("registries.yaml") }

// FloorFile is the plugin's floor.
func (s *Stack) FloorFile() string { return s.path("floor.yaml") }

// AuditLog is the plugin's.
func (s *Stack) AuditLog() string { return s.path("log", "decisions.jsonl") }

// PluginSocket answers `kritis status` and `kritis explain`.
func (s *Stack) PluginSocket() string { return s.path("plugin.sock") }

// AgentSocket is where the plugin asks for attestations.
func (s *Stack) AgentSocket() string { return s.path("agent.sock") }

// StartAgent starts the policy agent and waits until it serves.
func (s *Stack) StartAgent(ctx context.Context, args ...string) error {
	var err error
	s.Agent, err = cluster.StartProcess(ctx, cluster.Command{
		Path: s.Program, Log: s.path("log", "agent.log"),
		Args: append([]string{"policyagent", "--policy-dir", s.PolicyDir(), "--state-dir", s.StateDir(), "--socket", s.AgentSocket(),
			"--registry-config", s.RegistryConfig(), "--attestation-dir", s.AttestationDir(), "--log-level", "debug"}, args...),
	}, func(context.Context) error {
		_, err := os.Stat(s.AgentSocket())
		if err == nil {
			_, err = os.Stat(filepath.Join(s.StateDir(), "policy.json"))
		}
		return err
	})
	return err
}

// PluginArgs are the arguments with which the plugin fits this node.
func (s *Stack) PluginArgs() []string {
	return []string{"plugin", "--state-dir", s.StateDir(), "--floor", s.FloorFile(), "--nri-socket", s.Node.NRISocket(),
		"--containerd-socket", s.Node.ContainerdSocket(), "--containerd-config", filepath.Join(s.Node.Dir(), "config.toml"), "--agent-socket", s.AgentSocket(),
		"--socket", s.PluginSocket(), "--audit-log", s.AuditLog(), "--log-level", "debug"}
}

// LaunchPlugin starts the plugin without waiting for anything.
func (s *Stack) LaunchPlugin(ctx context.Context, args ...string) error {
	var err error
	s.Plugin, err = cluster.StartProcess(ctx, cluster.Command{Path: s.Program, Args: append(s.PluginArgs(), args...), Log: s.path("log", "plugin.log")}, nil)
	return err
}

// StartPlugin starts the plugin and waits until the runtime has it.
func (s *Stack) StartPlugin(ctx context.Context, args ...string) error {
	if err := s.LaunchPlugin(ctx, args...); err != nil {
		return err
	}
	// The runtime's log may not yet tell that a plugin before this one is gone.
	err := cluster.Await(ctx, "the plugin to be registered", func(ctx context.Context) error {
		status, err := s.Status(ctx)
		if err == nil && !status.Registered {
			err = errors.New("it is not: " + status.LastError)
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.Node.WaitNRI(ctx, plugin.Name)
}

// Logs returns what helps to understand a failure.
func (s *Stack) Logs() string {
	var b strings.Builder
	for _, name := range []string{"plugin.log", "agent.log", "decisions.jsonl"} {
		data, err := os.ReadFile(s.path("log", name))
		fmt.Fprintf(&b, "--- %s (%v)\n%s\n", name, err, tail(data, 8<<10))
	}
	if s.Node != nil {
		b.Write(tail([]byte(s.Node.Logs()), 4<<10))
	}
	return b.String()
}

func tail(data []byte, n int) []byte { return data[max(0, len(data)-n):] }

// Close stops everything in reverse order and removes the folder.
func (s *Stack) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var errs []error
	// A node whose required plugin is gone can still stop and remove containers.
	for _, p := range []*cluster.Process{s.Plugin, s.Agent} {
		if p != nil && p.Running() {
			errs = append(errs, p.Resume(), p.Stop(ctx))
		}
	}
	if s.Node != nil {
		errs = append(errs, s.Node.Close())
	}
	for _, r := range []*cluster.Registry{s.Registry, s.Referrers} {
		if r != nil {
			errs = append(errs, r.Resume(), r.Stop(ctx))
		}
	}
	if s.Dir != "" {
		errs = append(errs, os.RemoveAll(s.Dir))
	}
	return errors.Join(errs...)
}
