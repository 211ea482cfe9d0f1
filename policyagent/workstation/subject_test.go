package workstation

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/kritis-node/kritis-node/policyagent/kube"
)

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]string{
		"pod/a": "pod/a", "pods/a": "pod/a", "po/a.b-c": "pod/a.b-c", "POD/a": "pod/a", "deploy/a": "deployment/a", "deployments.apps/a": "deployment/a",
		"ds/a": "daemonset/a", "rs/a": "replicaset/a", "sts/a": "statefulset/a", "job/a": "job/a", "cj/a": "cronjob/a", "cronjobs.batch/a": "cronjob/a", "rc/a": "replicationcontroller/a",
		// Images, whose repositories may be called so.
		"pod": "", "pod/": "", "/a": "", "pod/a:v1": "", "pod/a@sha256:x": "", "pod/a/b": "", "registry.example/a": "", "library/a": "", "pods.apps/a": "",
	} {
		got, ok := ParseTarget(text)
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%s: %s, %t", text, got, ok)
		}
	}
}

// cluster serves what is at paths, and 403 for what is nil.
func cluster(t *testing.T, at map[string]string) *kube.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		body, ok := at[r.URL.Path]
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

func item(uid, reason, message, last string) string {
	return fmt.Sprintf(`{"involvedObject":{"uid":%q},"reason":%q,"message":%q,"count":2,"firstTimestamp":"2026-01-01T00:00:00Z","lastTimestamp":%q,"eventTime":null}`, uid, reason, message, last)
}

func list(items ...string) string { return `{"items":[` + strings.Join(items, ",") + `]}` }

func TestReadSubject(t *testing.T) {
	const denied = "image a is not attested: why"
	pod := `{"metadata":{"name":"p","uid":"u","annotations":{"kubernetes.io/config.mirror":"static"}},
		"spec":{"nodeName":"n","containers":[{"name":"c","image":"c:1"},{"name":"none"}],"initContainers":[{"name":"i","image":"i:1"}],
			"ephemeralContainers":[{"name":"e","image":"e:1"}],"volumes":[{"name":"v","image":{"reference":"v:1"}},{"name":"w","emptyDir":{}}]},
		"status":{"containerStatuses":[{"name":"c","state":{"waiting":{"reason":"CreateContainerError","message":"x"}}}],
			"initContainerStatuses":[{"name":"i","state":{"terminated":{"reason":"Completed"}}}],"ephemeralContainerStatuses":[{"name":"e","state":{"running":{}}}],
			"conditions":[{"type":"Ready","message":"other"}]}}`
	s := cluster(t, map[string]string{
		"/api/v1/namespaces/prod/pods/p": pod,
		"/api/v1/namespaces/prod/events": list(
			item("u", "FailedKritisAdmission", denied, "2026-01-03T00:00:00Z"), item("static", "Failed", denied, "2026-01-02T00:00:00Z"),
			item("gone", "FailedKritisAdmission", "of another pod of this name", "2026-01-04T00:00:00Z"), item("u", "Pulled", "pulled", "2026-01-04T00:00:00Z")),
		"/api/v1/namespaces/kube-system/events": list(
			item("u", "FailedKritisAdmission", "pod prod/p: "+denied, "2026-01-03T00:00:00Z"), item("", "DryRunKritisAdmission", "pod prod/p: let through", "2026-01-05T00:00:00Z")),
	})
	target, _ := ParseTarget("pod/p")
	got, err := ReadSubject(t.Context(), s, "prod", target)
	if err != nil {
		t.Fatal(err)
	}
	var images, said []string
	for _, i := range got.Images {
		images = append(images, i.Place+"="+i.Image+" "+i.State)
	}
	for _, s := range got.Said {
		said = append(said, fmt.Sprintf("%s %d %s", s.What, s.Count, s.Text))
	}
	if want := "init container i=i:1 ended: Completed|container c=c:1 waiting: CreateContainerError: x|ephemeral container e=e:1 running|image volume v=v:1 "; strings.Join(images, "|") != want {
		t.Errorf("images: %q", images)
	}
	if want := "Failed 2 " + denied + "|FailedKritisAdmission 2 " + denied + "|DryRunKritisAdmission 2 pod prod/p: let through"; strings.Join(said, "|") != want {
		t.Errorf("said: %q", said)
	}
	if got.Node != "n" || got.Kind != "Pod" || len(got.Untold) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestReadWorkload(t *testing.T) {
	const denied = "image a could not be verified: why"
	template := `"template":{"spec":{"containers":[{"name":"c","image":"c:1"}]}}`
	held := `{"metadata":{"name":"%s"},"spec":{"nodeName":"n"},"status":{"containerStatuses":[{"name":"c","state":{"waiting":{"reason":"CreateContainerError","message":"%s"}}}]}}`
	s := cluster(t, map[string]string{
		"/apis/apps/v1/namespaces/prod/deployments/d":      `{"spec":{"selector":{"matchLabels":{"a":"b"}},` + template + `},"status":{"conditions":[{"type":"ReplicaFailure","status":"True","message":"admission webhook \"kritis\" denied"}]}}`,
		"/api/v1/namespaces/prod/pods":                     list(fmt.Sprintf(held, "d-1", denied), fmt.Sprintf(held, "d-2", "disk full")),
		"/api/v1/namespaces/prod/replicationcontrollers/r": `{"spec":{"selector":{"a":"b"},` + template + `}}`,
		"/apis/apps/v1/namespaces/prod/replicasets/none":   `{"spec":{}}`,
	})
	read := func(text string) (Subject, error) {
		target, _ := ParseTarget(text)
		return ReadSubject(t.Context(), s, "prod", target)
	}
	d, err := read("deploy/d")
	if err != nil || len(d.Images) != 1 || len(d.Held) != 1 || d.Held[0] != (Held{"d-1", "n", "container c", "waiting: CreateContainerError: " + denied}) || len(d.Said) != 1 || d.Said[0].What != "ReplicaFailure" {
		t.Errorf("%+v, %v", d, err)
	}
	// What may not be read is named.
	if len(d.Untold) != 1 || !strings.Contains(d.Untold[0], "its events: you may not list events (API group core) in namespace prod") {
		t.Errorf("%q", d.Untold)
	}
	if r, err := read("rc/r"); err != nil || len(r.Held) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := read("rs/none"); err == nil || !strings.Contains(err.Error(), "no pod template with images") {
		t.Error(err)
	}
	if _, err := read("sts/secret"); err == nil || !strings.Contains(err.Error(), "you may not get statefulsets (API group apps) in namespace prod") {
		t.Error(err)
	}
}
