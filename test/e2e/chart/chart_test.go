package chart

import (
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
	"github.com/kritis-node/kritis-node/test/site"
)

func start(t *testing.T, o kubernetes.Options) *site.Site {
	t.Helper()
	if o.Progress == nil {
		o.Progress = func(line string) { t.Log(line) }
	}
	s, err := site.Start(t.Context(), site.Options{Kubernetes: o})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.Describe(t.Context()))
			t.Log(s.Logs())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestChart(t *testing.T) {
	s := start(t, kubernetes.Options{})
	ctx := t.Context()
	check(t, s.Install(ctx))
	check(t, s.Require(ctx, "default"))
	signed, err := s.PushSigned(ctx, "team/signed")
	check(t, err)
	unsigned, err := s.Push(ctx, "team/unsigned")
	check(t, err)
	for name, image := range map[string]string{"signed": signed, "unsigned": unsigned} {
		_, err = s.KubectlOutput(ctx, "run", name, "--image="+image, "--", "sleep", "1000")
		check(t, err)
	}
	check(t, s.AwaitPodReady(ctx, "default", "signed"))
	check(t, s.AwaitDenied(ctx, "default", "unsigned", unsigned))
}
