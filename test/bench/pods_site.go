package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/sync/errgroup"
	criapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
	"github.com/kritis-node/kritis-node/test/stack"
)

// Namespaces of the two halves.
const (
	withProduct    = "with"
	withoutProduct = "without"
)

// podSite is a Kubernetes of two nodes, one of which has the product.
type podSite struct {
	kube     *kubernetes.Cluster
	registry *cluster.Registry
	client   *podClient
	program  string
	dir      string
	key      stack.Key
	webhook  *cluster.Process

	warm  string
	first map[string][]string // by namespace

	product       *kubernetes.Node
	baseline      *kubernetes.Node
	agent, plugin *cluster.Process
	sequence      atomic.Int64
	fetches       int
}

// startPodSite also returns what has to be closed when there is an error.
func startPodSite(ctx context.Context) (*podSite, error) {
	s := &podSite{first: map[string][]string{}}
	var err error
	if s.dir, err = os.MkdirTemp("/run", "pods-"); err != nil {
		return s, err
	}
	if s.program, err = cluster.Build(ctx, "./cmd/kritis"); err != nil {
		return s, err
	}
	if err := os.Mkdir(s.path("registry"), 0o755); err != nil {
		return s, err
	}
	if s.kube, err = kubernetes.Start(ctx, kubernetes.Options{Nodes: 2}); err != nil {
		return s, err
	}
	s.registry, err = cluster.StartDistribution(ctx, s.path("registry"), cluster.RegistryOptions{Address: s.kube.NodeAddress()})
	if err != nil {
		return s, err
	}
	registries := []byte("hosts:\n- host: " + s.registry.Host() + "\n  plainHTTP: true\n")
	if err := errors.Join(s.kube.AddRegistry(s.registry.Host(), s.registry), os.WriteFile(s.path("registries.yaml"), registries, 0o644)); err != nil {
		return s, err
	}
	for _, node := range s.kube.Nodes() {
		file := node.Path("/etc/kritis/registries.yaml")
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, registries, 0o644)); err != nil {
			return s, err
		}
	}
	if s.client, err = newPodClient(s.kube.Kubeconfig()); err != nil {
		return s, err
	}
	if err := s.prepareImages(ctx); err != nil {
		return s, err
	}
	return s, errors.Join(s.require(ctx), s.startWebhook(ctx))
}

func (s *podSite) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

func (s *podSite) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var failures []error
	if s.client != nil {
		s.client.close()
	}
	for _, p := range []*cluster.Process{s.webhook, s.plugin, s.agent} {
		if p != nil {
			failures = append(failures, p.Stop(ctx))
		}
	}
	if s.kube != nil {
		failures = append(failures, s.kube.Close())
	}
	if s.registry != nil {
		failures = append(failures, s.registry.Stop(ctx))
	}
	return errors.Join(append(failures, os.RemoveAll(s.dir))...)
}

