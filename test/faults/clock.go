package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// clockSource lets a program's clock jump a day forward at SIGUSR1, and a day back at SIGUSR2. A program that is started again has the
// machine's clock, which is one more jump.
const clockSource = `package main

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

func init() {
	jumps := make(chan os.Signal, 16)
	signal.Notify(jumps, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		for s := range jumps {
			if s == syscall.SIGUSR1 {
				time.SoakJump(86400)
			} else {
				time.SoakJump(-86400)
			}
		}
	}()
}
`

// jumpSource is a file more in package time.
const jumpSource = `package time

import "sync/atomic"

var soakOffset atomic.Int64

// SoakJump moves the wall clock by seconds. The monotonic clock, and with it timers, go on as they do on a machine whose clock is set.
func SoakJump(seconds int64) { soakOffset.Add(seconds) }
`

// The line of time.Now that reads the clock, and what it becomes.
const (
	nowLine     = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	nowLineThen = nowLine + "\tsec += soakOffset.Load()\n"
)

// clockOverlay returns the files of Go's own package time in which the wall clock can be moved: made of what is installed.
func clockOverlay(ctx context.Context) (map[string]string, error) {
	root, err := goOutput(ctx, "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(root, "src", "time", "time.go")
	source, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if strings.Count(string(source), nowLine) != 1 {
		return nil, fmt.Errorf("%s does not read the clock as is known here: adapt nowLine, or run without clock jumps", file)
	}
	return map[string]string{
		file: strings.Replace(string(source), nowLine, nowLineThen, 1),
		filepath.Join(root, "src", "time", "soak.go"): jumpSource,
	}, nil
}
