package impact

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"github.com/kritis-node/kritis-node/policyagent/kube"
	"github.com/kritis-node/kritis-node/verifier"
)

var (
	hexA = strings.Repeat("a", 64)
	hexB = strings.Repeat("b", 64)
	dgA  = verifier.Digest("sha256:" + hexA)
	dgB  = verifier.Digest("sha256:" + hexB)
)

// cluster serves what is at paths, and 403 for what is not there.
func cluster(t *testing.T, at map[string]string) *kube.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		body, ok := at[r.URL.Path]
		if s := r.URL.Query().Get("labelSelector"); s != "" {
			body, ok = at[r.URL.Path+"?"+s]
		}
		if !ok {
			w.WriteHeader(http.StatusForbidden)
			body = `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"forbidden","reason":"Forbidden","code":403}`
		}
		fmt.Fprint(w, body)
	}))
	s, err := kube.NewServer(&rest.Config{Host: server.URL}, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); server.CloseClientConnections(); server.Close() })
	return s
}

func items(all ...string) string { return `{"items":[` + strings.Join(all, ",") + `]}` }

// onePod runs one container.
func onePod(namespace, node, image, imageID string) string {
	return fmt.Sprintf(`{"metadata":{"namespace":%q},"spec":{"nodeName":%q,"containers":[{"name":"c","image":%q}]},"status":{"phase":"Running","containerStatuses":[{"name":"c","imageID":%q}]}}`, namespace, node, image, imageID)
}

func none(int) {}