// prepareImages pushes all images, and signs those that run where the product is.
func (s *podSite) prepareImages(ctx context.Context) error {
	var err error
	if s.key, err = stack.WriteKey(s.path("team")); err != nil {
		return err
	}
	const images = podRounds * podPairs
	for _, namespace := range []string{withProduct, withoutProduct} {
		s.first[namespace] = make([]string, images)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(2)
	push := func(name string, signed bool, into *string) {
		group.Go(func() (err error) {
			image, err := cluster.BusyboxImage(name)
			if err != nil {
				return err
			}
			digest, err := s.registry.Push(groupCtx, "bench/app:"+name, image)
			if err != nil {
				return err
			}
			*into = s.registry.Host() + "/bench/app@" + digest
			if !signed {
				return nil
			}
			output, err := exec.CommandContext(groupCtx, s.program, "sign", "--key", s.key.Private, "--registry-config", s.path("registries.yaml"), *into).CombinedOutput()
			if err != nil {
				return fmt.Errorf("kritis sign: %w: %s", err, output)
			}
			return nil
		})
	}
	push("warm", true, &s.warm)
	for i := range images {
		push(fmt.Sprintf("%s-%d", withProduct, i), true, &s.first[withProduct][i])
		push(fmt.Sprintf("%s-%d", withoutProduct, i), false, &s.first[withoutProduct][i])
	}
	return group.Wait()
}

// require makes the namespaces, and one of them require an attestation.
func (s *podSite) require(ctx context.Context) error {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("finding the checkout: %w", err)
	}
	crds := filepath.Join(strings.TrimSpace(string(root)), "daemonset", "chart", "crds")
	if _, err := s.kube.KubectlOutput(ctx, "apply", "-f", crds); err != nil {
		return err
	}
	for _, namespace := range []string{withProduct, withoutProduct} {
		if _, err := s.kube.KubectlOutput(ctx, "create", "namespace", namespace); err != nil {
			return err
		}
		if err := s.kube.AwaitObject(ctx, namespace, "serviceaccount/default", "create"); err != nil {
			return err
		}
	}
	authority, err := stack.Authority(withProduct, "team", "", s.key)
	if err != nil {
		return err
	}
	for _, kind := range []string{"attestationauthorities", "genericattestationpolicies", "admissionallowlists"} {
		if err := s.kube.AwaitObject(ctx, "", "crd/"+kind+".kritis.grafeas.io", "condition=Established"); err != nil {
			return err
		}
	}
	return s.kube.Apply(ctx, authority+"---\n"+stack.Policy(withProduct, "team-signs", "", "team"))
}

// startWebhook starts the webhook and registers it for the namespace with the product.
func (s *podSite) startWebhook(ctx context.Context) error {
	address := s.kube.NodeAddress()
	certificate, err := cluster.NewCertificate(address)
	if err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(s.path("tls.crt"), certificate.CertPEM, 0o600), os.WriteFile(s.path("tls.key"), certificate.KeyPEM, 0o600)); err != nil {
		return err
	}
	s.webhook, err = cluster.StartProcess(ctx, cluster.Command{Path: s.program, Log: s.path("webhook.log"), Args: []string{"webhook",
		"--kubeconfig", s.kube.Kubeconfig(), "--tls-cert", s.path("tls.crt"), "--tls-key", s.path("tls.key"), "--listen", address + ":8443",
		"--status-listen", address + ":8081", "--registry-config", s.path("registries.yaml"), "--drain-delay", "0s"}},
		func(ctx context.Context) error {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+":8081/readyz", nil)
			if err != nil {
				return err
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			if response.StatusCode != http.StatusOK {
				return fmt.Errorf("readyz: %s", response.Status)
			}
			return nil
		})
	if err != nil {
		return err
	}
	err = s.kube.Apply(ctx, fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: kritis}
webhooks:
- name: kritis-validation-hook.grafeas.io
  clientConfig: {url: "https://%s:8443/pods", caBundle: %s}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [pods, pods/ephemeralcontainers]}]
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %s}}
  failurePolicy: Fail
  sideEffects: NoneOnDryRun
  admissionReviewVersions: [v1]
