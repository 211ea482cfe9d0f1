package faults

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/test/alicloudtest"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
	"github.com/kritis-node/kritis-node/test/site"
)

// The emulated cloud, and its registry's namespaces with and without a rule that signs.
const (
	region       = "cn-hangzhou"
	clusterID    = "c0123456789abcdef0123456789abcdef"
	registryHost = "acme-registry.cn-hangzhou.cr.aliyuncs.com"
	signedIn     = registryHost + "/signed"
	unsignedIn   = registryHost + "/unsigned"
	role         = "kritis"
	witness      = "release"
)

// Namespaces that require attestations: in the first the webhook judges too, in the second only the node, in the third
// policy and attestations are the cloud's.
const (
	soaked     = "soaked"
	bare       = "bare"
	clouded    = "clouded"
	pluginUnit = "kritis-plugin.service"
)

// Folders on the node: a small disk, so that it can be filled, and what the product has on it.
const (
	disk     = "/var/lib/soak"
	stateDir = disk + "/state"
	diskSize = "192m" // the audit log, which has its own bound, must not fill it
)

// place is a cluster with the product as its users install it: host service that containerd requires, agent, webhook, controller.
type place struct {
	*site.Site
	api      *api
	cloud    *alicloudtest.Emulator
	instance alicloudtest.Instance
	images   *images
	// starting is held while a process is struck that a soak has to start again.
	starting map[Target]*sync.Mutex
}

// startPlace also returns what has to be closed when there is an error.
func startPlace(ctx context.Context, o Options) (*place, error) {
	p := &place{starting: map[Target]*sync.Mutex{Containerd: {}, Registry: {}, APIServer: {}}}
	conf := filepath.Join(o.Dir, "kubelet.conf.d")
	if err := os.MkdirAll(conf, 0o755); err != nil {
		return p, err
	}
	// Pods whose process was killed are started again at once: kubelet's growing pauses are not what is measured.
	if err := os.WriteFile(filepath.Join(conf, "10-soak.conf"), []byte(kubeletConfig), 0o644); err != nil {
		return p, err
	}
	var err error
	p.Site, err = site.Start(ctx, site.Options{
		Systemd: true, Build: builder(o.Dir, o.Clock),
		Kubernetes: kubernetes.Options{
			KubeletArgs: []string{"--config-dir=" + conf, "--max-pods=250"},
			Names:       []string{registryHost, "kms-vpc." + region + ".aliyuncs.com", "cr-vpc." + region + ".aliyuncs.com", "sts-vpc." + region + ".aliyuncs.com", "tds.cn-shanghai.aliyuncs.com"},
			Progress:    o.Progress,
		},
	})
	if err != nil {
		return p, err
	}
	if p.api, err = newAPI(p.Kubeconfig()); err != nil {
		return p, err
	}
	for _, step := range []func(context.Context) error{p.mountDisk, p.startCloud, p.install, p.governed} {
		if err := step(ctx); err != nil {
			return p, err
		}
	}
	return p, nil
}

