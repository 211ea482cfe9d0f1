package admission

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/site"
	"github.com/kritis-node/kritis-node/test/stack"
)

// run makes a pod that the API server admits, perhaps after it has noticed that nobody is to be asked.
func (s *suite) run(t *testing.T, name, image string) {
	t.Helper()
	check(t, cluster.Await(t.Context(), "pod "+name+" to be admitted", func(ctx context.Context) error {
		_, err := s.KubectlOutput(ctx, "run", name, "--image="+image, "--", "sleep", "1000")
		return err
	}))
}

func (s *suite) testReplicasDown(t *testing.T) {
	ctx := t.Context()
	check(t, s.Upgrade(ctx, s.values(), site.Values{"webhook": site.Values{"failurePolicy": "Ignore"}}))
	_, err := s.KubectlOutput(ctx, "--namespace", site.Namespace, "scale", "deployment/kritis-webhook", "--replicas=0")
	check(t, err)
	s.run(t, "replicas-down", s.unsigned)
	defer s.remove(t, "pod/replicas-down")
	s.keptOut(t, "replicas-down", s.unsigned)
	s.run(t, "replicas-down-signed", s.signed)
	defer s.remove(t, "pod/replicas-down-signed")
	check(t, s.AwaitPodReady(ctx, "default", "replicas-down-signed"))
}

func (s *suite) testWebhookDeleted(t *testing.T) {
	_, err := s.KubectlOutput(t.Context(), "delete", "validatingwebhookconfiguration", hookConfiguration)
	check(t, err)
	s.run(t, "webhook-deleted", s.unsigned)
	defer s.remove(t, "pod/webhook-deleted")
	s.keptOut(t, "webhook-deleted", s.unsigned)
}

func (s *suite) testCRI(t *testing.T) {
	ctx := t.Context()
	for name, claimed := range map[string]string{"as it is": s.unsigned, "claimed to be signed": s.signed} {
		t.Run(name, func(t *testing.T) {
			cri := s.Node().CRI()
			id, err := cri.PullImage(ctx, s.unsigned)
			check(t, err)
			pod, err := cri.RunPod(ctx, cluster.PodSpec{Namespace: "default"})
			check(t, err)
			_, err = cri.Run(ctx, pod, cluster.ContainerSpec{Image: id, UserSpecifiedImage: claimed})
			if err == nil || !strings.Contains(err.Error(), "image "+claimed+" is not attested") {
				t.Errorf("%v", err)
			}
			// kubelet removes pods that it did not make, and may have been first.
			_ = cri.RemovePod(ctx, pod)
		})
	}
}

func (s *suite) testImageVolumesOnTheNode(t *testing.T) {
	ctx := t.Context()
	check(t, s.Apply(ctx, volumePod("volume-unsigned", s.signed, s.unsigned)))
	defer s.remove(t, "pod/volume-unsigned")
	s.keptOut(t, "volume-unsigned", s.unsigned)
}

// signPrivately is Site.Sign with a login.
func (s *suite) signPrivately(t *testing.T, reference string) {
	t.Helper()
	login := s.private.Login()
	dir := t.TempDir()
	files := map[string]string{
		"docker.json":     fmt.Sprintf(`{"auths":{%q:{"username":%q,"password":%q}}}`, s.private.Host(), login.Username, login.Password),
		"registries.yaml": "hosts:\n- host: " + s.private.Host() + "\n  plainHTTP: true\n",
	}
	for name, content := range files {
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	output, err := exec.CommandContext(t.Context(), s.Program, "sign", "--key", s.Key.Private, "--registry-config", filepath.Join(dir, "registries.yaml"),
		"--docker-config", filepath.Join(dir, "docker.json"), reference).CombinedOutput()
	if err != nil {
		t.Fatalf("kritis sign: %v: %s", err, output)
	}
}

// testPullSecrets takes an image and its attestation from a registry that asks for a login which only the pod names.
func (s *suite) testPullSecrets(t *testing.T) {
	ctx := t.Context()
	push := func(repository string) string {
		image, err := cluster.BusyboxImage(repository)
		check(t, err)
		reference, err := stack.PushTo(ctx, s.private, repository, image)
		check(t, err)
		return reference
	}
	signed, unsigned := push("private/signed"), push("private/unsigned")
	s.signPrivately(t, signed)
	_, err := s.KubectlOutput(ctx, "create", "secret", "docker-registry", "private", "--docker-server="+s.private.Host(),
		"--docker-username="+s.private.Login().Username, "--docker-password="+s.private.Login().Password)
	check(t, err)
	for name, image := range map[string]string{"private-signed": signed, "private-unsigned": unsigned} {
		check(t, s.Apply(ctx, fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: default}\nspec: %s, imagePullSecrets: [{name: private}]}\n", name, fmt.Sprintf(podSpec, image))))
		defer s.remove(t, "pod/"+name)
	}
	check(t, s.AwaitPodReady(ctx, "default", "private-signed"))
	s.keptOut(t, "private-unsigned", unsigned)
	// Nobody sees the password.
	for _, what := range []string{"events --all-namespaces", "leases --all-namespaces"} {
		text, err := s.KubectlOutput(ctx, append(append([]string{"get"}, strings.Fields(what)...), "--output=json")...)
		if err != nil || strings.Contains(text, s.private.Login().Password) {
			t.Errorf("the password is in %s, or: %v", what, err)
		}
	}
	if strings.Contains(s.Logs(), s.private.Login().Password) {
		t.Error("the password is in a log")
	}
}
