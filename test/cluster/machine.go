package cluster

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// MachineOptions say what a machine has of its own.
type MachineOptions struct {
	// Dir is an empty folder in which the machine's disk lives. It must lie in one that is shared, and its path must be
	// short, because sockets will live below.
	Dir string
	// Network gives the machine a network of its own, in which there is nothing but loopback; else it has the program's.
	Network bool
	// Shared are folders below /run that the machine has from the program, under the same paths.
	Shared []string
}

// Machine is a place for processes that looks to them like a machine: /run, which is empty after each boot, and
// /var/lib, /var/log, /etc, /opt and /usr/local, which last, are its own; the last three begin as the host's. Everything
// else is the program's, /tmp among it, and so are processes' IDs. Its methods may be called from any goroutine, Boot
// and Halt one at a time.
type Machine struct {
	options MachineOptions

	mutex  sync.Mutex // guards what follows
	holder *Process   // keeps the namespaces
	bootID string
}

// StartMachine makes a machine and boots it. It must be called inside [Isolate].
func StartMachine(ctx context.Context, options MachineOptions) (*Machine, error) {
	if !Isolated() {
		return nil, errors.New("a machine would leave mounts on this host: call cluster.Isolate first")
	}
	m := &Machine{options: options}
	for _, folder := range machineFolders {
		if err := errors.Join(os.MkdirAll(m.disk(folder, "upper"), 0o755), os.MkdirAll(m.disk(folder, "work"), 0o755)); err != nil {
			return nil, fmt.Errorf("making a machine's disk: %w", err)
		}
	}
	return m, m.Boot(ctx)
}

// Boot makes the machine's mounts and network anew, with an empty /run.
func (m *Machine) Boot(ctx context.Context) error {
	if m.Running() {
		return errors.New("booting a machine: it runs")
	}
	bootID := NewBootID()
	err := errors.Join(os.RemoveAll(m.RunDir()), os.Mkdir(m.RunDir(), 0o755), os.RemoveAll(m.file("ready")),
		os.WriteFile(m.file("boot-id"), []byte(bootID+"\n"), 0o444))
	if err != nil {
		return fmt.Errorf("booting a machine: %w", err)
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the own program: %w", err)
	}
	plan, err := json.Marshal(m.options)
	if err != nil {
		return err
	}
	command := Command{
		Path: program, Log: m.file("machine.log"), Env: []string{stageVariable + "=" + stageMachine, planVariable + "=" + string(plan)},
		namespaces: syscall.CLONE_NEWNS,
	}
	if m.options.Network {
		command.namespaces |= syscall.CLONE_NEWNET
	}
	holder, err := StartProcess(ctx, command, func(context.Context) error {
		_, err := os.Stat(m.file("ready"))
		return err
	})
	if err != nil {
		return fmt.Errorf("booting a machine: %w", err)
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.holder, m.bootID = holder, bootID
	return nil
}

// Halt ends everything on the machine, as a loss of power does, and returns when its mounts and network are gone.
func (m *Machine) Halt(ctx context.Context) error {
	if !m.Running() {
		return nil
	}
	err := Await(ctx, "the processes of a machine to end", func(context.Context) error {
		processes, err := m.processes()
		if err != nil {
			return err
		}
		for _, process := range processes {
			if err := unix.Kill(process.pid, syscall.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("killing %s: %w", process.command, err)
			}
		}
		if len(processes) > 0 {
			return fmt.Errorf("process %d is left: %s", processes[0].pid, processes[0].command)
		}
		return nil
	})
	return errors.Join(err, m.Holder().Kill())
}

// Running says whether the machine is booted.
func (m *Machine) Running() bool {
	holder := m.Holder()
	return holder != nil && holder.Running()
}

// Holder is the process that keeps the machine's namespaces, another one after each boot.
func (m *Machine) Holder() *Process {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.holder
}

// BootID is what the machine's kernel seems to say in /proc/sys/kernel/random/boot_id.
func (m *Machine) BootID() string {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.bootID
}

// Path is where the program finds a file of the machine, which is at an absolute path there: to be read, written, or
// dialled. It holds until the machine is halted. Links that are followed on the way lead into the program's own files.
func (m *Machine) Path(path string) string {
	return fmt.Sprintf("/proc/%d/root%s", m.Holder().PID(), path)
}

// RunDir is where the program finds the machine's /run, except for mounts in there, and where the machine itself finds
// it as well.
func (m *Machine) RunDir() string { return m.file("run") }

// Leaks returns an error that lists what runs on the machine, if anything does.
func (m *Machine) Leaks() error {
	processes, err := m.processes()
	failures := []error{err}
	for _, process := range processes {
		failures = append(failures, fmt.Errorf("process %d is left on a machine: %s", process.pid, process.command))
	}
	return errors.Join(failures...)
}

func (m *Machine) file(name string) string { return filepath.Join(m.options.Dir, name) }

// disk is a folder for what the machine has at the path.
func (m *Machine) disk(path string, elements ...string) string {
	name := strings.ReplaceAll(path[1:], "/", "-")
	return filepath.Join(append([]string{m.options.Dir, name}, elements...)...)
}

// enter returns the command that runs a command on the machine, in the same process.
func (m *Machine) enter(command Command) (Command, error) {
	if !m.Running() {
		return Command{}, errors.New("the machine does not run")
	}
	namespaces := fmt.Sprintf("/proc/%d/ns/", m.Holder().PID())
	args := []string{"--mount=" + namespaces + "mnt"}
	if m.options.Network {
		args = append(args, "--net="+namespaces+"net")
	}
	if command.Dir != "" {
		args = append(args, "--wdns="+command.Dir)
		command.Dir = ""
	}
	command.Args = append(append(args, "--", command.Path), command.Args...)
	command.Path = "nsenter"
	return command, nil
}

// processes returns what runs in the machine's mount namespace. Containers have their own; they are known by their
// cgroups, see [Node.processes].
func (m *Machine) processes() ([]nodeProcess, error) {
	if !m.Running() {
		return nil, nil
	}
	holder := m.Holder().PID()
	wanted, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", holder))
	if err != nil {
		return nil, fmt.Errorf("reading a machine's namespace: %w", err)
	}
	links, err := filepath.Glob("/proc/[0-9]*/ns/mnt")
	if err != nil {
		return nil, err
	}
	var found []nodeProcess
	for _, link := range links {
		folder := filepath.Dir(filepath.Dir(link))
		pid, err := strconv.Atoi(filepath.Base(folder))
		if err != nil || pid == holder {
			continue
		}
		// What cannot be read has ended in the meantime.
		if namespace, err := os.Readlink(link); err != nil || namespace != wanted {
			continue
		}
		command, _ := os.ReadFile(filepath.Join(folder, "cmdline"))
		found = append(found, nodeProcess{pid: pid, command: strings.ReplaceAll(string(command), "\x00", " ")})
	}
	return found, nil
}

// NewBootID returns a random UUID, as a kernel gives itself one at each boot.
func NewBootID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
