package alicloud

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/kritis-node/kritis-node/test/alicloudtest"
	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
	"github.com/kritis-node/kritis-node/test/site"
)

const (
	region    = "cn-hangzhou"
	clusterID = "c0123456789abcdef0123456789abcdef"
	// registryHost is the instance's, signedIn its namespace with a signature rule, as people write them.
	registryHost = "acme-registry.cn-hangzhou.cr.aliyuncs.com"
	signedIn     = registryHost + "/signed"
	unsignedIn   = registryHost + "/unsigned"
	// interval is between two looks at Security Center: the shortest that is accepted.
	interval = 5 * time.Second
	witness  = "release"
	policy   = "prod-is-signed"
	role     = "kritis"
	provider = "ack-rrsa"
)

// controllerActions are what the controller's role is allowed: the table of docs/ack.md.
var controllerActions = []string{
	"yundun-sas:DescribeAttestors", "yundun-sas:DescribeBinarySecurityPolicies", "kms:DescribeKey", "kms:GetPublicKey", "kms:ListKeyVersions",
	"cr:ListInstance", "cr:ListMetadataOccurrences",
}

type suite struct {
	*site.Site
	cloud    *alicloudtest.Emulator
	instance alicloudtest.Instance
	key      alicloudtest.Key
	images   int
}

// start starts a cluster, a cloud, and the product that knows both.
func start(t *testing.T, nodes int) *suite {
	started, err := site.Start(t.Context(), site.Options{Kubernetes: kubernetes.Options{
		Nodes: nodes, Progress: func(line string) { t.Log(line) }, KubeletArgs: []string{"--max-pods=250"},
		// The cloud's own names: whoever asks elsewhere is refused.
		Names: []string{registryHost, "kms-vpc." + region + ".aliyuncs.com", "cr-vpc." + region + ".aliyuncs.com", "sts-vpc." + region + ".aliyuncs.com", "tds.cn-shanghai.aliyuncs.com"},
	}})
	check(t, err)
	s := &suite{Site: started}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.Describe(context.Background()))
			t.Log(s.Logs())
			if s.cloud != nil {
				for _, c := range s.cloud.CallList(alicloudtest.Call{}) {
					t.Logf("%+v", c)
				}
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	s.startCloud(t)
	check(t, s.Install(t.Context(), s.values()))
	return s
}

// startCloud makes what a user has before the product comes: steps 1 to 3 of the flow.
func (s *suite) startCloud(t *testing.T) {
	var err error
	s.cloud, err = alicloudtest.Start(alicloudtest.Options{
		Address: net.JoinHostPort(s.NodeAddress(), "443"), Region: region, MetadataAddress: net.JoinHostPort(s.NodeAddress(), "0"), MetadataRole: role,
		Registry: "http://" + s.Registry.Host(), RegistryAddress: net.JoinHostPort(s.NodeAddress(), "80"),
	})
	check(t, err)
	t.Cleanup(func() {
		if err := s.cloud.Close(); err != nil {
			t.Error(err)
		}
	})
	s.cloud.AddRole(alicloudtest.Role{
		Name: role, Allow: controllerActions, OIDCProvider: provider,
		JWT: &alicloudtest.JWTTrust{Audience: "sts.aliyuncs.com", Subject: "system:serviceaccount:" + site.Namespace + ":kritis-controller"},
	})
	s.key, err = s.cloud.CreateKey(alicloudtest.NewKey{Alias: "alias/release"})
	check(t, err)
	s.cloud.PutWitness(alicloudtest.Witness{Name: witness, KeyID: s.key.ID, KeyRegion: region, KeyVersion: s.key.Versions[0].ID})
	s.instance, err = s.cloud.AddInstance(alicloudtest.Instance{Name: "acme", Hosts: []string{s.cloud.RegistryHost()}, AnonymousPull: true, AnonymousPush: true})
	check(t, err)
	check(t, s.cloud.AddSignatureRule(alicloudtest.SignatureRule{Instance: s.instance.ID, Namespace: "signed", Witness: witness}))
	for _, node := range s.Nodes() {
		check(t, node.Runtime().AddPlainRegistry(registryHost, s.cloud.RegistryHost()))
	}
	_, err = s.KubectlOutput(t.Context(), "create", "namespace", site.Namespace)
	check(t, err)
	_, err = s.KubectlOutput(t.Context(), "--namespace", site.Namespace, "create", "configmap", "alicloud-ca", "--from-file=ca.crt="+s.cloud.CAFile())
	check(t, err)
}

