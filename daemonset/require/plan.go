package require

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodestate/durable"
)

// Change is one file that becomes another.
type Change struct {
	Path string
	// Before and After are contents; nil: there is no file.
	Before, After []byte
}

// Plan is what has to be changed, in this order. No changes: everything is as it should be.
type Plan struct {
	Changes []Change
	// Notes are what people should know beyond the changes.
	Notes []string
}

// Diff shows the changes as `diff -u` does.
func (p Plan) Diff() string {
	var b strings.Builder
	for _, c := range p.Changes {
		b.WriteString(c.Diff())
	}
	return b.String()
}

// Diff shows one change. Changes are made in one place of a file each, so there is one hunk.
func (c Change) Diff() string {
	const context = 3
	name := func(content []byte) string {
		if content == nil {
			return "/dev/null"
		}
		return c.Path
	}
	old, now := splitLines(c.Before), splitLines(c.After)
	head := 0
	for head < min(len(old), len(now)) && old[head] == now[head] {
		head++
	}
	tail := 0
	for tail < min(len(old), len(now))-head && old[len(old)-1-tail] == now[len(now)-1-tail] {
		tail++
	}
	from, after := max(0, head-context), min(tail, context)
	var b strings.Builder
	span := func(lines int) string {
		switch count := lines - tail + after - from; count {
		case 0:
			return fmt.Sprintf("%d,0", from)
		default:
			return fmt.Sprintf("%d,%d", from+1, count)
		}
	}
	fmt.Fprintf(&b, "--- %s\n+++ %s\n@@ -%s +%s @@\n", name(c.Before), name(c.After), span(len(old)), span(len(now)))
	write := func(sign string, lines []string) {
		for _, line := range lines {
			b.WriteString(sign + line)
			if !strings.HasSuffix(line, "\n") {
				b.WriteString("\n\\ No newline at end of file\n")
			}
		}
	}
	write(" ", old[from:head])
	write("-", old[head:len(old)-tail])
	write("+", now[head:len(now)-tail])
	write(" ", old[len(old)-tail:len(old)-tail+after])
	return b.String()
}

func splitLines(content []byte) []string {
	if len(content) == 0 {
		return nil
	}
	lines := strings.SplitAfter(string(content), "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// Apply carries the plan out, and returns the backups that it made of files that were there. If one change fails those
// before it are taken back. now names the backups.
func (p Plan) Apply(now time.Time) (backups []string, err error) {
	for _, c := range p.Changes {
		if err := c.same(c.Before); err != nil {
			return nil, err
		}
	}
	for n, c := range p.Changes {
		backup, err := c.apply(now)
		if backup != "" {
			backups = append(backups, backup)
		}
		if err != nil {
			return backups, errors.Join(err, Plan{Changes: p.Changes[:n]}.Revert())
		}
	}
	return backups, nil
}

// Revert takes a plan back that was carried out.
func (p Plan) Revert() error {
	var errs []error
	for n := len(p.Changes) - 1; n >= 0; n-- {
		c := p.Changes[n]
		err := c.same(c.After)
		if err == nil {
			err = c.put(c.Before, c.mode())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// same returns an error unless the file has this content.
func (c Change) same(want []byte) error {
	have, err := os.ReadFile(c.Path)
	if errors.Is(err, fs.ErrNotExist) {
		have, err = nil, nil
	}
	if err != nil {
		return err
	}
	if !bytes.Equal(have, want) || (have == nil) != (want == nil) {
		return fmt.Errorf("%s was changed by somebody else meanwhile: nothing was done to it; run the command again", c.Path)
	}
	return nil
}

// fileMode is a file's mode and owner.
type fileMode struct {
	mode  fs.FileMode
	owner durable.Owner
}

// mode returns that of the file, or what a new one gets.
func (c Change) mode() fileMode {
	info, err := os.Stat(c.Path)
	if err != nil {
		return fileMode{0o644, durable.Self()}
	}
	m := fileMode{info.Mode().Perm(), durable.Owner{}}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		m.owner = durable.Owner{UID: int(stat.Uid), GID: int(stat.Gid)}
	}
	return m
}

func (c Change) apply(now time.Time) (backup string, err error) {
	m := c.mode()
	// What is only removed can be made again by the same command; what people wrote cannot.
	if c.Before != nil && c.After != nil {
		// Not *.toml: containerd would import it.
		backup = c.Path + ".kritis-" + now.UTC().Format("20060102T150405Z")
		if err := durable.Write(backup, bytes.NewReader(c.Before), m.mode, m.owner); err != nil {
			return "", err
		}
	}
	return backup, c.put(c.After, m)
}

func (c Change) put(content []byte, m fileMode) error {
	if content == nil {
		return durable.Remove(c.Path)
	}
	if err := os.MkdirAll(filepath.Dir(c.Path), 0o755); err != nil {
		return err
	}
	return durable.Write(c.Path, bytes.NewReader(content), m.mode, m.owner)
}
