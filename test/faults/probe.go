package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/kritis-node/kritis-node/daemonset/image"
)

// The product's programs tell neither how many goroutines they have, nor do they let anybody change their clock. For the soak one file is
// added to each of their main packages, by go build -overlay: nothing of it is in the product's own source.

// probeSource tells the number of goroutines where others can read it without asking: as the process's name in /proc/PID/comm.
const probeSource = `package main

import (
	"os"
	"runtime"
	"strconv"
	"time"
)

func init() {
	go func() {
		for range time.Tick(time.Second) {
			_ = os.WriteFile("/proc/self/comm", []byte("` + commPrefix + `"+strconv.Itoa(runtime.NumGoroutine())), 0)
		}
	}()
}
`

const commPrefix = "soak:"

// overlay is what go build -overlay reads.
type overlay struct{ Replace map[string]string }

// builder returns what builds the product's programs for the soak into dir.
func builder(dir string, clock bool) func(ctx context.Context, pkg string) (string, error) {
	return func(ctx context.Context, pkg string) (string, error) {
		out := filepath.Join(dir, "programs")
		if err := os.MkdirAll(out, 0o755); err != nil {
			return "", err
		}
		module, err := goOutput(ctx, "list", "-m", "-f", "{{.Dir}}")
		if err != nil {
			return "", err
		}
		o := overlay{Replace: map[string]string{}}
		sources := map[string]string{}
		for _, pkg := range image.Packages() {
			sources[filepath.Join(module, pkg, "soak_probe.go")] = probeSource
			if clock {
				sources[filepath.Join(module, pkg, "soak_clock.go")] = clockSource
			}
		}
		if clock {
			changed, err := clockOverlay(ctx)
			if err != nil {
				return "", err
			}
			for path, text := range changed {
				sources[path] = text
			}
		}
		for path, text := range sources {
			file := filepath.Join(out, strings.ReplaceAll(path[1:], "/", "-"))
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				return "", err
			}
			o.Replace[path] = file
		}
		data, err := json.Marshal(o)
		if err != nil {
			return "", err
		}
		list := filepath.Join(out, "overlay.json")
		if err := os.WriteFile(list, data, 0o644); err != nil {
			return "", err
		}
		program := filepath.Join(out, filepath.Base(pkg))
		cmd := exec.CommandContext(ctx, "go", "build", "-overlay", list, "-o", program, pkg)
		cmd.Dir = module
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("building %s for the soak: %w: %s", pkg, err, output)
		}
		return program, nil
	}
}

func goOutput(ctx context.Context, args ...string) (string, error) {
	output, err := exec.CommandContext(ctx, "go", args...).Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(output)), nil
}
