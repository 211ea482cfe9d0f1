package image

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Packages returns the main packages whose programs are in the image, seen from the module's folder.
func Packages() []string { return []string{"./cmd/kritis", "./cmd/kritis-controller"} }

// Compile builds the programs of [Packages] for Linux on an architecture ("amd64", "arm64") into a folder, and returns their
// paths. It must be called with module, the folder of this module's go.mod.
func Compile(ctx context.Context, module, folder, architecture, version string) ([]string, error) {
	var programs []string
	for _, pkg := range Packages() {
		program := filepath.Join(folder, filepath.Base(pkg))
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
			"-ldflags", "-s -w -buildid= -X main.version="+version, "-o", program, pkg)
		cmd.Dir = module
		// What the builder's environment would change of the result.
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+architecture, "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=-mod=readonly",
			"GOEXPERIMENT=", "GOWORK=off")
		if output, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("building %s for %s: %w: %s", pkg, architecture, err, strings.TrimSpace(string(output)))
		}
		programs = append(programs, program)
	}
	return programs, nil
}