func TestReadRunning(t *testing.T) {
	const nodes = `{"items":[{"metadata":{"name":"n1"},"status":{"nodeInfo":{"operatingSystem":"linux","architecture":"arm64"}}},
		{"metadata":{"name":"n2"},"status":{"nodeInfo":{"operatingSystem":"linux","architecture":"amd64"}}}]}`
	all := `{"metadata":{"namespace":"prod","annotations":{"kubernetes.io/config.mirror":"x"}},
		"spec":{"nodeName":"n1","runtimeClassName":"sandboxed","initContainers":[{"name":"i","image":"i:1"}],"containers":[{"name":"c","image":"c:1"},{"name":"c2","image":"c:1"},{"name":"empty"}],
			"ephemeralContainers":[{"name":"e","image":"e:1"}],"volumes":[{"name":"v","image":{"reference":"v:1"}},{"name":"w"}]},
		"status":{"phase":"Running","initContainerStatuses":[{"name":"i","imageID":"docker.io/library/i@` + string(dgA) + `"}],
			"containerStatuses":[{"name":"c","imageID":"docker.io/library/c@` + string(dgB) + `"},{"name":"c2","imageID":"docker.io/library/c@` + string(dgB) + `"}],
			"ephemeralContainerStatuses":[{"name":"e","imageID":"docker.io/library/e@` + string(dgA) + `"}]}}`
	ended := strings.ReplaceAll(onePod("prod", "n1", "ended:1", ""), "Running", "Succeeded")
	failed := strings.ReplaceAll(onePod("prod", "n1", "ended:1", ""), "Running", "Failed")
	usual := []string{"linux/" + runtime.GOARCH}
	type places = map[string]string
	for name, c := range map[string]struct {
		scope Scope
		at    places
		want  Inventory
	}{
		"every place of a static pod": {
			at: places{"/api/v1/pods": items(all), "/api/v1/nodes": nodes, "/apis/node.k8s.io/v1/runtimeclasses": items(`{"metadata":{"name":"sandboxed"},"handler":"kata"}`)},
			want: Inventory{Pods: 1, Running: []Running{
				{"prod", "c:1", dgB, "docker.io/library/c", "kata", []string{"n1"}, []string{"linux/arm64"}, 1, 1},
				{"prod", "e:1", dgA, "docker.io/library/e", "kata", []string{"n1"}, []string{"linux/arm64"}, 1, 1},
				{"prod", "i:1", dgA, "docker.io/library/i", "kata", []string{"n1"}, []string{"linux/arm64"}, 1, 1},
				{"prod", "v:1", "", "", "kata", []string{"n1"}, []string{"linux/arm64"}, 1, 1},
			}},
		},
		"pods that run the same, and not quite": {
			at: places{"/api/v1/nodes": nodes, "/api/v1/pods": items(
				onePod("b", "n2", "a:1", "docker.io/library/a@"+string(dgA)), onePod("b", "n1", "a:1", "docker.io/library/a@"+string(dgA)),
				onePod("b", "n1", "a:1", "docker.io/library/a@"+string(dgB)), onePod("a", "", "a:1", ""), onePod("b", "n1", "a:1", "r.example/a@"+string(dgA)))},
			want: Inventory{Pods: 5, Running: []Running{
				{"a", "a:1", "", "", "", nil, usual, 1, 0},
				{"b", "a:1", dgA, "docker.io/library/a", "", []string{"n1", "n2"}, []string{"linux/amd64", "linux/arm64"}, 2, 0},
				{"b", "a:1", dgA, "r.example/a", "", []string{"n1"}, []string{"linux/arm64"}, 1, 0},
				{"b", "a:1", dgB, "docker.io/library/a", "", []string{"n1"}, []string{"linux/arm64"}, 1, 0},
			}},
		},
		"one namespace, labels, ended ones": {
			scope: Scope{Namespace: "prod", Selector: "a=b"},
			at:    places{"/api/v1/nodes": nodes, "/api/v1/namespaces/prod/pods?a=b": items(onePod("prod", "n2", "a:1", ""), ended, failed)},
			want:  Inventory{Pods: 1, Ended: 2, Running: []Running{{"prod", "a:1", "", "", "", []string{"n2"}, []string{"linux/amd64"}, 1, 0}}},
		},
		"ended ones taken in": {
			scope: Scope{Ended: true},
			at:    places{"/api/v1/nodes": nodes, "/api/v1/pods": items(ended, failed)},
			want:  Inventory{Pods: 2, Running: []Running{{"prod", "ended:1", "", "", "", []string{"n1"}, []string{"linux/arm64"}, 2, 0}}},
		},
		"neither nodes nor classes may be read": {
			scope: Scope{Platform: "linux/riscv64"},
			at:    places{"/api/v1/pods": items(strings.Replace(onePod("a", "n1", "a:1", ""), `"nodeName"`, `"runtimeClassName":"gvisor","nodeName"`, 1))},
			want: Inventory{Pods: 1, Running: []Running{{"a", "a:1", "", "", "gvisor", []string{"n1"}, []string{"linux/riscv64"}, 1, 0}}, Untold: []string{
				"the platforms of nodes, linux/riscv64 is taken for all: you may not list nodes (API group core) in all namespaces: ask for a role with that right; the API server says: forbidden",
				"the handlers of runtime classes, each class is taken for one: you may not list runtimeclasses (API group node.k8s.io) in all namespaces: ask for a role with that right; the API server says: forbidden"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			read := 0
			got, err := ReadRunning(t.Context(), cluster(t, c.at), c.scope, func(n int) { read = n })
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" || read != c.want.Pods+c.want.Ended && c.want.Ended == 0 {
				t.Errorf("%d read: %s", read, diff)
			}
		})
	}
	if _, err := ReadRunning(t.Context(), cluster(t, nil), Scope{}, none); !kube.IsForbidden(err) {
		t.Errorf("pods that may not be read: %v", err)
	}
	var many []string
	for n := range maxRunning/2 + 1 {
		many = append(many, fmt.Sprintf(`{"metadata":{"namespace":"a"},"spec":{"containers":[{"image":"a%d:1"},{"image":"b%d:1"}]}}`, n, n))
	}
	if _, err := ReadRunning(t.Context(), cluster(t, places{"/api/v1/pods": items(many...)}), Scope{}, none); err == nil || !strings.Contains(err.Error(), "more than 50000 images") {
		t.Errorf("too many: %v", err)
	}
}

func TestRunningDigest(t *testing.T) {
	for id, want := range map[string]string{
		"r.example:5000/a/b@" + string(dgA):        string(dgA) + " r.example:5000/a/b",
		"docker-pullable://nginx@" + string(dgA):   string(dgA) + " docker.io/library/nginx",
		"docker.io/library/nginx:1@" + string(dgA): string(dgA) + " docker.io/library/nginx",
		string(dgA):               " ",
		"docker://" + string(dgA): " ",
		"":                        " ",
		"nginx:1":                 " ",
		"r.example/a@sha512:" + strings.Repeat(hexA, 2): " ",
		"r.example/a@sha256:" + strings.ToUpper(hexA):   " ",
		"r.example/a\n@" + string(dgA):                  " ",
	} {
		if d, of := runningDigest(id); string(d)+" "+of != want {
			t.Errorf("%q: %q of %q", id, d, of)
		}
	}
}
