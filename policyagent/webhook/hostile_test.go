package webhook

import (
	"encoding/json"
	"fmt"
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

// A node's account of a static pod is admitted; what only resembles one is judged.
func TestMirrorPods(t *testing.T) {
	w := made(t, usual(t))
	type c = map[string]any
	user := func(r c, name string, groups ...any) { r["userInfo"] = c{"username": name, "groups": groups} }
	for name, tc := range map[string]struct {
		change func(request, object, old c)
		mirror bool
	}{
		"a node's":               {nil, true},
		"of another node":        {func(r, _, _ c) { user(r, "system:node:n2", "system:nodes", "system:authenticated") }, false},
		"of a user":              {func(r, _, _ c) { user(r, "alice", "system:nodes") }, false},
		"of no member":           {func(r, _, _ c) { user(r, "system:node:n1", "system:masters", nil, 1, c{}) }, false},
		"of a name like it":      {func(r, _, _ c) { user(r, "xsystem:node:n1", "system:nodes") }, false},
		"of nobody":              {func(r, _, _ c) { delete(r, "userInfo") }, false},
		"without the mark":       {func(_, o, _ c) { delete(metaOf(o), "annotations") }, false},
		"with an empty mark":     {func(_, o, _ c) { metaOf(o)["annotations"] = c{mirrorAnnotation: ""} }, false},
		"not bound":              {func(_, o, _ c) { delete(o["spec"].(c), "nodeName") }, false},
		"changed":                {func(r, _, _ c) { r["operation"] = "UPDATE" }, false},
		"an ephemeral container": {func(r, _, _ c) { r["subResource"] = "ephemeralcontainers" }, false},
		"of another kind": {func(r, o, _ c) {
			r["kind"] = c{"group": "apps", "version": "v1", "kind": "Deployment"}
			o["spec"] = c{"nodeName": "n1", "template": c{"spec": o["spec"]}}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			for image, attested := range map[string]bool{unsignedImage: false, signedImage: true} {
				body := edit(t, golden(t, "pod-create", "IMAGE", image, "RUNNING", runningImage), func(r, o, old c) {
					user(r, "system:node:n1", "system:nodes", "system:authenticated")
					metaOf(o)["annotations"] = c{mirrorAnnotation: "0123"}
					o["spec"].(c)["nodeName"] = "n1"
					if tc.change != nil {
						tc.change(r, o, old)
					}
				})
				if r := reviewed(t, w, body); r.Allowed != (attested || tc.mirror) || (verdict(r) == "allowed: MirrorPod") != tc.mirror {
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
