package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// Push builds a tiny image that no other test has, pushes it to the repository of the stack's registry and returns
// its reference by digest.
func (s *Stack) Push(ctx context.Context, repository string) (string, error) {
	image, err := cluster.BusyboxImage(fmt.Sprintf("%s %d", repository, s.images.Add(1)))
	if err != nil {
		return "", err
	}
	return PushTo(ctx, s.Registry, repository, image)
}

// PushTo pushes an image or an index as repository:v1 and returns its reference by digest.
func PushTo(ctx context.Context, r *cluster.Registry, repository string, content remote.Taggable) (string, error) {
	digest, err := r.Push(ctx, repository+":v1", content)
	if err != nil {
		return "", err
	}
	return r.Host() + "/" + repository + "@" + digest, nil
}

// Kritis runs the kritis command and returns its exit code and output.
func (s *Stack) Kritis(ctx context.Context, args ...string) (code int, stdout, stderr string, err error) {
	cmd := exec.CommandContext(ctx, s.Program, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	if cmd.ProcessState == nil {
		return -1, "", "", err
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = nil // the code tells
	}
	return cmd.ProcessState.ExitCode(), out.String(), errOut.String(), err
}

// Sign signs with `kritis sign`.
func (s *Stack) Sign(ctx context.Context, k Key, reference string) error {
	code, _, stderr, err := s.Kritis(ctx, "sign", "--key", k.Private, "--registry-config", s.RegistryConfig(), reference)
	if err != nil || code != 0 {
		return fmt.Errorf("kritis sign %s: exit code %d, %w: %s", reference, code, err, stderr)
	}
	return nil
}

// CosignForm is how cosign stores a signature.
type CosignForm []string

// The forms that cosign 3 knows.
var (
	cosignBundle  = CosignForm{}
	cosignClassic = CosignForm{"--new-bundle-format=false"}
)

// SignWithCosignBundle signs with cosign in its default form.
func (s *Stack) SignWithCosignBundle(ctx context.Context, k Key, reference string) error {
	return s.cosignSign(ctx, k, reference, cosignBundle)
}

// SignWithCosignClassic signs with cosign in the form of its first two major versions.
func (s *Stack) SignWithCosignClassic(ctx context.Context, k Key, reference string) error {
	return s.cosignSign(ctx, k, reference, cosignClassic)
}

func (s *Stack) cosignSign(ctx context.Context, k Key, reference string, form CosignForm) error {
	prefix := k.Private + ".cosign"
	if _, err := os.Stat(prefix + ".key"); err != nil {
		if _, err := s.RunCosign(ctx, "import-key-pair", "--key", k.Private, "--output-key-prefix", prefix); err != nil {
			return err
		}
	}
	args := append([]string{"sign", "--key", prefix + ".key", "--tlog-upload=false", "--use-signing-config=false", "--allow-http-registry", "--yes"}, form...)
	_, err := s.RunCosign(ctx, append(args, reference)...)
	return err
}

// VerifyWithCosign lets cosign verify the image's signatures.
func (s *Stack) VerifyWithCosign(ctx context.Context, k Key, reference string) error {
	_, err := s.RunCosign(ctx, "verify", "--key", k.Public, "--insecure-ignore-tlog=true", "--allow-http-registry", reference)
	return err
}

// RunCosign runs cosign with an empty password for its keys.
func (s *Stack) RunCosign(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.Cosign, args...)
	cmd.Env = append(os.Environ(), "COSIGN_PASSWORD=", "HOME="+s.Dir)
	output, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("cosign %s: %w: %s", args[0], err, output)
	}
	return string(output), nil
}

// Run does what a kubelet does for a pod with one container, and returns the runtime's error.
func (s *Stack) Run(ctx context.Context, namespace, reference string) error {
	_, err := s.Node.CRI().RunAsKubelet(ctx, namespace, reference)
	return err
}
