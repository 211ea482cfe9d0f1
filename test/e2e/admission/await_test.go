package admission

import (
	"context"
	"fmt"
	"strings"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// try asks the API server for a pod without making one.
func try(ctx context.Context, s *suite, namespace, image string) (stderr string, code int, err error) {
	_, stderr, code, err = s.Kubectl(ctx, "--namespace", namespace, "run", "probe", "--dry-run=server", "--image="+image)
	return stderr, code, err
}

func awaitDenial(ctx context.Context, s *suite, namespace, image string) error {
	return cluster.Await(ctx, "image "+image+" to be denied", func(ctx context.Context) error {
		stderr, code, err := try(ctx, s, namespace, image)
		if err == nil && (code == 0 || !strings.Contains(stderr, "image "+image+" is not attested")) {
			err = fmt.Errorf("exit code %d: %s", code, stderr)
		}
		return err
	})
}

func awaitAdmission(ctx context.Context, s *suite, namespace, image string) error {
	return cluster.Await(ctx, "image "+image+" to be admitted", func(ctx context.Context) error {
		stderr, code, err := try(ctx, s, namespace, image)
		if err == nil && code != 0 {
			err = fmt.Errorf("exit code %d: %s", code, stderr)
		}
		return err
	})
}
