package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"sigs.k8s.io/yaml"

	"github.com/kritis-node/kritis-node/test/stack"
)

// reported is a cluster with pods and policies, a registry, and what the cluster was asked.
type reported struct {
	dir, host string
	key       stack.Key

	mu       sync.Mutex
	items    map[string][]json.RawMessage // by resource
	requests []string
}

// namedHost is as long as a host on the loopback interface with its port, so that tables keep their form.
const namedHost = "registry.exampl"

func newReported(t *testing.T) *reported {
	t.Helper()
	backend := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(backend.Close)
	r := &reported{dir: t.TempDir(), host: strings.TrimPrefix(backend.URL, "http://"), items: map[string][]json.RawMessage{}}
	if len(r.host) != len(namedHost) {
		t.Fatalf("host %s", r.host)
	}
	var err error
	r.key, err = stack.WriteKey(filepath.Join(r.dir, "team"))
	check(t, err)
	api := httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(api.Close)
	r.write(t, "kubeconfig", "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: \""+api.URL+"\"}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\ncurrent-context: c\n")
	r.write(t, "registries.yaml", "hosts:\n- host: "+r.host+"\n  plainHTTP: true\n")
	r.write(t, "docker.json", "{}")
	r.put(t, "nodes", `{"metadata":{"name":"n1"},"status":{"nodeInfo":{"operatingSystem":"linux","architecture":"amd64"}}}`)
	r.put(t, "nodes", `{"metadata":{"name":"n2"},"status":{"nodeInfo":{"operatingSystem":"linux","architecture":"amd64"}}}`)
	r.put(t, "runtimeclasses", `{"metadata":{"name":"sandboxed"},"handler":"kata"}`)
	return r
}

