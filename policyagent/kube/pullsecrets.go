package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	kjson "sigs.k8s.io/json"

	"github.com/kritis-node/kritis-node/policyagent"
	"github.com/kritis-node/kritis-node/verifier"
)

const (
	// maxSecret bounds a secret's JSON, in bytes. The API server takes 1 MiB of content, which base64 makes a third more of.
	maxSecret = 2 << 20
	// maxConfigs is how many secrets are offered for one repository.
	maxConfigs = 8
	// secretFor is how long a secret counts as it was read, missingFor how long one that could not be read is left alone.
	secretFor  = time.Minute
	missingFor = 10 * time.Second
	// maxSecrets is how many are kept.
	maxSecrets = 256
)

// PullSecrets are the image pull secrets of the pods of a node, as credentials for attestations. A secret is read only
// when an image of a pod that names it needs credentials, is kept in memory for a minute, and is offered for the
// repositories of that pod alone.
type PullSecrets struct {
	server *Server
	pods   *store

	mu    sync.Mutex
	known map[secretName]knownSecret
}

type secretName struct{ namespace, name string }

type knownSecret struct {
	config []byte // content of a Docker config file
	err    error
	until  time.Time
}

// PullSecrets returns the image pull secrets of the pods. The account needs the right to get secrets.
func (p *Pods) PullSecrets() *PullSecrets {
	return &PullSecrets{server: p.server, pods: p.pods, known: map[secretName]knownSecret{}}
}

// DockerConfigs implements registry.Keychain.
func (s *PullSecrets) DockerConfigs(ctx context.Context, repository string) ([][]byte, error) {
	var configs [][]byte
	var errs []error
	for _, name := range s.names(repository) {
		config, err := s.config(ctx, name)
		if err != nil {
			errs = append(errs, fmt.Errorf("image pull secret %s/%s: %w", name.namespace, name.name, err))
			continue
		}
		configs = append(configs, config)
	}
	return configs, errors.Join(errs...)
}

// names returns the secrets of pods that use the repository, in order of the pods.
func (s *PullSecrets) names(repository string) []secretName {
	var names []secretName
	for _, v := range s.pods.values() {
		pod := v.(policyagent.Pod)
		if len(pod.PullSecrets) == 0 || !slices.ContainsFunc(pod.Images, func(image string) bool {
			ref, err := verifier.ParseReference(image)
			return err == nil && ref.Repository == repository
		}) {
			continue
		}
		for _, name := range pod.PullSecrets {
			if n := (secretName{pod.Namespace, name}); len(names) < maxConfigs && !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	return names
}

// config returns what a secret holds.
func (s *PullSecrets) config(ctx context.Context, name secretName) ([]byte, error) {
	if known, ok := s.lookup(name, time.Now()); ok {
		return known.config, known.err
	}
	config, err := s.read(ctx, name)
	if ctx.Err() == nil { // else the error says nothing about the secret
		s.keep(name, knownSecret{config: config, err: err}, time.Now())
	}
	return config, err
}

func (s *PullSecrets) lookup(name secretName, now time.Time) (knownSecret, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.known[name]
	return known, ok && now.Before(known.until)
}

// keep remembers a secret. Nothing outlives its time in memory by more than the next read.
func (s *PullSecrets) keep(name secretName, read knownSecret, now time.Time) {
	read.until = now.Add(secretFor)
	if read.err != nil {
		read.until = now.Add(missingFor)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for other, k := range s.known {
		if !now.Before(k.until) || len(s.known) >= maxSecrets {
			delete(s.known, other)
		}
	}
	s.known[name] = read
}

// read asks the API server. Errors say nothing of the content.
func (s *PullSecrets) read(ctx context.Context, name secretName) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	path := "/api/v1/namespaces/" + url.PathEscape(name.namespace) + "/secrets/" + url.PathEscape(name.name)
	data, err := read(ctx, s.server.client.Get().AbsPath(path).SetHeader("Accept", "application/json"), maxSecret)
	switch {
	case apierrors.IsNotFound(err):
		return nil, errors.New("there is none: create it, or take it out of the pod")
	case apierrors.IsForbidden(err):
		return nil, errors.New("the policy agent may not read it: allow it in the chart, or give the nodes credentials of their own")
	case err != nil:
		return nil, err
	}
	return decodeSecret(data)
}

// decodeSecret returns the Docker config of a secret of one of the two types that kubelets take.
// https://kubernetes.io/docs/concepts/configuration/secret/#docker-config-secrets
func decodeSecret(data []byte) ([]byte, error) {
	var secret struct {
		Kind string            `json:"kind"`
		Type string            `json:"type"`
		Data map[string][]byte `json:"data"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &secret); err != nil || secret.Kind != "Secret" {
		return nil, errors.New("the answer is no Secret: is this an API server?")
	}
	switch secret.Type {
	case "kubernetes.io/dockerconfigjson":
		return secret.Data[".dockerconfigjson"], nil
	case "kubernetes.io/dockercfg":
		// The file's old form is what is under "auths" in the new one.
		config, err := json.Marshal(map[string]json.RawMessage{"auths": secret.Data[".dockercfg"]})
		if err != nil {
			return nil, errors.New("its .dockercfg is not JSON: write it with kubectl create secret docker-registry")
		}
		return config, nil
	default:
		return nil, errors.New("it is of another type than kubernetes.io/dockerconfigjson: make it with kubectl create secret docker-registry")
	}
}