`, address, base64.StdEncoding.EncodeToString(certificate.CAPEM), withProduct))
	if err != nil {
		return err
	}
	// Else the first pods would be admitted unseen.
	unsigned := s.first[withoutProduct][0]
	return cluster.Await(ctx, "the webhook to be called", func(ctx context.Context) error {
		_, _, code, err := s.kube.Kubectl(ctx, "-n", withProduct, "run", "probe", "--dry-run=server", "--image="+unsigned)
		if err == nil && code == 0 {
			err = errors.New("it is not called yet")
		}
		return err
	})
}

// assign gives one node the product and takes it from the other one.
func (s *podSite) assign(ctx context.Context, index int) error {
	for _, p := range []*cluster.Process{s.plugin, s.agent} {
		if p != nil {
			if err := p.Stop(ctx); err != nil {
				return err
			}
		}
	}
	nodes := s.kube.Nodes()
	s.product, s.baseline = nodes[index], nodes[1-index]
	var err error
	s.agent, err = s.product.Run(ctx, cluster.Command{Path: s.program, Log: s.path("agent.log"), Args: []string{"policyagent",
		"--kubeconfig", s.kube.Kubeconfig(), "--node-name", s.product.Name(), "--registry-config", "/etc/kritis/registries.yaml"}}, nil)
	if err != nil {
		return err
	}
	s.plugin, err = s.product.Run(ctx, cluster.Command{Path: s.program, Log: s.path("plugin.log"), Args: []string{"plugin"}},
		func(ctx context.Context) error { return s.product.Runtime().WaitNRI(ctx, plugin.Name) })
	if err != nil {
		return err
	}
	err = cluster.Await(ctx, "the plugin to have the policy", func(ctx context.Context) error {
		policies, err := s.counter(ctx, "kritis_plugin_policy_generation")
		if err == nil && policies == 0 {
			err = errors.New("it has none")
		}
		return err
	})
	if err != nil {
		return err
	}
	for namespace, node := range map[string]*kubernetes.Node{withProduct: s.product, withoutProduct: s.baseline} {
		if err := s.settle(ctx, node); err != nil {
			return err
		}
		if _, err := s.one(ctx, namespace, s.warm); err != nil {
			return err
		}
	}
	return nil
}

// settle makes a container on the node until the runtime lets it: the first one after the plugin left is denied.
func (s *podSite) settle(ctx context.Context, node *kubernetes.Node) error {
	cri := node.Runtime().CRI()
	image, err := cri.PullImage(ctx, s.warm)
	if err != nil {
		return err
	}
	return cluster.Await(ctx, node.Name()+" to make containers", func(ctx context.Context) error {
		pod, err := cri.RunPod(ctx, cluster.PodSpec{Namespace: withoutProduct})
		if err != nil {
			return err
		}
		_, err = cri.CreateContainer(ctx, pod, cluster.ContainerSpec{Image: image, UserSpecifiedImage: s.warm})
		return errors.Join(err, cri.RemovePod(ctx, pod))
	})
}

// one makes a pod on the node of the namespace, waits until it is ready, and has it removed.
func (s *podSite) one(ctx context.Context, namespace, image string) (podTimes, error) {
	node := s.baseline
	if namespace == withProduct {
		node = s.product
	}
	name := fmt.Sprintf("pod-%d", s.sequence.Add(1))
	asked, pod, err := s.client.create(ctx, namespace, name, node.Name(), image)
	if err != nil {
		described, _ := s.kube.KubectlOutput(context.WithoutCancel(ctx), "-n", namespace, "describe", "pod", name)
		return podTimes{}, fmt.Errorf("%w\n%s", err, described)
	}
	response, err := node.Runtime().CRI().Runtime.ContainerStatus(ctx,
		&criapi.ContainerStatusRequest{ContainerId: strings.TrimPrefix(pod.container, "containerd://")})
	if err != nil {
		return podTimes{}, fmt.Errorf("asking when a container was started: %w", err)
	}
	started := time.Unix(0, response.GetStatus().GetStartedAt())
	return podTimes{started: started.Sub(asked), ready: pod.at.Sub(asked)}, s.client.remove(ctx, namespace, name)
}

// counter reads one of the plugin's metrics that has no labels.
func (s *podSite) counter(ctx context.Context, name string) (float64, error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", s.product.Path(plugin.DefaultSocket))
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://plugin/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, fmt.Errorf("asking the plugin: %w", err)
	}
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return 0, fmt.Errorf("reading the plugin's metrics: %w", err)
	}
	family := families[name]
	if family == nil || len(family.GetMetric()) != 1 {
		return 0, fmt.Errorf("the plugin has no metric %s", name)
	}
	metric := family.GetMetric()[0]
	return metric.GetCounter().GetValue() + metric.GetGauge().GetValue(), nil
}