func (r *reported) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(r.dir, name)
	check(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// put adds an object, in YAML, to the cluster.
func (r *reported) put(t *testing.T, resource, text string) {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	check(t, err)
	var o map[string]any
	check(t, json.Unmarshal(data, &o))
	o["metadata"].(map[string]any)["resourceVersion"] = "7"
	data, err = json.Marshal(o)
	check(t, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.items[resource] = append(r.items[resource], data)
}

// apply puts the kinds of kritis.grafeas.io, as kubectl would.
func (r *reported) apply(t *testing.T, text string) {
	t.Helper()
	for doc := range strings.SplitSeq(text, "\n---\n") {
		var head struct{ Kind string }
		check(t, yaml.Unmarshal([]byte(doc), &head))
		switch head.Kind {
		case "AttestationAuthority":
			r.put(t, "attestationauthorities", doc)
		case "GenericAttestationPolicy":
			r.put(t, "genericattestationpolicies", doc)
		case "AdmissionAllowlist":
			r.put(t, "admissionallowlists", doc)
		case "":
		default:
			t.Fatalf("kind %s", head.Kind)
		}
	}
}

// serve answers as an API server does, in pages of two objects.
func (r *reported) serve(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, req.Method+" "+req.URL.Path)
	w.Header().Set("Content-Type", "application/json")
	parts := strings.Split(strings.Trim(req.URL.Path, "/"), "/")
	namespace := ""
	if i := slices.Index(parts, "namespaces"); i >= 0 && len(parts) > i+2 {
		namespace = parts[i+1]
	}
	resource := parts[len(parts)-1]
	kinds := map[string]string{"attestationauthorities": "AttestationAuthority", "genericattestationpolicies": "GenericAttestationPolicy", "admissionallowlists": "AdmissionAllowlist"}
	switch {
	case slices.Contains([]string{"pods", "nodes", "runtimeclasses", "attestationauthorities", "genericattestationpolicies", "admissionallowlists"}, resource):
		var own []json.RawMessage
		for _, item := range r.items[resource] {
			if namespace == "" || strings.Contains(string(item), fmt.Sprintf(`"namespace":%q`, namespace)) {
				own = append(own, item)
			}
		}
		var begin int
		_, _ = fmt.Sscan(req.URL.Query().Get("continue"), &begin)
		end := min(begin+2, len(own))
		next := ""
		if end < len(own) {
			next = fmt.Sprint(end)
		}
		page := map[string]any{"apiVersion": "kritis.grafeas.io/v1beta1", "kind": kinds[resource] + "List", "metadata": map[string]any{"resourceVersion": "7", "continue": next}, "items": append([]json.RawMessage{}, own[begin:end]...)}
		_ = json.NewEncoder(w).Encode(page)
	case resource == "prod":
		_, _ = io.WriteString(w, `{"metadata":{"name":"prod"}}`)
	default: // Attestations, other namespaces
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,"message":"not found","details":{"name":%q}}`, resource)
	}
}

// push makes an image of a fixed content, and returns its digest.
func (r *reported) push(t *testing.T, repository string, signed bool) string {
	t.Helper()
	image, err := mutate.Config(empty.Image, v1.Config{Labels: map[string]string{"of": repository}})
	check(t, err)
	tag, err := name.NewTag(r.host+"/"+repository+":v1", name.Insecure)
	check(t, err)
	check(t, remote.Write(tag, image))
	digest, err := image.Digest()
	check(t, err)
	if signed {
		code, _, errs := execute(t, program{name: "kritis"}, "sign", "--registry-config", filepath.Join(r.dir, "registries.yaml"), "--docker-config", filepath.Join(r.dir, "docker.json"), "--key", r.key.Private, tag.Repository.Name()+"@"+digest.String())
		if code != 0 {
			t.Fatal(errs)
		}
	}
	return digest.String()
}

// pod adds a pod that runs one image.
func (r *reported) pod(t *testing.T, namespace, node, image, imageID, extra string) {
	t.Helper()
	r.put(t, "pods", fmt.Sprintf("metadata: {name: p%d, namespace: %s%s}\nspec: {nodeName: %s, containers: [{name: main, image: %q}]}\nstatus: {phase: Running, containerStatuses: [{name: main, imageID: %q}]}\n",
		len(r.items["pods"]), namespace, extra, node, image, imageID))
}

// run runs the command, and returns what it prints with the registry's fixed name.
func (r *reported) run(t *testing.T, args ...string) (int, string, string) {
	t.Helper()
	return r.runWith(t, "", args...)
}

// runWith is run with something to read.
func (r *reported) runWith(t *testing.T, in string, args ...string) (int, string, string) {
	t.Helper()
	all := append([]string{"report", "--kubeconfig", filepath.Join(r.dir, "kubeconfig"), "--registry-config", filepath.Join(r.dir, "registries.yaml"), "--docker-config", filepath.Join(r.dir, "docker.json")}, args...)
	var out, errs bytes.Buffer
	code := runAs(program{name: "kritis"}, all, strings.NewReader(in), &out, &errs)
	return code, strings.ReplaceAll(out.String(), r.host, namedHost), strings.ReplaceAll(errs.String(), r.host, namedHost)
}

// policy is an authority of the team, and a policy that requires it.
func (r *reported) policy(t *testing.T, namespace, extra string) string {
	t.Helper()
	authority, err := stack.Authority(namespace, "team", "", r.key)
	check(t, err)
	return authority + "---\n" + stack.Policy(namespace, "team-signs", extra, "team")
}

// asked says what of the cluster was asked, and fails if anything was not read only.
func (r *reported) asked(t *testing.T) string {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, request := range r.requests {
		if !strings.HasPrefix(request, "GET ") {
			t.Errorf("the cluster was asked to %s", request)
		}
	}
	return strings.Join(r.requests, "\n")
}

// standard is a cluster in which each kind of answer occurs.
func standard(t *testing.T) *reported {
	t.Helper()
	r := newReported(t)
	signed, unsigned, web := r.push(t, "app", true), r.push(t, "job", false), r.push(t, "web", true)
	r.apply(t, r.policy(t, "prod", "dryRun: true"))
	app, job := r.host+"/app@"+signed, r.host+"/job@"+unsigned
	r.pod(t, "prod", "n1", app, app, "")
	r.pod(t, "prod", "n2", app, app, "")
	r.pod(t, "prod", "n1", job, job, ", annotations: {kubernetes.io/config.mirror: x}")
	r.pod(t, "prod", "n1", r.host+"/web:v1", r.host+"/web@"+web, "")
	r.pod(t, "test", "n2", r.host+"/web:v1", r.host+"/web@"+web, "")
	r.put(t, "pods", "metadata: {name: done, namespace: test}\nspec: {containers: [{name: main, image: done:1}]}\nstatus: {phase: Succeeded}\n")
	return r
}

// Digests of what push makes, which is the same each time.
const (
	digestApp = "sha256:452ebb96e10d7a99565d6780fa03734e2715d9530e09860a3eaf210e1184ca13"
	digestJob = "sha256:d9139d2cdaf593848ab041e17b4d5ee3e11d2167d54b71e16140ce6087964ad4"
	digestWeb = "sha256:1e2cc65201ae82f601f8ef49dce8b154b00ccc64a5bb8592db9623e446b3a576"
)
