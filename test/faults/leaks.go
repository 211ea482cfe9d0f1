package faults

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// use is what a process, or the node, has in use.
type use struct {
	PID        int `json:"pid,omitempty"`
	Goroutines int `json:"goroutines,omitempty"`
	Files      int `json:"files,omitempty"`
	Mounts     int `json:"mounts,omitempty"`
	// points are the node's mount points.
	points []string
}

// slack is how many more than in the beginning there may be when nothing goes on: connections that are kept for a while have a
// file and two goroutines each.
var slack = use{Goroutines: 12, Files: 6}

// usage looks at the product's processes, which must be one each, and at the node's mounts.
func (p *place) usage() (map[Target]use, error) {
	all := map[Target]use{}
	for _, t := range product {
		pids := p.processes(t)
		if len(pids) != 1 {
			return nil, fmt.Errorf("there are %d processes of the %s", len(pids), t)
		}
		u, err := useOf(pids[0])
		if err != nil {
			return nil, fmt.Errorf("looking at the %s: %w", t, err)
		}
		all[t] = u
	}
	// Its files are found at /proc/PID/root, PID being that of the process that keeps its mount namespace.
	table, err := os.ReadFile(strings.TrimSuffix(p.Nodes()[0].Path(""), "root") + "mountinfo")
	if err == nil {
		points := mountPoints(table)
		all[nodeMounts] = use{Mounts: len(points), points: points}
	}
	return all, err
}

const nodeMounts Target = "node"

// mountPoints are those of a table as /proc/PID/mountinfo is.
func mountPoints(table []byte) []string {
	var points []string
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			points = append(points, fields[4])
		}
	}
	return points
}

func useOf(pid int) (use, error) {
	u := use{PID: pid}
	folder := filepath.Join("/proc", strconv.Itoa(pid))
	comm, err := os.ReadFile(filepath.Join(folder, "comm"))
	if err != nil {
		return u, err
	}
	if u.Goroutines, err = strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(string(comm)), commPrefix)); err != nil {
		return u, fmt.Errorf("it does not tell of its goroutines: %w", err)
	}
	files, err := os.ReadDir(filepath.Join(folder, "fd"))
	if err != nil {
		return u, err
	}
	u.Files = len(files)
	table, err := os.ReadFile(filepath.Join(folder, "mountinfo"))
	u.Mounts = bytes.Count(table, []byte("\n"))
	return u, err
}

// awaitNoLeaks waits until nothing has more in use than in the beginning, and returns what has. It is patient: a kubelet whose runtime was
// restarted while a pod was removed tries again later.
func (p *place) awaitNoLeaks(ctx context.Context, before map[Target]use) ([]string, map[Target]use) {
	var now map[Target]use
	var leaks []string
	err := patient(ctx, "everything to be as before", func(context.Context) (err error) {
		if now, err = p.usage(); err != nil {
			leaks = []string{err.Error()}
			return err
		}
		if leaks = compare(before, now); len(leaks) > 0 {
			return fmt.Errorf("%s", strings.Join(leaks, "; "))
		}
		return nil
	})
	if err == nil {
		leaks = nil
	}
	return leaks, now
}

func compare(before, now map[Target]use) []string {
	var leaks []string
	for _, t := range append([]Target{nodeMounts}, product...) {
		b, n := before[t], now[t]
		for _, c := range []struct {
			what           string
			was, is, slack int
		}{
			{"goroutines", b.Goroutines, n.Goroutines, slack.Goroutines},
			{"open files", b.Files, n.Files, slack.Files},
			{"mounts", b.Mounts, n.Mounts, slack.Mounts},
		} {
			if c.is > c.was+c.slack {
				leaks = append(leaks, fmt.Sprintf("the %s has %d %s, and had %d%s", t, c.is, c.what, c.was, added(b.points, n.points)))
			}
		}
	}
	return leaks
}

// added names the first of what has been added, if anything is named at all.
func added(before, now []string) string {
	const most = 8
	fresh := slices.DeleteFunc(slices.Clone(now), func(p string) bool { return slices.Contains(before, p) })
	if len(fresh) == 0 {
		return ""
	}
	return ": " + strings.Join(fresh[:min(len(fresh), most)], ", ")
}
