package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// planVariable tells the process that becomes a machine what kind of machine.
const planVariable = "KRITIS_CLUSTER_MACHINE"

// machineFolders are what a machine has of its own and keeps.
var machineFolders = []string{"/var/lib", "/var/log", "/etc", "/opt", "/usr/local"}

// fromHost says whether a machine's folder begins as the host's: where programs live and are configured.
func fromHost(folder string) bool { return !strings.HasPrefix(folder, "/var/") }

// holdMachine is the life of a machine's first process: makes the mounts, says so, and keeps the namespaces.
func holdMachine() (int, error) {
	m := &Machine{}
	if err := json.Unmarshal([]byte(os.Getenv(planVariable)), &m.options); err != nil {
		return 0, fmt.Errorf("reading what machine to make: %w", err)
	}
	if err := m.mountAll(); err != nil {
		return 0, err
	}
	if m.options.Network {
		if err := loopbackUp(); err != nil {
			return 0, err
		}
	}
	if err := os.WriteFile(m.file("ready"), nil, 0o644); err != nil {
		return 0, err
	}
	for {
		// Nothing is left to do until the end, which is a signal's.
		if err := unix.Pause(); err != nil && !errors.Is(err, unix.EINTR) {
			return 0, err
		}
	}
}

// mountAll makes the machine's mounts in the process' new mount namespace.
func (m *Machine) mountAll() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	// First into the folder that becomes /run: later they would be hidden.
	for _, folder := range m.options.Shared {
		inRun, ok := strings.CutPrefix(folder, "/run/")
		if !ok {
			return fmt.Errorf("a machine shares %s, which is not below /run", folder)
		}
		target := filepath.Join(m.RunDir(), inRun)
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := bind(folder, target); err != nil {
			return err
		}
	}
	if err := bind(m.RunDir(), "/run"); err != nil {
		return err
	}
	for _, folder := range machineFolders {
		upper, work := m.disk(folder, "upper"), m.disk(folder, "work")
		if !fromHost(folder) {
			if err := bind(upper, folder); err != nil {
				return err
			}
			continue
		}
		if err := unix.Mount("overlay", folder, "overlay", 0, "lowerdir="+folder+",upperdir="+upper+",workdir="+work); err != nil {
			return fmt.Errorf("mounting a machine's %s: %w", folder, err)
		}
	}
	if err := bind(m.file("boot-id"), "/proc/sys/kernel/random/boot_id"); err != nil {
		return err
	}
	// As systemd makes them, and as volumes of pods need them that are to follow what is mounted later.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("sharing a machine's mounts: %w", err)
	}
	return nil
}

func bind(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mounting %s at %s: %w", source, target, err)
	}
	return nil
}
