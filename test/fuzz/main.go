// Command fuzz runs all fuzz targets below the current folder, one after the other: each has all processors to itself. A target that
// fails does not keep the others from their turn. `make fuzz MINUTES=1` runs it.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

func main() {
	minutes := flag.Float64("minutes", 1, "how long each target runs; a part of a minute is fine")
	only := flag.String("run", ".", "targets to run, a regular expression of package and name")
	parallel := flag.Int("parallel", 0, "processes of a target; 0: as many as processors")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *minutes, *only, *parallel)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, minutes float64, only string, parallel int) error {
	pattern, err := regexp.Compile(only)
	if err != nil || minutes <= 0 {
		return errors.New("give -minutes above zero, and to -run a regular expression")
	}
	targets, err := find(".", pattern)
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		return fmt.Errorf("no target matches %q", only)
	}
	each := time.Duration(minutes * float64(time.Minute)).Round(time.Millisecond)
	fmt.Printf("%d targets, %s each: about %s\n", len(targets), each, (time.Duration(len(targets)) * (each + 5*time.Second)).Round(time.Second))
	var total uint64
	var failed []string
	ran := 0
	for i, t := range targets {
		r := t.run(ctx, each, parallel)
		if ctx.Err() != nil {
			break
		}
		ran++
		total += r.executions
		fmt.Printf("[%d/%d] %s: %d executions, %d inputs that led to code not reached before\n", i+1, len(targets), t, r.executions, r.interesting)
		if r.err != nil {
			failed = append(failed, t.String())
			fmt.Printf("FAILED: %v\n%s\n", r.err, r.output)
		}
	}
	fmt.Printf("%d of %d targets ran, %d executions, %d failed\n", ran, len(targets), total, len(failed))
	switch {
	case len(failed) > 0:
		return fmt.Errorf("%s failed; an input that failed is in testdata/fuzz of the package: correct the code, keep the file", strings.Join(failed, ", "))
	case ran < len(targets):
		return errors.New("not every target ran")
	}
	return nil
}

type target struct{ dir, name string }

func (t target) String() string { return t.dir + " " + t.name }

var declaration = regexp.MustCompile(`(?m)^func (Fuzz[A-Za-z0-9_]+)\(`)

// find returns the targets in order of folder and name.
func find(root string, pattern *regexp.Regexp) ([]target, error) {
	var all []target
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range declaration.FindAllSubmatch(text, -1) {
			if t := (target{filepath.Dir(path), string(m[1])}); pattern.MatchString(t.String()) {
				all = append(all, t)
			}
		}
		return nil
	})
	return all, err
}

type result struct {
	executions, interesting uint64
	output                  []byte
	err                     error
}

var progress = regexp.MustCompile(`execs: (\d+) .*new interesting: (\d+)`)

// run fuzzes one target. A run that ends in the deadline alone, which is go test's own and finds nothing, is no failure.
func (t target) run(ctx context.Context, d time.Duration, parallel int) result {
	// Without a bound, go test spends all of a short run on making one input smaller, where coverage differs from run to run.
	args := []string{"test", "-run", "^$", "-fuzz", "^" + t.name + "$", "-fuzztime", d.String(), "-fuzzminimizetime", "50x"}
	if parallel > 0 {
		args = append(args, "-parallel", strconv.Itoa(parallel))
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", append(args, "./"+t.dir)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Stdout, cmd.Stderr = &out, &out
	r := result{err: cmd.Run()}
	if all := progress.FindAllSubmatch(out.Bytes(), -1); len(all) > 0 {
		r.executions, _ = strconv.ParseUint(string(all[len(all)-1][1]), 10, 64)
		r.interesting, _ = strconv.ParseUint(string(all[len(all)-1][2]), 10, 64)
	}
	if r.err != nil && bytes.Contains(out.Bytes(), []byte("context deadline exceeded")) && !bytes.Contains(out.Bytes(), []byte("Failing input written")) {
		r.err = nil
	}
	if r.err == nil && r.executions == 0 {
		r.err = errors.New("it tried nothing new: give more minutes")
	}
	r.output = out.Bytes()
	return r
}
