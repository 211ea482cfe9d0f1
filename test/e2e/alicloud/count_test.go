package alicloud

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/alicloudtest"
	"github.com/kritis-node/kritis-node/test/cluster"
)

const (
	manyImages = 50
	replicas   = 10
)

// TestCallsGrowWithKeys counts what the cloud is asked when 50 images run in ten replicas on two nodes: KMS by key, occurrences by digest.
func TestCallsGrowWithKeys(t *testing.T) {
	s := start(t, 2)
	ctx := t.Context()
	s.put(true, "default")
	check(t, s.AwaitPolicies(ctx, 1))
	s.awaitDenied(t, "default", s.push(t, unsignedIn+"/probe"))
	var images []string
	for i := range manyImages {
		images = append(images, s.pushSigned(t, fmt.Sprintf("app-%d", i)))
	}
	for i, image := range images {
		check(t, s.Apply(ctx, fmt.Sprintf(`
apiVersion: batch/v1
kind: Job
metadata: {name: app-%d, namespace: default}
spec:
  completions: %d
  parallelism: %d
  template:
    metadata: {labels: {test: many}}
    spec:
      restartPolicy: OnFailure
      terminationGracePeriodSeconds: 1
      hostNetwork: true # and what else takes a pod's time and no call
      automountServiceAccountToken: false
      enableServiceLinks: false
      topologySpreadConstraints: [{topologyKey: kubernetes.io/hostname, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {test: many}}}]
      containers: [{name: main, image: %q, command: [/bin/busybox, "true"]}]
`, i, replicas, replicas, image)))
		if i%10 == 9 {
			s.awaitJobs(t, i+1)
		}
	}
	if calls := s.cloud.Calls(alicloudtest.Call{Service: "kms", KeyID: s.key.ID}) - s.cloud.Calls(alicloudtest.Call{Service: "kms", Action: "AsymmetricSign"}); calls > 2 {
		t.Errorf("KMS was asked %d times about the key, at most 2", calls)
	}
	total := 0
	for _, image := range images {
		n := s.cloud.Calls(alicloudtest.Call{Service: "cr", Action: "ListMetadataOccurrences", ResourceURI: "https://" + image})
		if total += n; n != 1 {
			t.Errorf("occurrences of %s were asked for %d times, want once", image, n)
		}
	}
	t.Logf("%d pods of %d images on 2 nodes: %d calls for occurrences", manyImages*replicas, manyImages, total)
}

// awaitJobs waits until so many Jobs are complete.
func (s *suite) awaitJobs(t *testing.T, want int) {
	t.Helper()
	for {
		before := s.succeeded(t)
		err := cluster.Await(t.Context(), fmt.Sprintf("%d Jobs", want), func(ctx context.Context) error {
			done, err := s.KubectlOutput(ctx, "get", "jobs", "--namespace", "default", "--output", `jsonpath={range .items[*]}{.status.completionTime}{" "}{end}`)
			if err == nil && len(strings.Fields(done)) < want {
				err = fmt.Errorf("complete are only %d", len(strings.Fields(done)))
			}
			return err
		})
		if err == nil {
			return
		}
		if s.succeeded(t) == before { // progress is what counts
			t.Fatal(err)
		}
	}
}

// succeeded is how many pods have ended well.
func (s *suite) succeeded(t *testing.T) int {
	t.Helper()
	names, err := s.KubectlOutput(t.Context(), "get", "pods", "--namespace", "default", "--field-selector", "status.phase=Succeeded", "--output", "name")
	check(t, err)
	return len(strings.Fields(names))
}