const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
crashLoopBackOff: {maxContainerRestartPeriod: 1s}
`

// mountDisk gives the node a small disk of its own, which goes with the machine.
func (p *place) mountDisk(ctx context.Context) error {
	node := p.Nodes()[0]
	if err := os.MkdirAll(node.Path(disk), 0o755); err != nil {
		return err
	}
	log := filepath.Join(p.Dir(), "mount.log")
	mount, err := node.Run(ctx, cluster.Command{Path: "mount", Args: []string{"-t", "tmpfs", "-o", "mode=755,size=" + diskSize, "tmpfs", disk}, Log: log}, nil)
	if err != nil {
		return err
	}
	<-mount.Ended()
	if mount.Err() != nil {
		text, _ := os.ReadFile(log)
		return fmt.Errorf("mounting the node's disk: %w: %s", mount.Err(), text)
	}
	return nil
}

// startCloud makes what a user has there before the product comes.
func (p *place) startCloud(ctx context.Context) (err error) {
	p.cloud, err = alicloudtest.Start(alicloudtest.Options{
		Address: net.JoinHostPort(p.NodeAddress(), "443"), Region: region, MetadataAddress: net.JoinHostPort(p.NodeAddress(), "0"), MetadataRole: role,
		Registry: "http://" + p.Registry.Host(), RegistryAddress: net.JoinHostPort(p.NodeAddress(), "80"),
	})
	if err != nil {
		return err
	}
	p.cloud.AddRole(alicloudtest.Role{
		Name: role, OIDCProvider: "ack-rrsa",
		Allow: []string{
			"yundun-sas:DescribeAttestors", "yundun-sas:DescribeBinarySecurityPolicies", "kms:DescribeKey", "kms:GetPublicKey",
			"kms:ListKeyVersions", "cr:ListInstance", "cr:ListMetadataOccurrences",
		},
		JWT: &alicloudtest.JWTTrust{Audience: "sts.aliyuncs.com", Subject: "system:serviceaccount:" + site.Namespace + ":kritis-controller"},
	})
	key, err := p.cloud.CreateKey(alicloudtest.NewKey{Alias: "alias/release"})
	if err != nil {
		return err
	}
	p.cloud.PutWitness(alicloudtest.Witness{Name: witness, KeyID: key.ID, KeyRegion: region, KeyVersion: key.Versions[0].ID})
	p.instance, err = p.cloud.AddInstance(alicloudtest.Instance{Name: "acme", Hosts: []string{p.cloud.RegistryHost()}, AnonymousPull: true, AnonymousPush: true})
	if err != nil {
		return err
	}
	if err := p.cloud.AddSignatureRule(alicloudtest.SignatureRule{Instance: p.instance.ID, Namespace: "signed", Witness: witness}); err != nil {
		return err
	}
	p.cloud.PutPolicy(alicloudtest.Policy{
		Name: "cloud", Enabled: true, Required: []string{witness}, Scopes: []alicloudtest.Scope{{ClusterID: clusterID, Namespaces: []string{clouded}}},
	})
	return p.Nodes()[0].Runtime().AddPlainRegistry(registryHost, p.cloud.RegistryHost())
}

// install installs the chart, and has containerd require the plugin.
func (p *place) install(ctx context.Context) error {
	for _, namespace := range []string{site.Namespace, soaked, bare, clouded} {
		if _, err := p.KubectlOutput(ctx, "create", "namespace", namespace); err != nil {
			return err
		}
	}
	_, err := p.KubectlOutput(ctx, "--namespace", site.Namespace, "create", "configmap", "alicloud-ca", "--from-file=ca.crt="+p.cloud.CAFile())
	if err != nil {
		return err
	}
	type values = site.Values
	err = p.Install(ctx, site.OnHost(), values{
		"hostPaths": values{"state": stateDir, "log": disk + "/log"},
		"webhook":   values{"replicas": 1, "exemptNamespaces": []any{bare}},
		"alicloud": values{
			"enabled": true, "region": region, "caConfigMap": "alicloud-ca",
			"credentials":    values{"source": "RRSA", "roleARN": p.cloud.RoleARN(role), "oidcProviderARN": p.cloud.OIDCProviderARN("ack-rrsa")},
			"securityCenter": values{"clusterID": clusterID, "syncInterval": "5s"},
		},
		"registries": values{"config": values{"hosts": []any{
			values{"host": p.Registry.Host(), "plainHTTP": true}, values{"host": registryHost, "plainHTTP": true},
		}}},
	})
	return err
}

// governed writes the policies, and has containerd require the plugin.
func (p *place) governed(ctx context.Context) error {
	// That of Security Center comes by itself.
	if err := p.AwaitPolicies(ctx, 1); err != nil {
		return err
	}
	for _, namespace := range []string{soaked, bare} {
		if err := p.Require(ctx, namespace); err != nil {
			return err
		}
	}
	if _, err := p.OnNode(ctx, 0, "install", "--require", "--yes", "--restart"); err != nil {
		return err
	}
	return cluster.Await(ctx, "the node to enforce", func(ctx context.Context) error {
		status, err := p.Status(ctx, 0)
		if err == nil && status.Mode != plugin.ModeEnforcing {
			err = errors.New("its mode is " + status.Mode)
		}
		return err
	})
}

// leave gives back what is this process's own. The cluster ends with the program, see [cluster.Isolate]: a containerd that was killed
// leaves shims that it does not know, so that an orderly end would wait for them in vain.
func (p *place) leave() error {
	if p.api != nil {
		p.api.close()
	}
	if p.cloud != nil {
		return p.cloud.Close()
	}
	return nil
}

// tell returns a function that logs lines with the time since it was made.
func tell(progress func(string)) func(format string, args ...any) {
	began := time.Now()
	return func(format string, args ...any) {
		progress(fmt.Sprintf("%7.1f s  ", time.Since(began).Seconds()) + fmt.Sprintf(format, args...))
	}
}
