package clustertest

import (
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
)

// StartKubernetes starts a cluster that is closed after the test.
func StartKubernetes(t testing.TB, options kubernetes.Options) *kubernetes.Cluster {
	t.Helper()
	if options.Progress == nil {
		options.Progress = func(line string) { t.Log(line) }
	}
	kube, err := kubernetes.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(kube.Logs())
		}
		if err := kube.Close(); err != nil {
			t.Error(err)
		}
	})
	return kube
}
