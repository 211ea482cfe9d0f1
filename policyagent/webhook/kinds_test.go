package webhook

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

func custom(t testing.TB) []Template {
	t.Helper()
	var all []Template
	for _, s := range []string{"apps.kruise.io/CloneSet=spec.template", "batch.volcano.sh/Job=spec.tasks[].template"} {
		template, err := ParseTemplate(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, template)
	}
	return all
}

// Every kind, created and updated, with images that are attested, are not, and are named by tag.
func TestKinds(t *testing.T) {
	c := usual(t)
	c.Templates = custom(t)
	w := made(t, c)
	for _, kind := range []string{"pod", "deployment", "daemonset", "replicaset", "statefulset", "job", "cronjob", "replicationcontroller", "cloneset", "volcano", "pod-ephemeral", "pod-owned"} {
		for _, operation := range []string{"create", "update"} {
			if operation == "update" && (kind == "cloneset" || kind == "volcano" || kind == "pod-owned") || operation == "create" && kind == "pod-ephemeral" {
				continue
			}
			for image, want := range map[string]string{
				signedImage:   "allowed",
				unsignedImage: "image " + unsignedImage + " is not attested",
				taggedImage:   "image " + taggedImage + " is not attested",
				"alpine":      "image alpine is not attested",
			} {
				t.Run(kind+" "+operation+" "+image, func(t *testing.T) {
					r := reviewed(t, w, golden(t, kind+"-"+operation, "IMAGE", image, "RUNNING", runningImage))
					if said(r) != want {
						t.Errorf("%s, want %s; %s", said(r), want, r.Warnings)
					}
					if !r.Allowed && (r.Result.Code != 403 || r.Result.Reason != "" || r.Result.Status != "Failure") {
						t.Errorf("%+v", r.Result)
					}
				})
			}
		}
	}
}

// Each place of a pod counts, and the first that fails, in their order, is told.
func TestPlaces(t *testing.T) {
	w := made(t, usual(t))
	places := []string{"INIT", "SIDECAR", "IMAGE", "SECOND", "VOLUME"} // init containers, containers, volumes
	with := func(unsigned map[string]string) []byte {
		var images []string
		for _, p := range places {
			image := signedImage
			if unsigned[p] != "" {
				image = unsigned[p]
			}
			images = append(images, p, image)
		}
		return golden(t, "pod-full-create", images...)
	}
	if r := reviewed(t, w, with(nil)); !r.Allowed || len(r.Warnings) > 0 {
		t.Errorf("%s %s", said(r), r.Warnings)
	}
	for i, p := range places {
		unsigned := map[string]string{p: unsignedImage}
		for _, later := range places[i+1:] {
			unsigned[later] = otherImage
		}
		if r := reviewed(t, w, with(unsigned)); said(r) != "image "+unsignedImage+" is not attested" {
			t.Errorf("%s: %s", p, said(r))
		}
	}
	ephemeral := golden(t, "pod-ephemeral-update", "IMAGE", unsignedImage, "RUNNING", signedImage)
	if r := reviewed(t, w, ephemeral); said(r) != "image "+unsignedImage+" is not attested" {
		t.Errorf("ephemeral: %s", said(r))
	}
}

// The reviews in testdata have the shapes of Kubernetes: no field that its types do not know.
func TestGoldenAreKubernetes(t *testing.T) {
	objects := map[string]runtime.Object{
		"Pod": &corev1.Pod{}, "Deployment": &appsv1.Deployment{}, "DaemonSet": &appsv1.DaemonSet{}, "ReplicaSet": &appsv1.ReplicaSet{},
		"StatefulSet": &appsv1.StatefulSet{}, "Job": &batchv1.Job{}, "CronJob": &batchv1.CronJob{},
		"ReplicationController": &corev1.ReplicationController{}, "Scale": &autoscalingv1.Scale{},
	}
	for _, name := range goldenNames(t) {
		var a admissionv1.AdmissionReview
		if err := yaml.UnmarshalStrict(golden(t, name), &a); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, raw := range [][]byte{a.Request.Object.Raw, a.Request.OldObject.Raw} {
			into, known := objects[a.Request.Kind.Kind]
			if string(raw) == "null" || len(raw) == 0 || !known || strings.Contains(a.Request.Kind.Group, "volcano") {
				continue
			}
			if err := yaml.UnmarshalStrict(raw, into.DeepCopyObject()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestParseTemplate(t *testing.T) {
	for in, want := range map[string]string{
		"apps.kruise.io/CloneSet=spec.template":          "",
		"/PodTemplate=template":                          "",
		"batch.volcano.sh/Job=spec.tasks[].template":     "",
		"x/K=" + strings.Repeat("a.", 15) + "a":          "",
		"x/K=" + strings.Repeat("a.", 16) + "a":          "--pod-template has a path of more than 16 names",
		"":                                               "--pod-template is , must be GROUP/KIND=path.to.template, such as apps.kruise.io/CloneSet=spec.template",
		"CloneSet=spec.template":                         "--pod-template is CloneSet=spec.template, must be GROUP/KIND=path.to.template, such as apps.kruise.io/CloneSet=spec.template",
		"apps.kruise.io/CloneSet":                        "--pod-template is apps.kruise.io/CloneSet, must be GROUP/KIND=path.to.template, such as apps.kruise.io/CloneSet=spec.template",
		"apps.kruise.io/=spec.template":                  "--pod-template is apps.kruise.io/=spec.template, must be GROUP/KIND=path.to.template, such as apps.kruise.io/CloneSet=spec.template",
		"apps.kruise.io/v1/CloneSet=spec.template":       "--pod-template is apps.kruise.io/v1/CloneSet=spec.template, must be GROUP/KIND=path.to.template, such as apps.kruise.io/CloneSet=spec.template",
		"apps.kruise.io/CloneSet=spec..template":         "--pod-template has the path spec..template, must be names with dots between them, such as spec.template or spec.tasks[].template",
		"apps.kruise.io/CloneSet=":                       "--pod-template has the path , must be names with dots between them, such as spec.template or spec.tasks[].template",
		"apps.kruise.io/CloneSet=spec.[]":                "--pod-template has the path spec.[], must be names with dots between them, such as spec.template or spec.tasks[].template",
		"apps/Deployment=spec.other":                     "--pod-template: kind Deployment.apps is known already: leave it out",
		"autoscaling/Scale=spec.template":                "--pod-template: kind Scale.autoscaling is known already: leave it out",
		"apps.kruise.io/CloneSet=spec.template\x1b[2J\n": "--pod-template has the path spec.template\\x1b[2J\\n, must be names with dots between them, such as spec.template or spec.tasks[].template",
	} {
		_, err := ParseTemplate(in)
		if (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
	}
	template, err := ParseTemplate("x/K=t")
	if err != nil {
		t.Fatal(err)
	}
	for n, ok := range map[int]bool{maxTemplates: true, maxTemplates + 1: false} {
		all := make([]Template, n)
		for i := range all {
			all[i] = template
		}
		if _, err := newKinds(all); (err == nil) != ok {
			t.Errorf("%d templates: %v", n, err)
		}
	}
	if _, err := newKinds([]Template{{}}); err == nil {
		t.Error("a template that leads nowhere was taken")
	}
}
