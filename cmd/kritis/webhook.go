package main

import (
	"context"
	"io"
	"log/slog"
	"runtime/debug"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/kritis-node/kritis-node/policyagent/attestations/folder"
	"github.com/kritis-node/kritis-node/policyagent/attestations/registry"
	"github.com/kritis-node/kritis-node/policyagent/webhook"
)

// webhookGCPercent is the garbage that the webhook's heap may grow by, in percent of what is in use; and
// webhookMemory, in bytes, is from where on it is collected more often.
const (
	webhookGCPercent = 50
	webhookMemory    = 96 << 20
)

type webhookFlags struct {
	policies       policyFlags
	objects        attestationFlags
	logins         loginFlags
	attestationDir string
	templates      []string
	fromRegistries bool
	unsafeDryRun   bool
	registries     registryFlags
	logging        logFlags
}

func newWebhookCommand() *cobra.Command {
	cfg := webhook.Config{
		Listen: ":8443", StatusListen: ":8080", Deadline: webhook.DefaultDeadline, DrainDelay: webhook.DefaultDrainDelay,
		ExemptNamespaces: []string{webhook.EventNamespace},
	}
	var f webhookFlags
	cmd := &cobra.Command{
		Use:   "webhook (--policy-dir DIR | --kubeconfig FILE | --in-cluster) --tls-cert FILE --tls-key FILE",
		Short: "tell users at kubectl time which images will not run",
		Long: `Answer the API server's admission reviews over HTTPS: pods under ` + webhook.PodsPath + `, what makes pods under ` + webhook.WorkloadsPath + `.

The plugin on each node has the last word, so the webhook may be configured with failurePolicy: Ignore. Its own and the
cluster's vital namespaces are best exempt in that configuration too.`,
		Example: `  kritis webhook --in-cluster --tls-cert tls.crt --tls-key tls.key
  kritis webhook --policy-dir policies --tls-cert tls.crt --tls-key tls.key --pod-template apps.kruise.io/CloneSet=spec.template`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runWebhook(cmd.Context(), cfg, f, cmd.ErrOrStderr())
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.policies.dir, "policy-dir", "", "`folder` with policies in YAML")
	fs.StringVar(&f.policies.kubeconfig, "kubeconfig", "", "kubeconfig `file` of the cluster whose policies apply")
	fs.BoolVar(&f.policies.inCluster, "in-cluster", false, "take policies from the cluster that this process is a pod of")
	fs.StringVar(&cfg.CertFile, "tls-cert", "", "`file` with the certificate, and those above it; read again when it changes")
	fs.StringVar(&cfg.KeyFile, "tls-key", "", "`file` with the certificate's key")
	for _, name := range []string{"tls-cert", "tls-key"} {
		_ = cmd.MarkFlagRequired(name)
	}
	fs.StringVar(&cfg.Listen, "listen", cfg.Listen, "`address` for reviews")
	fs.StringVar(&cfg.StatusListen, "status-listen", cfg.StatusListen, "`address` for /metrics, /healthz and /readyz, over HTTP")
	fs.DurationVar(&cfg.Deadline, "deadline", cfg.Deadline, "longest `time` for a review; less if the API server says that it waits less")
	fs.DurationVar(&cfg.DrainDelay, "drain-delay", cfg.DrainDelay, "`time` for which reviews are answered after the end was asked for")
	fs.StringSliceVar(&cfg.ExemptNamespaces, "exempt-namespace", cfg.ExemptNamespaces, "`namespaces` that are not judged here; nodes judge them all the same")
	fs.StringSliceVar(&f.templates, "pod-template", nil, "further `kinds` with a pod template, as GROUP/KIND=path.to.template")
	fs.StringSliceVar(&cfg.Platforms, "platform", nil, "`platforms` of the cluster's nodes, such as linux/amd64; default: any of Linux")
	fs.BoolVar(&f.fromRegistries, "registry", true, "fetch attestations from the registries of the images")
	fs.StringVar(&f.attestationDir, "attestation-dir", "", "`folder` with attestations, besides registries")
	f.objects.add(fs)
	f.logins.add(fs)
	fs.BoolVar(&f.unsafeDryRun, "unsafe-dry-run", false, "admit images that fail all the same, with warnings and events")
	f.registries.add(fs)
	f.logging.add(fs)
	return cmd
}

func runWebhook(ctx context.Context, cfg webhook.Config, f webhookFlags, errOut io.Writer) error {
	log, err := f.logging.logger(errOut)
	if err != nil {
		return err
	}
	for _, s := range f.templates {
		t, err := webhook.ParseTemplate(s)
		if err != nil {
			return err
		}
		cfg.Templates = append(cfg.Templates, t)
	}
	asked, err := f.logins.open()
	if err != nil {
		return err
	}
	defer asked.Close()
	if f.fromRegistries {
		hosts, err := f.registries.config()
		if err != nil {
			return err
		}
		hosts.Further = joined(asked.keychain())
		reg, err := registry.New(hosts)
		if err != nil {
			return err
		}
		defer reg.Close()
		cfg.Sources, cfg.Resolver = append(cfg.Sources, reg), reg
	}
	if f.attestationDir != "" {
		dir, err := folder.New(f.attestationDir)
		if err != nil {
			return err
		}
		cfg.Sources = append(cfg.Sources, dir)
	}
	if asked != nil && f.policies.dir != "" {
		kept, err := asked.attestations(nil)
		if err != nil {
			return err
		}
		cfg.Sources = append(cfg.Sources, kept)
	}
	if kept, err := f.objects.source(&f.policies); err != nil {
		return err
	} else if kept != nil {
		cfg.Sources = append(cfg.Sources, kept)
	}
	cfg.Logger = log
	if cfg.Recorder, err = f.policies.recorder(log); err != nil {
		return err
	}
	policies, _, err := f.policies.sources()
	if err != nil {
		return err
	}
	var source webhook.PolicySource = policies
	if f.unsafeDryRun {
		source = webhook.UnsafeDryRun(policies)
	}
	rules := webhook.Follow(source, nil, log)
	cfg.Rules = rules
	debug.SetGCPercent(webhookGCPercent)
	debug.SetMemoryLimit(webhookMemory)
	w, err := webhook.New(cfg)
	if err != nil {
		return err
	}
	return serveWebhook(ctx, w, rules, log)
}

// serveWebhook runs the webhook, and keeps its rules up to date until it is drained.
func serveWebhook(ctx context.Context, w *webhook.Webhook, rules *webhook.Followed, log *slog.Logger) error {
	log.InfoContext(ctx, "starting", "version", version)
	ctx, end := context.WithCancel(ctx)
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	var g errgroup.Group
	g.Go(func() error {
		defer end() // a webhook without policies is of no use
		return rules.Run(following)
	})
	g.Go(func() error {
		defer stop()
		return w.Run(ctx)
	})
	return g.Wait()
}
