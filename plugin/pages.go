package plugin

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// ReleaseStartPages gives back the memory pages of the program that only its start needed: the plugin is one command of
// a program that holds many, and most of what that program initializes is never used here again. Only read-only pages
// of the program's own file are given back; one that is needed after all is read from there again.
func ReleaseStartPages() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("release memory of the start: %w", err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("release memory of the start: %w", err)
	}
	var errs []error
	for line := range strings.Lines(string(maps)) {
		fields := strings.Fields(line)
		if len(fields) != 6 || fields[5] != self || strings.Contains(fields[1], "w") {
			continue
		}
		var from, to uintptr
		if _, err := fmt.Sscanf(fields[0], "%x-%x", &from, &to); err != nil {
			continue
		}
		if _, _, errno := syscall.Syscall(syscall.SYS_MADVISE, from, to-from, syscall.MADV_DONTNEED); errno != 0 {
			errs = append(errs, fmt.Errorf("release memory of the start: %w", errno))
		}
	}
	return errors.Join(errs...)
}
