package kubernetes

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// kernelSettings are those that kubelet insists on. They are the whole machine's, not a namespace's.
var kernelSettings = map[string]string{
	"/proc/sys/vm/overcommit_memory":      "1",
	"/proc/sys/vm/panic_on_oom":           "0",
	"/proc/sys/kernel/panic":              "10",
	"/proc/sys/kernel/panic_on_oops":      "1",
	"/proc/sys/kernel/keys/root_maxkeys":  "1000000",
	"/proc/sys/kernel/keys/root_maxbytes": "25000000",
}

// bootIDFile is where kubelet sees that its machine was rebooted.
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// hostFolders are written to by kubelet (device-plugins, containers) and CNI (cache), whatever their options say.
var hostFolders = []string{"/var/lib", "/var/log"}

// shelter is what keeps the host as it is, in the program's own mount namespace.
type shelter struct {
	mounts []string
	bootID string // the file that bootIDFile is
}

// newShelter mounts, over what the cluster would change on the host, copies of it that live in dir.
func newShelter(dir string) (*shelter, error) {
	s := &shelter{}
	for _, setting := range slices.Sorted(maps.Keys(kernelSettings)) {
		file := filepath.Join(dir, strings.ReplaceAll(setting[1:], "/", "-"))
		if err := os.WriteFile(file, []byte(kernelSettings[setting]+"\n"), 0o644); err != nil {
			return nil, errors.Join(fmt.Errorf("sheltering the host: %w", err), s.close())
		}
		if err := s.mount(file, setting, "", unix.MS_BIND, ""); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	s.bootID = filepath.Join(dir, "boot-id")
	content, err := os.ReadFile(bootIDFile)
	if err == nil {
		err = os.WriteFile(s.bootID, content, 0o644)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("sheltering the host: %w", err), s.close())
	}
	if err := s.mount(s.bootID, bootIDFile, "", unix.MS_BIND, ""); err != nil {
		return nil, errors.Join(err, s.close())
	}
	for _, folder := range hostFolders {
		copied := filepath.Join(dir, strings.ReplaceAll(folder[1:], "/", "-"))
		upper, work := filepath.Join(copied, "upper"), filepath.Join(copied, "work")
		if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)); err != nil {
			return nil, errors.Join(fmt.Errorf("sheltering the host: %w", err), s.close())
		}
		if err := s.mount("overlay", folder, "overlay", 0, "lowerdir="+folder+",upperdir="+upper+",workdir="+work); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	return s, nil
}

func (s *shelter) mount(source, target, kind string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		return fmt.Errorf("sheltering %s of the host: %w", target, err)
	}
	s.mounts = append(s.mounts, target)
	return nil
}

// close removes the mounts; later ones may lie over earlier ones.
func (s *shelter) close() error {
	var failures []error
	for _, target := range slices.Backward(s.mounts) {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			failures = append(failures, fmt.Errorf("unmounting %s: %w", target, err))
		}
	}
	s.mounts = nil
	return errors.Join(failures...)
}

// unmountBelow removes the mounts in a folder: kubelet's own, and volumes of pods that were removed behind its back.
func unmountBelow(folder string) error {
	mounts, err := mountsBelow(folder)
	if err != nil {
		return err
	}
	var failures []error
	for _, mount := range slices.Backward(mounts) {
		if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil {
			failures = append(failures, fmt.Errorf("unmounting %s: %w", mount, err))
		}
	}
	return errors.Join(failures...)
}

// mountsBelow returns the mount points in a folder, in the order in which they were made.
func mountsBelow(folder string) ([]string, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("reading mounts: %w", err)
	}
	var found []string
	for line := range strings.Lines(string(table)) {
		// Fields are those of proc_pid_mountinfo(5): ID, parent, device, root, mount point. Blanks are written \040.
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasPrefix(fields[4], folder+"/") {
			found = append(found, strings.ReplaceAll(fields[4], `\040`, " "))
		}
	}
	return found, nil
}
