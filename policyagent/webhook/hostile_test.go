package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// podOf is the review of a new pod with containers of these images.
func podOf(images ...string) []byte {
	var containers []map[string]any
	for i, image := range images {
		containers = append(containers, map[string]any{"name": fmt.Sprint("c", i), "image": image})
	}
	return podReview("CREATE", containers, nil)
}

func podReview(operation string, now, before any) []byte {
	object := func(containers any) any {
		if containers == nil {
			return nil
		}
		return map[string]any{"metadata": map[string]any{"name": "app"}, "spec": map[string]any{"containers": containers}}
	}
	body, err := json.Marshal(map[string]any{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": map[string]any{
		"uid": "1", "kind": map[string]any{"group": "", "version": "v1", "kind": "Pod"}, "namespace": "default", "operation": operation,
		"object": object(now), "oldObject": object(before)}})
	if err != nil {
		panic(err)
	}
	return body
}

// edit changes a review as somebody would who wants to get past.
func edit(t testing.TB, body []byte, change func(request, object, old map[string]any)) []byte {
	t.Helper()
	var r map[string]any
	if err := json.Unmarshal(body, &r); err != nil {
		t.Fatal(err)
	}
	request := r["request"].(map[string]any)
	object, _ := request["object"].(map[string]any)
	old, _ := request["oldObject"].(map[string]any)
	change(request, object, old)
	out, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func metaOf(o map[string]any) map[string]any { return o["metadata"].(map[string]any) }

// Nothing that somebody writes on an object lets its images pass, and each honest twin passes.
func TestDodges(t *testing.T) {
	w := made(t, usual(t))
	owner := []any{map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": "attested", "uid": "1", "controller": true}}
	for name, tc := range map[string]struct {
		golden string
		change func(request, object, old map[string]any)
	}{
		"forged owner":   {"pod-create", func(_, o, _ map[string]any) { metaOf(o)["ownerReferences"] = owner }},
		"owned workload": {"replicaset-create", nil},
		"owned pod":      {"pod-owned-create", nil},
		"breakglass annotation": {"pod-create", func(_, o, _ map[string]any) {
			metaOf(o)["annotations"] = map[string]any{"kritis.grafeas.io/breakglass": "true", "kubernetes.io/config.mirror": "x"}
		}},
		"label":                       {"pod-create", func(_, o, _ map[string]any) { metaOf(o)["labels"] = map[string]any{"kritis-validation": "disabled"} }},
		"deletion timestamp, created": {"pod-create", func(_, o, _ map[string]any) { metaOf(o)["deletionTimestamp"] = "2026-03-02T10:00:00Z" }},
		"deletion timestamp, image changed": {"deployment-update", func(_, o, _ map[string]any) {
			metaOf(o)["deletionTimestamp"] = "2026-03-02T10:00:00Z"
		}},
		"signed deployment updated": {"deployment-update", nil},
		"status subresource that brings an image": {"deployment-update", func(r, _, _ map[string]any) {
			r["subResource"] = "status"
		}},
		"scale subresource that brings an image": {"deployment-update", func(r, _, _ map[string]any) {
			r["subResource"] = "scale"
		}},
		"server-side apply": {"deployment-create", func(r, _, _ map[string]any) {
			r["options"] = map[string]any{"kind": "PatchOptions", "apiVersion": "meta.k8s.io/v1", "force": true}
		}},
		"update without what was before": {"deployment-update", func(r, _, _ map[string]any) { r["oldObject"] = nil }},
		"created with something before": {"deployment-update", func(r, o, _ map[string]any) {
			r["operation"], r["oldObject"] = "CREATE", o
		}},
		"the namespace of the object is another":           {"pod-create", func(_, o, _ map[string]any) { metaOf(o)["namespace"] = "kube-system" }},
		"the namespace of a pod without a name is another": {"pod-owned-create", func(_, o, _ map[string]any) { metaOf(o)["namespace"] = "kube-system" }},
		"the kind of the object is another":                {"pod-create", func(_, o, _ map[string]any) { o["kind"] = "ConfigMap" }},
		"members in other cases before and after": {"pod-create", func(_, o, _ map[string]any) {
			o["Spec"], o["sPEC"] = map[string]any{"containers": nil}, nil
			spec := o["spec"].(map[string]any)
			spec["Containers"], spec["cONTAINERS"] = nil, []any{}
		}},
		"a user of the system": {"pod-create", func(r, _, _ map[string]any) {
			r["userInfo"] = map[string]any{"username": "system:node:n1", "groups": []any{"system:masters"}}
		}},
		"another version": {"cronjob-create", func(r, _, _ map[string]any) {
			r["kind"] = map[string]any{"group": "batch", "version": "v1beta1", "kind": "CronJob"}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			for image, allowed := range map[string]bool{unsignedImage: false, taggedImage: false, signedImage: true} {
				body := golden(t, tc.golden, "IMAGE", image, "RUNNING", runningImage)
				if tc.change != nil {
					body = edit(t, body, tc.change)
				}
				if r := reviewed(t, w, body); r.Allowed != allowed {
					t.Errorf("%s: %s, %s", image, said(r), verdict(r))
				}
			}
		})
	}
}

// What runs and is not attested may be scaled, labelled and deleted, and gets no further images.
func TestUpdatesOfWhatRuns(t *testing.T) {
	w := made(t, usual(t))
	type c = map[string]any
	for name, tc := range map[string]struct {
		body []byte
		want string
	}{
		"status":                {golden(t, "deployment-status-update", "IMAGE", unsignedImage), "allowed: Unchanged"},
		"scale":                 {golden(t, "deployment-scale-update"), "allowed: NoImages"},
		"finalizer":             {golden(t, "deployment-finalizer-update", "IMAGE", unsignedImage), "allowed: Unchanged"},
		"deletion":              {golden(t, "deployment-delete", "IMAGE", unsignedImage), "allowed: NoImages"},
		"labels, environment":   {edit(t, golden(t, "deployment-update", "IMAGE", unsignedImage, "RUNNING", unsignedImage), func(_, o, _ map[string]any) { metaOf(o)["labels"] = c{"x": "y"} }), "allowed: Unchanged"},
		"rollback to signed":    {golden(t, "deployment-update", "IMAGE", signedImage, "RUNNING", unsignedImage), "allowed: Attested"},
		"one of two is new":     {podReview("UPDATE", []c{{"name": "a", "image": unsignedImage}, {"name": "b", "image": signedImage}}, []c{{"name": "a", "image": unsignedImage}}), "allowed: Attested"},
		"container removed":     {podReview("UPDATE", []c{{"name": "a", "image": unsignedImage}}, []c{{"name": "a", "image": unsignedImage}, {"name": "b", "image": otherImage}}), "allowed: Unchanged"},
		"order changed":         {podReview("UPDATE", []c{{"name": "a", "image": unsignedImage}, {"name": "b", "image": otherImage}}, []c{{"name": "b", "image": otherImage}, {"name": "a", "image": unsignedImage}}), "allowed: Unchanged"},
		"image moved":           {podReview("UPDATE", []c{{"name": "a", "image": unsignedImage}}, []c{{"name": "a", "image": signedImage}, {"name": "b", "image": unsignedImage}}), "denied: NotAttested"},
		"second of the same":    {podReview("UPDATE", []c{{"name": "a", "image": unsignedImage}, {"name": "a", "image": unsignedImage}}, []c{{"name": "a", "image": unsignedImage}}), "denied: NotAttested"},
		"another new":           {podReview("UPDATE", []c{{"name": "a", "image": unsignedImage}, {"name": "b", "image": otherImage}}, []c{{"name": "a", "image": unsignedImage}}), "denied: NotAttested"},
		"tag instead of digest": {podReview("UPDATE", []c{{"name": "a", "image": taggedImage}}, []c{{"name": "a", "image": signedImage}}), "denied: TagReference"},
		"init made ordinary": {edit(t, podReview("UPDATE", []c{{"name": "a", "image": unsignedImage}}, []c{}), func(_, _, old map[string]any) {
			old["spec"] = c{"initContainers": []c{{"name": "a", "image": unsignedImage}}}
		}), "denied: NotAttested"},
		"running pod gets an ephemeral container": {golden(t, "pod-ephemeral-update", "IMAGE", signedImage, "RUNNING", unsignedImage), "allowed: Attested"},
		"no container yet has an image":           {podReview("CREATE", []c{{"name": "a"}, {"name": "b", "image": ""}}, nil), "allowed: NoImages"},
		"no template": {edit(t, golden(t, "deployment-create", "IMAGE", unsignedImage), func(_, o, _ map[string]any) {
			delete(o["spec"].(map[string]any), "template")
		}), "allowed: NoImages"},
	} {
		t.Run(name, func(t *testing.T) {
			if r := reviewed(t, w, tc.body); verdict(r) != tc.want {
				t.Errorf("%s, want %s; %s", verdict(r), tc.want, said(r))
			}
		})
	}
}

// A container list of any length is judged or refused, in little time.
func TestLongLists(t *testing.T) {
	w := made(t, usual(t))
	long := func(n int, image func(i int) string) []byte {
		images := make([]string, n)
		for i := range images {
			images[i] = image(i)
		}
		return podOf(images...)
	}
	signed := func(int) string { return signedImage }
	withLast := func(last int) func(int) string {
		return func(i int) string {
			if i == last {
				return unsignedImage
			}
			return signedImage
		}
	}
	distinct := func(i int) string { return fmt.Sprintf("r.example/app-%d:v1", i) }
	for name, tc := range map[string]struct {
		body []byte
		want string
	}{
		"10,000 signed":            {long(10_000, signed), "allowed"},
		"10,000, the last is not":  {long(10_000, withLast(9_999)), "image " + unsignedImage + " is not attested"},
		"the limit":                {long(maxEntries, signed), "allowed"},
		"the limit, last is not":   {long(maxEntries, withLast(maxEntries-1)), "image " + unsignedImage + " is not attested"},
		"one beyond":               {long(maxEntries+1, withLast(maxEntries)), "image " + signedImage + " could not be verified"},
		"as many images as can be": {long(maxImages, distinct), "image r.example/app-0:v1 is not attested"},
		"one image more":           {long(maxImages+1, distinct), "image r.example/app-256:v1 could not be verified"},
		"empty containers":         {podReview("CREATE", make([]struct{}, maxEntries+1), nil), "image  could not be verified"},
	} {
		t.Run(name, func(t *testing.T) {
			if r := reviewed(t, w, tc.body); said(r) != tc.want {
				t.Errorf("%s, want %s", said(r), tc.want)
			}
		})
	}
	r := reviewed(t, w, long(maxImages+1, distinct))
	if len(r.Warnings) != 1 || r.Warnings[0] != "kritis: the object names more than 256 images that are new to it: split it" || verdict(r) != "could not tell: Limit" {
		t.Errorf("%q, %s", r.Warnings, verdict(r))
	}
}

// What is no review gets an error of HTTP in one line, and no answer.
func TestMalformed(t *testing.T) {
	w := made(t, usual(t))
	pod := string(golden(t, "pod-create", "IMAGE", signedImage))
	swap := func(old, new string) string {
		if !strings.Contains(pod, old) {
			t.Fatalf("%q is not in the review", old)
		}
		return strings.Replace(pod, old, new, 1)
	}
	deep := func(n int) string {
		return swap(`"uid": "1f`, `"x": `+strings.Repeat(`[`, n)+strings.Repeat(`]`, n)+`, "uid": "1f`)
	}
	for name, tc := range map[string]struct {
		body string
		code int
		want string
	}{
		"nothing":                             {"", 400, "the review could not be read: it is not one JSON text"},
		"half":                                {pod[:len(pod)/2], 400, "the review could not be read: it is not one JSON text"},
		"more behind":                         {pod + "{}", 400, "the review could not be read: it is not one JSON text"},
		"garbage":                             {"\x00\xff{", 400, "the review could not be read: it is not one JSON text"},
		"a list":                              {"[" + pod + "]", 400, "the review could not be read: it is not the review of an object: something is no JSON object that should be one"},
		"null":                                {"null", 400, `the review could not be read: it is no AdmissionReview of admission.k8s.io/v1 but  : set admissionReviewVersions: [v1]`},
		"v1beta1":                             {swap("admission.k8s.io/v1", "admission.k8s.io/v1beta1"), 400, `the review could not be read: it is no AdmissionReview of admission.k8s.io/v1 but admission.k8s.io/v1beta1 AdmissionReview: set admissionReviewVersions: [v1]`},
		"no request":                          {`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`, 400, "the review could not be read: the review has no request with a uid"},
		"request is null":                     {`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":null}`, 400, "the review could not be read: the review has no request with a uid"},
		"no uid":                              {swap(`"uid": "1f0f1f7a-6f0a-4b57-8e0e-6a3c1d2f9a10"`, `"uid": ""`), 400, "the review could not be read: the review has no request with a uid"},
		"uid of a kilobyte":                   {swap(`"uid": "1f`, `"uid": "`+strings.Repeat("f", 1024)), 400, "the review could not be read: the review has no request with a uid"},
		"uid is a number":                     {swap(`"uid": "1f0f1f7a-6f0a-4b57-8e0e-6a3c1d2f9a10"`, `"uid": 1`), 400, "the review could not be read: it is not the review of an object: uid is no string"},
		"no kind":                             {swap(`"kind": {`, `"kinds": {`), 400, "the review could not be read: the review's request has no kind"},
		"operation":                           {swap("CREATE", "create"), 400, "the review could not be read: the review's operation create is not known"},
		"no object":                           {swap(`"object": {`, `"objects": {`), 400, "the review could not be read: the review's request has no object"},
		"containers is a map":                 {swap(`"containers": [`, `"containers": {}, "x": [`), 400, "the review could not be read: it is not the review of an object: something is no JSON list that should be one"},
		"container is a string":               {swap(`"containers": [`, `"containers": ["x",`), 400, "the review could not be read: it is not the review of an object: something is no JSON object that should be one"},
		"image is a list":                     {swap(`"image": "`+signedImage+`"`, `"image": ["`+signedImage+`"]`), 400, "the review could not be read: it is not the review of an object: image is no string"},
		"containers twice":                    {swap(`"containers": [`, `"containers": [], "containers": [`), 400, "the review could not be read: it has the member containers twice in one object"},
		"containers twice, written otherwise": {swap(`"containers": [`, `"c\u006fntainers": [], "containers": [`), 400, "the review could not be read: it has the member containers twice in one object"},
		"image twice":                         {swap(`"image": "`, `"image": "alpine", "image": "`), 400, "the review could not be read: it has the member image twice in one object"},
		"object twice":                        {swap(`"object": {`, `"object": {}, "object": {`), 400, "the review could not be read: it has the member object twice in one object"},
		"spec twice":                          {swap(`"spec": {`, `"spec": null, "spec": {`), 400, "the review could not be read: it has the member spec twice in one object"},
		"nested too deep":                     {deep(20_000), 400, "the review could not be read: it is not one JSON text"},
		"unknown kind":                        {string(golden(t, "cloneset-create", "IMAGE", signedImage)), 422, "where CloneSet.apps.kruise.io has its pod template is not known: start kritis webhook with --pod-template, or take the kind out of the webhook's rules"},
		"too large":                           {pod + strings.Repeat(" ", MaxReview-len(pod)+1), 413, "the review has more than 8388608 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			rw := ask(t, w, []byte(tc.body))
			if got := refused(t, rw); rw.Code != tc.code || got != tc.want {
				t.Errorf("%d %q, want %d %q", rw.Code, got, tc.code, tc.want)
			}
		})
	}
	for name, body := range map[string]string{
		"nested deep":          deep(5_000),
		"as large as can be":   pod + strings.Repeat(" ", MaxReview-len(pod)),
		"unknown fields":       swap(`"uid": "1f`, `"future": {"a": [1, -2.5e3, true, false, null, "}]\"\\"]}, "uid": "1f`),
		"unknown fields twice": swap(`"uid": "1f`, `"future": 1, "future": 2, "uid": "1f`),
		"escaped":              swap(`"image": "registry`, `"im\u0061ge": "\u0072egistry`),
	} {
		if r := reviewed(t, w, []byte(body)); verdict(r) != "allowed: Attested" {
			t.Errorf("%s: %s", name, verdict(r))
		}
	}
}

func TestOnlyReviewsAreTaken(t *testing.T) {
	w := made(t, usual(t))
	for name, tc := range map[string]struct {
		method, media string
		length        int64
		want          int
	}{
		"GET":                    {http.MethodGet, "application/json", 0, 405},
		"a form":                 {http.MethodPost, "application/x-www-form-urlencoded", 0, 415},
		"no type":                {http.MethodPost, "", 0, 415},
		"with a charset":         {http.MethodPost, "application/json; charset=utf-8", 0, 200},
		"announces to be large":  {http.MethodPost, "application/json", MaxReview + 1, 413},
		"announces just as much": {http.MethodPost, "application/json", MaxReview, 200},
	} {
		req := httptest.NewRequestWithContext(t.Context(), tc.method, PodsPath, bytes.NewReader(golden(t, "pod-create", "IMAGE", signedImage)))
		req.Header.Set("Content-Type", tc.media)
		if tc.length > 0 {
			req.ContentLength = tc.length
		}
		rw := httptest.NewRecorder()
		w.ServeHTTP(rw, req)
		if rw.Code != tc.want {
			t.Errorf("%s: %d, want %d", name, rw.Code, tc.want)
		}
	}
}

// Exempt are namespaces by their exact names, and nothing else.
func TestExemptNamespaces(t *testing.T) {
	c := usual(t)
	doc := document()
	for _, ns := range []string{"kube-system", "kube-system-2", "KUBE-SYSTEM"} {
		p, a := doc.Policies[0], doc.Authorities[0]
		p.Namespace, a.Namespace = ns, ns
		doc.Policies, doc.Authorities = append(doc.Policies, p), append(doc.Authorities, a)
	}
	c.Rules = new(fixed).set(doc)
	w := made(t, c)
	for ns, want := range map[string]string{
		"kube-system": "allowed: Exempt", "kube-system-2": "denied: NotAttested", "KUBE-SYSTEM": "denied: NotAttested",
		"default": "denied: NotAttested", "free": "allowed: NoPolicy", "": "allowed: NoPolicy",
	} {
		body := edit(t, golden(t, "pod-create", "IMAGE", unsignedImage), func(r, _, _ map[string]any) { r["namespace"] = ns })
		if r := reviewed(t, w, body); verdict(r) != want {
			t.Errorf("%q: %s, want %s", ns, verdict(r), want)
		}
	}
}
