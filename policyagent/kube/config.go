package kube

import (
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// requestsPerSecond and requestBurst are what one agent may ask of the API server. Four watches need less.
	requestsPerSecond = 10
	requestBurst      = 20
)

// Server is an API server and how it is reached.
type Server struct {
	config *rest.Config
	client rest.Interface
}

// InCluster is the API server of the cluster that the agent is a pod of.
func InCluster(userAgent string) (*Server, error) {
	config, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, errors.New("this is not a pod of a cluster: name a kubeconfig with --kubeconfig, or a folder of policies with --policy-dir")
	}
	if err != nil {
		return nil, fmt.Errorf("reading the pod's service account: %w; is it mounted?", err)
	}
	return NewServer(config, userAgent)
}

// Kubeconfig is the API server of a kubeconfig's current context. Programs that it names are not run: an agent on a node
// needs credentials that are there.
func Kubeconfig(path, userAgent string) (*Server, error) {
	loaded, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading kubeconfig %s: %w; name a readable one", path, err)
	}
	if err := clientcmd.ResolveLocalPaths(loaded); err != nil {
		return nil, fmt.Errorf("reading kubeconfig %s: %w", path, err)
	}
	config, err := clientcmd.NewDefaultClientConfig(*loaded, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("reading kubeconfig %s: %w; correct it", path, err)
	}
	if config.ExecProvider != nil || config.AuthProvider != nil {
		return nil, fmt.Errorf("kubeconfig %s names a program that gives credentials: write a client certificate or a token file instead", path)
	}
	return NewServer(config, userAgent)
}

// NewServer is the API server of a configuration.
func NewServer(config *rest.Config, userAgent string) (*Server, error) {
	config = rest.CopyConfig(config)
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"}) // for the errors that it answers with
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.UserAgent, config.WarningHandler = userAgent, rest.NoWarnings{}
	config.QPS, config.Burst = requestsPerSecond, requestBurst
	// Each request has its own end: one for all would cut watches short.
	config.Timeout = 0
	client, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("preparing a client of the API server %s: %w", config.Host, err)
	}
	return &Server{config: config, client: client}, nil
}

// Host is the API server's address.
func (s *Server) Host() string { return s.config.Host }

// Unsafe lists what loosens security: whoever poses as the API server decides what runs.
func (s *Server) Unsafe() []string {
	var all []string
	if s.config.Insecure {
		all = append(all, "insecure-skip-tls-verify for "+s.config.Host)
	}
	if strings.HasPrefix(s.config.Host, "http://") {
		all = append(all, "plain HTTP to "+s.config.Host)
	}
	return all
}

// Close closes idle connections. It is for when nothing watches any more.
func (s *Server) Close() {
	if c, ok := s.client.(*rest.RESTClient); ok && c.Client != nil {
		c.Client.CloseIdleConnections()
	}
}
