// Command kritis-controller keeps the status of kritis' objects, a condition of each Node and the webhook's certificate up
// to date: see policyagent/controller. It is a program of its own because what it is made of has no place on every node.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/kritis-node/kritis-node/policyagent/controller"
)

// exitFailed is the exit code of everything that went wrong, as kritis has it.
const exitFailed = 2

// podNamespace is where a pod finds the name of its namespace.
const podNamespace = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// requestsPerSecond and requestBurst are what the controller may ask of the API server.
const (
	requestsPerSecond = 20
	requestBurst      = 50
)

// version is set by the linker.
var version = "development"

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := newCommand()
	cmd.SetArgs(args)
	cmd.SetOut(out)
	cmd.SetErr(errOut)
	if err := cmd.ExecuteContext(ctx); err != nil {
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintf(errOut, "kritis-controller: %s\n", strings.TrimSuffix(line, "\n"))
		}
		return exitFailed
	}
	return 0
}

type flags struct {
	namespace, kubeconfig, listen  string
	service, secret, configuration string
	leaderElection, certificates   bool
	logLevel, logFormat            string
	alicloud                       alicloudFlags
	acr                            acrFlags
}

func newCommand() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   "kritis-controller",
		Short: "keep statuses, node conditions and the webhook's certificate up to date",
		Long: `Write the status of AttestationAuthorities, GenericAttestationPolicies and AdmissionAllowlists, the condition
KritisEnforcing of Nodes, and the webhook's certificate. With --alicloud-config and --cluster-id also make objects of what
Security Center holds for this cluster. Several may run; one at a time works.

It decides nothing: while it is away, statuses are old, and attestations that only it fetches cannot be told.`,
		Example: `  kritis-controller
  kritis-controller --kubeconfig FILE --namespace kritis-system --webhook-certificates=false`,
		Version: version,
		Args:    cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return work(cmd.Context(), f, cmd.ErrOrStderr())
		},
	}
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.AddCommand(newClean())
	fs := cmd.Flags()
	fs.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig `file`; default: the cluster that this process is a pod of")
	fs.StringVar(&f.namespace, "namespace", "", "`namespace` of node reports, of the webhook and of the leader's Lease; default: this pod's")
	fs.StringVar(&f.listen, "listen", ":8080", "TCP `address` of /metrics, /healthz and /readyz; empty for none")
	fs.BoolVar(&f.leaderElection, "leader-election", true, "work only while leading; false if there is never more than one")
	fs.BoolVar(&f.certificates, "webhook-certificates", true, "make and renew the webhook's certificate; false if cert-manager does, say")
	fs.StringVar(&f.service, "webhook-service", "kritis-webhook", "`name` of the webhook's Service")
	fs.StringVar(&f.secret, "webhook-secret", "kritis-webhook-certificate", "`name` of the Secret for the webhook's certificate")
	fs.StringVar(&f.configuration, "webhook-configuration", "kritis-validation-hook", "`name` of the ValidatingWebhookConfiguration")
	f.alicloud.add(fs)
	f.acr.add(fs)
	fs.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&f.logFormat, "log-format", "json", "text or json")
	return cmd
}

func work(ctx context.Context, f flags, errOut io.Writer) error {
	log, err := newLogger(f, errOut)
	if err != nil {
		return err
	}
	setLibraryLoggers(log)
	cfg := controller.Config{WithoutLeaderElection: !f.leaderElection, Listen: f.listen, Registry: metrics.Registry, Log: log}
	if f.certificates {
		cfg.Certificates = &controller.Certificates{Service: f.service, Secret: f.secret, Configuration: f.configuration}
	}
	if cfg.REST, err = restConfig(f.kubeconfig); err != nil {
		return err
	}
	if cfg.Namespace, err = namespace(f); err != nil {
		return err
	}
	cloud, err := f.alicloud.client(log)
	if err != nil {
		return err
	}
	if cloud != nil {
		defer cloud.Close()
	}
	if cfg.SecurityCenter, err = f.alicloud.securityCenter(cloud, log); err != nil {
		return err
	}
	if cfg.Attestations, err = f.acr.source(cloud); err != nil {
		return err
	}
	c, err := controller.New(cfg)
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "starting", "version", version, "namespace", cfg.Namespace, "certificates", f.certificates, "cluster", f.alicloud.clusterID)
	return c.Run(ctx)
}

// setLibraryLoggers gives a logger to two libraries that have one for a process.
func setLibraryLoggers(log *slog.Logger) {
	ctrllog.SetLogger(logr.FromSlogHandler(log.Handler()))
	klog.SetSlogLogger(log)
}

func newLogger(f flags, out io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return nil, fmt.Errorf("--log-level is %q, must be debug, info, warn or error", f.logLevel)
	}
	opts := &slog.HandlerOptions{Level: level}
	switch f.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(out, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(out, opts)), nil
	default:
		return nil, fmt.Errorf("--log-format is %q, must be text or json", f.logFormat)
	}
}

// restConfig says how the API server is reached. Programs that a kubeconfig names are not run, as in kritis.
func restConfig(kubeconfig string) (*rest.Config, error) {
	config, err := rest.InClusterConfig()
	if kubeconfig != "" {
		config, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	}
	switch {
	case errors.Is(err, rest.ErrNotInCluster):
		return nil, errors.New("this is not a pod of a cluster: name a kubeconfig with --kubeconfig")
	case err != nil && kubeconfig != "":
		return nil, fmt.Errorf("reading kubeconfig %s: %w; name a readable one", kubeconfig, err)
	case err != nil:
		return nil, fmt.Errorf("reading the pod's service account: %w; is it mounted?", err)
	case config.ExecProvider != nil || config.AuthProvider != nil:
		return nil, fmt.Errorf("kubeconfig %s names a program that gives credentials: write a client certificate or a token file instead", kubeconfig)
	}
	config.UserAgent = "kritis-controller/" + version
	config.QPS, config.Burst = requestsPerSecond, requestBurst
	return config, nil
}

func namespace(f flags) (string, error) {
	if f.namespace != "" {
		return f.namespace, nil
	}
	name, err := os.ReadFile(podNamespace)
	if err != nil {
		return "", errors.New("the namespace is not known, because this is not a pod of a cluster: name it with --namespace")
	}
	return strings.TrimSpace(string(name)), nil
}
