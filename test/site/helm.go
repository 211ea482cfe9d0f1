package site

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// Values are those of the chart, as its values.yaml holds them.
type Values = map[string]any

// Chart is the chart's folder.
func (s *Site) Chart() string { return filepath.Join(s.module, "daemonset", "chart") }

// base are the values that fit the chart to the site: its image, its registry, and no waiting for API servers that are not there.
func (s *Site) base() Values {
	return Values{
		"image": Values{"repository": repository, "tag": tag, "pullPolicy": "Never"},
		"registries": Values{
			"config": Values{"hosts": []any{Values{"host": s.Registry.Host(), "plainHTTP": true}}},
		},
		"webhook": Values{"drainDelay": "1s"},
	}
}

// Install installs the chart with values over those that fit it to the site, and waits until all of it is ready.
func (s *Site) Install(ctx context.Context, values ...Values) error {
	args, err := s.valueArgs(values)
	if err != nil {
		return err
	}
	return s.helmWaits(ctx, append([]string{"install", Release, s.Chart(), "--namespace", Namespace, "--create-namespace"}, args...)...)
}

// Upgrade is [Site.Install] over what is installed. Values are those given now and nothing of before.
func (s *Site) Upgrade(ctx context.Context, values ...Values) error {
	args, err := s.valueArgs(values)
	if err != nil {
		return err
	}
	return s.helmWaits(ctx, append([]string{"upgrade", Release, s.Chart(), "--namespace", Namespace}, args...)...)
}

// Uninstall removes what Install made, and waits until it is gone.
func (s *Site) Uninstall(ctx context.Context) error {
	return s.helmWaits(ctx, "uninstall", Release, "--namespace", Namespace)
}

func (s *Site) helmWaits(ctx context.Context, args ...string) error {
	_, err := s.Helm(ctx, append(args, "--wait", "--timeout", "2m")...)
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, s.Describe(ctx))
	}
	return err
}

// valueArgs writes values into files and returns the arguments that name them.
func (s *Site) valueArgs(values []Values) ([]string, error) {
	var args []string
	for i, v := range append([]Values{s.base()}, values...) {
		data, err := yaml.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("encoding values: %w", err)
		}
		file := s.path("helm", fmt.Sprintf("values-%d.yaml", i))
		if err := os.WriteFile(file, data, 0o644); err != nil {
			return nil, err
		}
		args = append(args, "--values", file)
	}
	return args, nil
}

// Helm runs helm as administrator of the cluster and returns what it prints.
func (s *Site) Helm(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.helm, args...)
	cmd.Env = append(os.Environ(), s.KubectlEnv()...)
	cmd.Env = append(cmd.Env, "HELM_CACHE_HOME="+s.path("helm"), "HELM_CONFIG_HOME="+s.path("helm"), "HELM_DATA_HOME="+s.path("helm"))
	output, err := cmd.CombinedOutput()
	if err != nil {
		return string(output), fmt.Errorf("helm %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(output)))
	}
	return string(output), nil
}

// Describe tells what is in the release's namespace, for a failure's text.
func (s *Site) Describe(ctx context.Context) string {
	ctx = context.WithoutCancel(ctx)
	var b strings.Builder
	for _, args := range [][]string{
		{"get", "all", "-o", "wide"}, {"describe", "pods"}, {"get", "events"},
		{"logs", "--all-containers", "--prefix", "--tail=40", "--selector=app.kubernetes.io/part-of=kritis-node"},
	} {
		stdout, stderr, _, err := s.Kubectl(ctx, append([]string{"--namespace", Namespace}, args...)...)
		fmt.Fprintf(&b, "--- kubectl %s\n%s%s", strings.Join(args, " "), stdout, stderr)
		if err != nil {
			fmt.Fprintln(&b, err)
		}
	}
	return b.String()
}
