package cluster_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// innerVariable makes this test program, when a test runs it again, isolate itself once more and then do what inner
// says.
const innerVariable = "KRITIS_CLUSTER_TEST"

func inner(mode string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	switch mode {
	case "orphan":
		// The shell ends and leaves its child to PID 1.
		if err := exec.CommandContext(ctx, "sh", "-c", "sleep 0.01 & exit 3").Run(); err == nil || err.Error() != "exit status 3" {
			fmt.Println("unexpected:", err)
			return 1
		}
		return 7
	case "signal":
		fmt.Println("ready")
		<-ctx.Done()
		return 9
	default:
		node, err := cluster.StartNode(ctx, cluster.Options{})
		if err != nil {
			fmt.Println(err)
			return 1
		}
		image, err := cluster.BusyboxImage("left")
		if err == nil {
			err = node.ImportImage(ctx, "kritis.test/left:1", image)
		}
		var pod string
		if err == nil {
			pod, err = node.CRI().RunPod(ctx, cluster.PodSpec{})
		}
		if err == nil {
			_, err = node.CRI().Run(ctx, pod, cluster.ContainerSpec{Image: "kritis.test/left:1"})
		}
		if err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println(os.Getenv("KRITIS_CLUSTER_RUN"))
		<-ctx.Done()
		return 0
	}
}

// outer starts the program as from outside, in the mode, and returns it and the first line it prints.
func outer(t *testing.T, mode string) (*exec.Cmd, string) {
	t.Helper()
	program, err := os.Executable()
	check(t, err)
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), "KRITIS_CLUSTER_STAGE=", innerVariable+"="+mode)
	cmd.Stderr = os.Stderr
	output, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return cmd, strings.TrimSpace(line)
}

func TestIsolateKeepsExitCode(t *testing.T) {
	cmd, line := outer(t, "orphan")
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 7 {
		t.Fatalf("got %v, %q; want exit code 7", err, line)
	}
}

func TestIsolateForwardsSignals(t *testing.T) {
	cmd, _ := outer(t, "signal")
	check(t, cmd.Process.Signal(syscall.SIGTERM))
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 9 {
		t.Fatalf("got %v; want exit code 9", err)
	}
}

// A run that is killed leaves no process, and what it leaves in the cgroup file systems goes with the next run.
func TestIsolateKilled(t *testing.T) {
	cmd, run := outer(t, "node")
	if len(processesOf(t, run)) == 0 {
		t.Fatalf("found no process of run %q", run)
	}
	check(t, cmd.Process.Kill())
	if err := cmd.Wait(); err == nil {
		t.Fatal("a killed process ended well")
	}
	check(t, cluster.Await(t.Context(), "the processes of the killed run to end", func(context.Context) error {
		if left := processesOf(t, run); len(left) > 0 {
			return fmt.Errorf("left: %v", left)
		}
		return nil
	}))
	if len(cgroupsOf(t, run)) == 0 {
		t.Fatal("the killed run left no cgroups: this test shows nothing")
	}
	next, _ := outer(t, "orphan")
	_ = next.Wait() // with exit code 7
	if left := cgroupsOf(t, run); len(left) > 0 {
		t.Errorf("cgroups are left: %v", left)
	}
}

func processesOf(t *testing.T, run string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	check(t, err)
	var found []string
	for _, file := range files {
		if content, err := os.ReadFile(file); err == nil && strings.Contains(string(content), "/"+run+"/") {
			found = append(found, file)
		}
	}
	return found
}

func cgroupsOf(t *testing.T, run string) []string {
	t.Helper()
	version1, err := filepath.Glob("/sys/fs/cgroup/*/*/" + run)
	check(t, err)
	version2, err := filepath.Glob("/sys/fs/cgroup/*/" + run)
	check(t, err)
	return append(version1, version2...)
}
