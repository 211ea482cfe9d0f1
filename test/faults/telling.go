package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func (s *soak) mustDescribe() bool { return len(s.report.Violations) < 10 }

func (s *soak) tellViolations() {
	for ; s.shown < len(s.report.Violations); s.shown++ {
		s.say("VIOLATION: %s", s.report.Violations[s.shown])
	}
}

// tellProgress says every ten seconds how things are.
func (s *soak) tellProgress(ctx context.Context, r Round) {
	for {
		wait(ctx, 10*time.Second)
		if ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		waits, ran := 0, 0
		for _, i := range s.items {
			if i.waits() {
				waits++
			} else if i.Attested {
				ran++
			}
		}
		var active []string
		for _, f := range s.active {
			active = append(active, f.name())
		}
		s.mu.Unlock()
		s.say("round %d: %d attested ran, %d wait; failing now: %q; unattested seen to run: %d", r.Number, ran, waits, active, s.eyes.count())
	}
}

func (s *soak) keepPlan(r Round) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.Dir, fmt.Sprintf("round-%03d.json", r.Number)), append(data, '\n'), 0o644)
}

// describe writes what is known of items, and of the product, into the logs.
func (s *soak) describe(ctx context.Context, name string, items []*item) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	text := ""
	for _, i := range items {
		stdout, stderr, _, err := s.Kubectl(ctx, "--namespace", i.namespace, "describe", "pod", i.podName())
		said, tries := i.lastSaid()
		text += fmt.Sprintf("=== %s\ntried %d times, last said: %s\n%s%s%v\n", i, tries, said, stdout, stderr, err)
	}
	status, err := s.Status(ctx, 0)
	text += fmt.Sprintf("=== plugin: %+v %v\n%s\n", status, err, s.Describe(ctx))
	_ = os.WriteFile(filepath.Join(s.Dir, name+".txt"), []byte(text), 0o644)
}

// keepLogs writes what the processes wrote into the folder.
func (s *soak) keepLogs(ctx context.Context) {
	if s.Site == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	keep := func(name, text string) {
		if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(text), 0o644); err != nil {
			s.say("keeping %s: %v", name, err)
		}
	}
	keep("site.txt", s.Describe(ctx))
	keep("cluster.txt", s.Logs())
	keep("services.txt", s.Systemd(0).Logs())
	audit, err := os.ReadFile(s.Nodes()[0].Path(disk + "/log/decisions.jsonl"))
	if err != nil {
		audit = []byte(err.Error())
	}
	keep("decisions.jsonl", string(audit))
}