// values are the chart's: RRSA, the cloud's own endpoints, and an authority for its certificates.
func (s *suite) values(more ...site.Values) site.Values {
	alicloud := site.Values{
		"enabled": true, "region": region, "caConfigMap": "alicloud-ca",
		"credentials":    site.Values{"source": "RRSA", "roleARN": s.cloud.RoleARN(role), "oidcProviderARN": s.cloud.OIDCProviderARN(provider)},
		"securityCenter": site.Values{"clusterID": clusterID, "syncInterval": interval.String()},
	}
	for _, m := range more {
		for name, value := range m {
			alicloud[name] = value
		}
	}
	return site.Values{
		"alicloud": alicloud, "webhook": site.Values{"replicas": 1},
		"registries": site.Values{"config": site.Values{"hosts": []any{site.Values{"host": registryHost, "plainHTTP": true}}}},
	}
}

// put puts the policy into Security Center as it should be.
func (s *suite) put(on bool, namespaces ...string) {
	s.cloud.PutPolicy(alicloudtest.Policy{Name: policy, Enabled: on, Required: []string{witness}, Scopes: []alicloudtest.Scope{{ClusterID: clusterID, Namespaces: namespaces}}})
}

// push pushes an image into the instance, as a user's pipeline does, and returns its reference by digest.
func (s *suite) push(t *testing.T, repository string) string {
	t.Helper()
	s.images++
	img, err := cluster.BusyboxImage(fmt.Sprintf("%s %d", repository, s.images))
	check(t, err)
	tag, err := name.NewTag(repository+":v1", name.Insecure)
	check(t, err)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, s.cloud.RegistryHost())
	}}
	defer transport.CloseIdleConnections()
	check(t, remote.Write(tag, img, remote.WithContext(t.Context()), remote.WithTransport(transport)))
	digest, err := img.Digest()
	check(t, err)
	return repository + "@" + digest.String()
}

// pushSigned is push, and waits until the rule has signed.
func (s *suite) pushSigned(t *testing.T, repository string) string {
	t.Helper()
	reference := s.push(t, signedIn+"/"+repository)
	_, digest, _ := strings.Cut(reference, "@")
	check(t, cluster.Await(t.Context(), "the signature rule to sign", func(context.Context) error {
		for _, o := range s.cloud.Occurrences(s.instance.ID) {
			if strings.HasSuffix(o.ResourceURI, "@"+digest) {
				return nil
			}
		}
		return errors.New("there is no occurrence of " + reference)
	}))
	return reference
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// try asks the API server for a pod without making one.
func (s *suite) try(ctx context.Context, namespace, image string) (stderr string, code int, err error) {
	_, stderr, code, err = s.Kubectl(ctx, "--namespace", namespace, "run", "probe", "--dry-run=server", "--image="+image)
	return stderr, code, err
}

// awaitDenied waits until an image is denied because it is not attested.
func (s *suite) awaitDenied(t *testing.T, namespace, image string) {
	t.Helper()
	s.awaitRefused(t, namespace, "image "+image+" is not attested", image)
}

// awaitRefused waits until an image is denied with some words: with no more than its name, because nobody can tell, say.
func (s *suite) awaitRefused(t *testing.T, namespace, words, image string) {
	t.Helper()
	check(t, cluster.Await(t.Context(), "image "+image+" to be denied", func(ctx context.Context) error {
		stderr, code, err := s.try(ctx, namespace, image)
		if err == nil && (code == 0 || !strings.Contains(stderr, "denied the request: "+words)) {
			err = fmt.Errorf("exit code %d: %s", code, stderr)
		}
		return err
	}))
}

func (s *suite) awaitAdmitted(t *testing.T, namespace, image string) {
	t.Helper()
	check(t, cluster.Await(t.Context(), "image "+image+" to be admitted", func(ctx context.Context) error {
		stderr, code, err := s.try(ctx, namespace, image)
		if err == nil && code != 0 {
			err = fmt.Errorf("exit code %d: %s", code, stderr)
		}
		return err
	}))
}

// condition waits until an object's condition InSync has a reason, and a message with all of the words.
func (s *suite) condition(t *testing.T, namespace, object, reason string, words ...string) {
	t.Helper()
	is := func(ctx context.Context) error {
		text, err := s.KubectlOutput(ctx, "--namespace", namespace, "get", object, "--output",
			`jsonpath={.status.conditions[?(@.type=="InSync")].reason}: {.status.conditions[?(@.type=="InSync")].message}`)
		if err != nil {
			return err
		}
		got, message, _ := strings.Cut(text, ": ")
		for _, w := range words {
			if !strings.Contains(message, w) {
				return fmt.Errorf("%q is not in it: %s", w, text)
			}
		}
		if got != reason {
			return errors.New("it is " + text)
		}
		return nil
	}
	// An outage shows after three intervals, and what hangs takes its time besides.
	if err := cluster.Await(t.Context(), object+" to be "+reason, is); err != nil {
		check(t, cluster.Await(t.Context(), object+" to be "+reason, is))
	}
}
