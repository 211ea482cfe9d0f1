package cluster

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
	"github.com/kritis-node/kritis-node/test/site"
)

// namespace is where the site's key is required.
const namespace = "default"

type suite struct {
	*site.Site
	signed, unsigned string
	// signedToo is another signed image.
	signedToo string
}

// TestRequestDodges tries every way by which an image gets past an admission webhook, and, where there is one, past none.
func TestRequestDodges(t *testing.T) {
	s := start(t)
	s.startOld(t)
	check(t, s.Require(t.Context(), namespace))
	s.awaitWebhook(t)
	t.Run("with the webhook", func(t *testing.T) {
		s.together(t, map[string]func(*testing.T){
			"other containers of a pod": s.testContainersAtAdmission,
			"server-side apply":         s.testServerSideApply,
			"deletion timestamp":        s.testDeletionTimestamp,
			"status subresource":        s.testStatusSubresource,
			"scale subresource":         s.testScale,
			"kind that nobody knows":    s.testUnknownKind,
		})
	})
	t.Run("webhook's certificate expired", s.testCertificateExpired)
	_, err := s.KubectlOutput(t.Context(), "delete", "validatingwebhookconfiguration", "kritis-validation-hook")
	check(t, err)
	t.Run("without the webhook", func(t *testing.T) {
		s.together(t, map[string]func(*testing.T){
			"init container":         func(t *testing.T) { s.testContainerOnTheNode(t, initContainers) },
			"sidecar":                func(t *testing.T) { s.testContainerOnTheNode(t, sidecars) },
			"debugging container":    s.testDebugOnTheNode,
			"kind that nobody knows": s.testUnknownKindOnTheNode,
		})
	})
}

// together runs tests at the same time, because they mostly wait.
func (s *suite) together(t *testing.T, tests map[string]func(*testing.T)) {
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

func start(t *testing.T) *suite {
	t.Helper()
	started, err := site.Start(t.Context(), site.Options{Kubernetes: kubernetes.Options{Progress: func(line string) { t.Log(line) }}})
	check(t, err)
	s := &suite{Site: started}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.Describe(context.Background()))
			t.Log(s.Logs())
		}
		check(t, s.Close())
	})
	ctx := t.Context()
	check(t, s.Install(ctx))
	for reference, signed := range map[*string]bool{&s.signed: true, &s.signedToo: true, &s.unsigned: false} {
		if *reference, err = s.Push(ctx, "team/app"); err == nil && signed {
			err = s.Sign(ctx, *reference)
		}
		check(t, err)
	}
	return s
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// kubectl runs it in the namespace, and fails the test if it fails.
func (s *suite) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	output, err := s.KubectlOutput(t.Context(), append([]string{"--namespace", namespace}, args...)...)
	check(t, err)
	return output
}

// apply creates or changes an object as the API server's clients do, with further arguments of kubectl.
func (s *suite) apply(t *testing.T, manifest string, args ...string) (stderr string, code int) {
	t.Helper()
	_, stderr, code, err := s.KubectlInput(t.Context(), manifest, append([]string{"apply", "--filename", "-"}, args...)...)
	check(t, err)
	return stderr, code
}

// denied expects that the webhook denied a request for the image, and accepted what is the same but for the image.
func (s *suite) denied(t *testing.T, image, stderr string, code int) {
	t.Helper()
	if code == 0 || !strings.Contains(stderr, "denied the request: image "+image+" is not attested") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func accepted(t *testing.T, stderr string, code int) {
	t.Helper()
	if code != 0 {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// awaitWebhook waits until the API server asks the webhook and that knows the policy.
func (s *suite) awaitWebhook(t *testing.T) {
	t.Helper()
	check(t, cluster.Await(t.Context(), "the webhook to deny", func(ctx context.Context) error {
		_, stderr, code, err := s.Kubectl(ctx, "run", "probe", "--dry-run=server", "--image="+s.unsigned)
		if err == nil && (code == 0 || !strings.Contains(stderr, "is not attested")) {
			err = fmt.Errorf("it does not: exit code %d, %s", code, stderr)
		}
		return err
	}))
}

// awaitEvent waits for an event about an object whose message has the words.
func (s *suite) awaitEvent(t *testing.T, reason, words string) {
	t.Helper()
	check(t, cluster.Await(t.Context(), "event "+reason, func(ctx context.Context) error {
		all, err := s.KubectlOutput(ctx, "--namespace", namespace, "get", "events", "--field-selector", "reason="+reason, "--output=jsonpath={.items[*].message}")
		if err == nil && !strings.Contains(all, words) {
			err = fmt.Errorf("none has %q: %s", words, all)
		}
		return err
	}))
}
