package webhook

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

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
		"announces nothing":      {http.MethodPost, "application/json", -1, 413},
	} {
		body := golden(t, "pod-create", "IMAGE", signedImage)
		if tc.length < 0 {
			body = append(body, bytes.Repeat([]byte(" "), MaxReview+1-len(body))...)
		}
		req := httptest.NewRequestWithContext(t.Context(), tc.method, PodsPath, bytes.NewReader(body))
		req.Header.Set("Content-Type", tc.media)
		if tc.length != 0 {
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
