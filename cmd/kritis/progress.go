package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// How often progress is shown: on a terminal in one line that changes, elsewhere in a line each, of what takes long.
const (
	progressOnTerminal = 200 * time.Millisecond
	progressElsewhere  = 15 * time.Second
)

// progress tells somebody who waits how far a command is.
type progress struct {
	out      io.Writer
	terminal bool
	next     time.Time
	shown    bool
}

func newProgress(out io.Writer, now time.Time) *progress {
	p := &progress{out: out, next: now.Add(progressElsewhere)}
	if file, ok := out.(*os.File); ok {
		info, err := file.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
	}
	if p.terminal {
		p.next = now.Add(progressOnTerminal)
	}
	return p
}

func (p *progress) say(format string, args ...any) { p.sayAt(time.Now(), format, args...) }

func (p *progress) sayAt(now time.Time, format string, args ...any) {
	switch text := fmt.Sprintf(format, args...); {
	case now.Before(p.next):
	case p.terminal:
		fmt.Fprintf(p.out, "\r\x1b[K%s", text)
		p.next, p.shown = now.Add(progressOnTerminal), true
	default:
		fmt.Fprintln(p.out, text)
		p.next = now.Add(progressElsewhere)
	}
}

// end takes away what is shown.
func (p *progress) end() {
	if p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.shown = false
	}
}
