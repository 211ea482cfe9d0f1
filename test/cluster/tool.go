package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Tool returns the folder with the programs of a tool of test/tools ("containerd-2.4", "cosign", …) and installs it
// first if it is missing: see the script test/tools/install. Progress goes to stderr. Installing needs a network, which
// an isolated program no longer has: name the tool to [Isolate].
func Tool(ctx context.Context, name string) (string, error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(root, "test", "tools", "install"), "--print-dir", name)
	cmd.Stderr = os.Stderr
	output, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("installing tool %s: %w: run test/tools/install %s by hand", name, err, name)
	}
	return string(bytes.TrimSpace(output)), nil
}

// Build compiles a main package of this module, given as "./cmd/kritis", statically, and returns the program's path.
// A program that is up to date is not linked again. Modules that were never downloaded need a network: name the package
// to [Isolate].
func Build(ctx context.Context, pkg string) (string, error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache folder: %w: set HOME", err)
	}
	// Checkouts must not take each other's programs.
	folder := filepath.Join(cache, "kritis-node", "programs", fmt.Sprintf("%.6x", sha256.Sum256([]byte(root))))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("creating the folder for programs: %w", err)
	}
	program := filepath.Join(folder, filepath.Base(pkg))
	lock, err := os.OpenFile(program+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", fmt.Errorf("opening the lock for building %s: %w", pkg, err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("locking the build of %s: %w", pkg, err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", program, pkg)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w:\n%s", pkg, err, bytes.TrimSpace(output))
	}
	return program, nil
}

// moduleRoot finds the checkout: from this file's path, or, when paths were trimmed from the program, from the working
// folder.
func moduleRoot(ctx context.Context) (string, error) {
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		root := filepath.Join(filepath.Dir(file), "..", "..")
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			return root, nil
		}
	}
	output, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("asking go for the module: %w", err)
	}
	file := strings.TrimSpace(string(output))
	if file == "" || file == os.DevNull {
		return "", errors.New("no checkout found: run from inside it")
	}
	return filepath.Dir(file), nil
}
