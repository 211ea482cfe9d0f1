package systemd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// Options say where everything is. Paths are those of the machine that the services run on, but for Logs.
type Options struct {
	// Path is where this process finds what is at a path on the machine; nil: the machine is the caller's.
	Path func(string) string
	// Start starts a program on the machine; nil: beside the caller.
	Start func(context.Context, cluster.Command) (*cluster.Process, error)
	// Socket is where D-Bus is spoken.
	Socket string
	// Units is the administrator's folder of unit files, RuntimeUnits the one that a reboot empties. Both are made.
	Units, RuntimeUnits string
	// Logs takes what services write.
	Logs string
	// Provided are units without a file, by name, that somebody else runs: what restarting them does.
	Provided map[string]func(context.Context) error
}

// Manager is a running stand-in. Its methods may be called from any goroutine.
type Manager struct {
	options  Options
	listener net.Listener

	mu       sync.Mutex
	closed   bool
	loaded   map[string]*unit
	services map[string]*service
	clients  map[*dbus.Conn]bool
	jobs     uint32
	calls    []string
	failing  map[string]bool
	work     sync.WaitGroup
}

// Start begins to serve. Close must be called.
func Start(options Options) (*Manager, error) {
	if !cluster.Isolated() {
		return nil, errors.New("services would be left on this host: call cluster.Isolate first")
	}
	if options.Path == nil {
		options.Path = func(path string) string { return path }
	}
	if options.Start == nil {
		options.Start = func(ctx context.Context, c cluster.Command) (*cluster.Process, error) {
			return cluster.StartProcess(ctx, c, nil)
		}
	}
	for _, dir := range []string{options.Path(options.Units), options.Path(options.RuntimeUnits), options.Logs, options.Path(filepath.Dir(options.Socket))} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	listener, err := net.Listen("unix", options.Path(options.Socket))
	if err != nil {
		return nil, err
	}
	m := &Manager{options: options, listener: listener, loaded: map[string]*unit{}, services: map[string]*service{}, clients: map[*dbus.Conn]bool{}, failing: map[string]bool{}}
	m.work.Go(m.accept)
	return m, nil
}

// Close stops all services and the socket.
func (m *Manager) Close() error {
	m.mu.Lock()
	m.closed = true
	clients, services := m.clients, m.services
	m.clients = map[*dbus.Conn]bool{}
	m.mu.Unlock()
	err := m.listener.Close()
	for c := range clients {
		err = errors.Join(err, c.Close())
	}
	m.work.Wait()
	for _, s := range services {
		s.endSupervision()
	}
	return err
}

// PowerOff kills every service at once, as a power cut does, and forgets what is in memory: the runtime units too.
func (m *Manager) PowerOff() error {
	m.mu.Lock()
	services := m.services
	m.services, m.loaded = map[string]*service{}, map[string]*unit{}
	m.mu.Unlock()
	var errs []error
	for _, s := range services {
		errs = append(errs, s.lose())
	}
	files, err := filepath.Glob(filepath.Join(m.options.Path(m.options.RuntimeUnits), "*"))
	errs = append(errs, err)
	for _, f := range files {
		errs = append(errs, os.RemoveAll(f))
	}
	return errors.Join(errs...)
}

// ownUnits begins the names of the units that a boot starts. A machine of test/cluster begins with the host's /etc, whose
// services are none of ours.
const ownUnits = "kritis-"

// Boot starts what is enabled, and waits for it.
func (m *Manager) Boot() error {
	links, err := filepath.Glob(filepath.Join(m.options.Path(m.options.Units), "*.wants", "*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, link := range links {
		if !strings.HasPrefix(filepath.Base(link), ownUnits) {
			continue
		}
		s, u, err := m.find(filepath.Base(link))
		if err == nil {
			s.job.Lock()
			err = s.start(u)
			s.job.Unlock()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// FailRestart makes restarts of a provided unit fail from now on, or no longer.
func (m *Manager) FailRestart(name string, fail bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failing[name] = fail
}

// Calls returns the methods that were called and changed something, in order, each as "Method unit".
func (m *Manager) Calls() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.calls)
}

func (m *Manager) note(words ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, strings.Join(words, " "))
}

// State returns a unit's ActiveState, its main process or 0, and how often it was started.
func (m *Manager) State(name string) (state string, pid, starts int) {
	m.mu.Lock()
	s := m.services[name]
	m.mu.Unlock()
	if s == nil {
		return inactive, 0, 0
	}
	return s.look()
}

// Logs returns what the services wrote.
func (m *Manager) Logs() string {
	var b strings.Builder
	files, _ := filepath.Glob(filepath.Join(m.options.Logs, "*.log"))
	for _, f := range files {
		data, err := os.ReadFile(f)
		fmt.Fprintf(&b, "--- %s (%v)\n%s\n", filepath.Base(f), err, data[max(0, len(data)-4096):])
	}
	return b.String()
}

// file returns the path of a unit's file, the administrator's first, or an error.
func (m *Manager) file(name string) (string, error) {
	for _, dir := range []string{m.options.Units, m.options.RuntimeUnits} {
		path := m.options.Path(filepath.Join(dir, name))
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", os.ErrNotExist
}

// load returns the unit as loaded, and loads it if it never was.
func (m *Manager) load(name string) (*unit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if u := m.loaded[name]; u != nil {
		return u, nil
	}
	return m.read(name)
}

// read is for holders of the lock.
func (m *Manager) read(name string) (*unit, error) {
	path, err := m.file(name)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	u := parseUnit(path, string(data))
	m.loaded[name] = u
	return u, nil
}

// reload reads all unit files again. A file that is gone takes its unit along; what runs goes on.
func (m *Manager) reload() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.loaded {
		delete(m.loaded, name)
		_, _ = m.read(name) // gone: not loaded any more
	}
}

// find returns the service of a unit that can be started.
func (m *Manager) find(name string) (*service, *unit, error) {
	u, err := m.load(name)
	if err != nil {
		return nil, nil, err
	}
	if u.problem != nil {
		return nil, nil, u.problem
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.services[name]
	if s == nil {
		s = &service{name: name, options: &m.options, state: inactive}
		m.services[name] = s
	}
	return s, u, nil
}

// provided returns what restarts a unit that somebody else runs.
func (m *Manager) provided(name string) (func(context.Context) error, bool) {
	restart, ok := m.options.Provided[name]
	m.mu.Lock()
	defer m.mu.Unlock()
	if ok && m.failing[name] {
		return func(context.Context) error { return errors.New("told to fail") }, true
	}
	return restart, ok
}

// StopUnit stops a service, as systemctl stop does.
func (m *Manager) StopUnit(name string) error {
	s := m.running(name)
	if s == nil {
		return fmt.Errorf("unit %s was never started", name)
	}
	s.job.Lock()
	defer s.job.Unlock()
	s.endSupervision()
	return nil
}
