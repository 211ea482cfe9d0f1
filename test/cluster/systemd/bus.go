package systemd

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	systemddbus "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

const (
	managerPath  = dbus.ObjectPath("/org/freedesktop/systemd1")
	managerFace  = "org.freedesktop.systemd1.Manager"
	unitFace     = "org.freedesktop.systemd1.Unit"
	serviceFace  = "org.freedesktop.systemd1.Service"
	propertyFace = "org.freedesktop.DBus.Properties"

	authTimeout = 10 * time.Second
)

// modes are those that StartUnit and its like take.
var modes = []string{"replace", "fail", "isolate", "ignore-dependencies", "ignore-requirements"}

func (m *Manager) accept() {
	for {
		c, err := m.listener.Accept()
		if err != nil {
			return // closed
		}
		m.work.Go(func() { m.serve(c.(*net.UnixConn)) })
	}
}

// serve speaks with one client until it hangs up.
func (m *Manager) serve(c *net.UnixConn) {
	defer c.Close()
	if err := authenticate(c); err != nil {
		return
	}
	bus, err := dbus.NewConn(&authenticated{Conn: c, script: bytes.NewBufferString("REJECTED EXTERNAL\r\nOK 00\r\n")})
	if err != nil {
		return
	}
	defer bus.Close()
	for _, err := range []error{
		bus.Export(methods{m}, managerPath, managerFace),
		bus.ExportSubtree(properties{m}, managerPath+"/unit", propertyFace),
		bus.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Getuid()))}),
	} {
		if err != nil {
			return
		}
	}
	m.mu.Lock()
	closed := m.closed
	m.clients[bus] = true
	m.mu.Unlock()
	if closed {
		return
	}
	<-bus.Context().Done()
	m.mu.Lock()
	delete(m.clients, bus)
	m.mu.Unlock()
}

// authenticate is the server's side of SASL EXTERNAL (D-Bus specification, "Authentication Protocol"). Only root may.
func authenticate(c *net.UnixConn) error {
	if err := c.SetDeadline(time.Now().Add(authTimeout)); err != nil {
		return err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) { peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil || failed != nil {
		return errors.Join(err, failed)
	}
	if nul := make([]byte, 1); true {
		if _, err := io.ReadFull(c, nul); err != nil || nul[0] != 0 {
			return errors.New("no null byte")
		}
	}
	for {
		line, err := readLine(c)
		if err != nil {
			return err
		}
		answer := "ERROR"
		words := strings.Fields(line)
		switch {
		case line == "AUTH":
			answer = "REJECTED EXTERNAL"
		case line == "AUTH EXTERNAL":
			answer = "DATA"
		case len(words) == 3 && words[0] == "AUTH" && words[1] == "EXTERNAL", len(words) > 0 && words[0] == "DATA":
			// The user ID, in hexadecimal digits of its text; it may be left out, the kernel knows.
			uid, err := hex.DecodeString(words[len(words)-1])
			if words[len(words)-1] == "DATA" {
				uid, err = []byte("0"), nil
			}
			answer = "OK 0123456789abcdef0123456789abcdef"
			if err != nil || peer.Uid != 0 || string(uid) != "0" {
				answer = "REJECTED EXTERNAL"
			}
		case line == "BEGIN":
			return c.SetDeadline(time.Time{})
		}
		if _, err := io.WriteString(c, answer+"\r\n"); err != nil {
			return err
		}
	}
}

// readLine reads byte by byte: what follows the last line is the first message.
func readLine(r io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); len(line) < 1024; {
		if _, err := io.ReadFull(r, b); err != nil {
			return "", err
		}
		if line = append(line, b[0]); bytes.HasSuffix(line, []byte("\r\n")) {
			return string(line[:len(line)-2]), nil
		}
	}
	return "", errors.New("line too long")
}

// authenticated lets the D-Bus library, which knows only the client's side of authentication, begin where
// authentication has ended: it hears what a server would answer, and what it says itself goes nowhere.
type authenticated struct {
	net.Conn
	script *bytes.Buffer
	begun  bool
}

func (a *authenticated) Read(p []byte) (int, error) {
	if a.script.Len() > 0 {
		return a.script.Read(p)
	}
	return a.Conn.Read(p)
}

func (a *authenticated) Write(p []byte) (int, error) {
	if a.begun {
		return a.Conn.Write(p)
	}
	a.begun = bytes.HasPrefix(p, []byte("BEGIN"))
	return len(p), nil
}

// methods are those of the manager object.
type methods struct{ m *Manager }

func failure(name, format string, args ...any) *dbus.Error {
	return dbus.NewError("org.freedesktop."+name, []any{fmt.Sprintf(format, args...)})
}

func (x methods) Subscribe() *dbus.Error { return nil }

func (x methods) Reload() *dbus.Error {
	x.m.note("Reload")
	x.m.reload()
	return nil
}

func (x methods) ResetFailedUnit(name string) *dbus.Error {
	if _, err := x.m.load(name); err != nil {
		return failure("systemd1.NoSuchUnit", "Unit %s not loaded.", name)
	}
	return nil
}

func (x methods) StartUnit(name, mode string) (dbus.ObjectPath, *dbus.Error) {
	return x.job("StartUnit", name, mode, func(s *service, u *unit) error { return s.start(u) })
}

func (x methods) StopUnit(name, mode string) (dbus.ObjectPath, *dbus.Error) {
	return x.job("StopUnit", name, mode, func(s *service, _ *unit) error { s.endSupervision(); return nil })
}

func (x methods) RestartUnit(name, mode string) (dbus.ObjectPath, *dbus.Error) {
	return x.job("RestartUnit", name, mode, func(s *service, u *unit) error { s.endSupervision(); return s.start(u) })
}

// job answers with the path of a job, and tells its end by a signal.
func (x methods) job(method, name, mode string, do func(*service, *unit) error) (dbus.ObjectPath, *dbus.Error) {
	if !slices.Contains(modes, mode) {
		return "", failure("DBus.Error.InvalidArgs", "Job mode %s invalid", mode)
	}
	restart, provided := x.m.provided(name)
	s, u, err := x.m.find(name)
	switch {
	case provided:
	case method == "StopUnit" && s == nil && x.m.running(name) != nil:
		s = x.m.running(name) // its file is gone, and it runs
	case errors.Is(err, os.ErrNotExist):
		return "", failure("systemd1.NoSuchUnit", "Unit %s not found.", name)
	case err != nil:
		return "", failure("systemd1.BadUnitSetting", "Unit %s has a bad unit file setting: %v", name, err)
	}
	x.m.note(method, name)
	x.m.mu.Lock()
	x.m.jobs++
	id := x.m.jobs
	x.m.mu.Unlock()
	path := managerPath + dbus.ObjectPath("/job/"+strconv.Itoa(int(id)))
	x.m.work.Go(func() {
		result := "done"
		if provided {
			if restart(context.Background()) != nil {
				result = "failed"
			}
		} else {
			s.job.Lock()
			if do(s, u) != nil {
				result = "failed"
			}
			s.job.Unlock()
		}
		x.m.mu.Lock()
		defer x.m.mu.Unlock()
		for c := range x.m.clients {
			_ = c.Emit(managerPath, managerFace+".JobRemoved", id, path, name, result) // the client hung up
		}
	})
	return path, nil
}

// running returns the service if it was ever started.
func (m *Manager) running(name string) *service {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.services[name]
}

type change struct{ Type, Name, Destination string }

func (x methods) EnableUnitFiles(names []string, runtime, _ bool) (bool, []change, *dbus.Error) {
	changes := []change{}
	for _, name := range names {
		path, err := x.m.file(filepath.Base(name))
		if err != nil {
			return false, nil, failure("DBus.Error.FileNotFound", "Unit file %s does not exist.", name)
		}
		data, err := os.ReadFile(path)
		if err != nil || runtime {
			return false, nil, failure("DBus.Error.Failed", "%v", err)
		}
		x.m.note("EnableUnitFiles", filepath.Base(name))
		for _, target := range parseUnit(path, string(data)).wantedBy {
			link := filepath.Join(x.m.options.Path(x.m.options.Units), target+".wants", filepath.Base(name))
			if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
				return false, nil, failure("DBus.Error.Failed", "%v", err)
			}
			if err := os.Symlink(filepath.Join(x.m.options.Units, filepath.Base(name)), link); err == nil {
				changes = append(changes, change{"symlink", link, path})
			}
		}
	}
	return true, changes, nil
}

func (x methods) DisableUnitFiles(names []string, _ bool) ([]change, *dbus.Error) {
	changes := []change{}
	for _, name := range names {
		x.m.note("DisableUnitFiles", name)
		links, _ := filepath.Glob(filepath.Join(x.m.options.Path(x.m.options.Units), "*.wants", name))
		for _, link := range links {
			if err := os.Remove(link); err == nil {
				changes = append(changes, change{"unlink", link, ""})
			}
		}
	}
	return changes, nil
}

// properties are those of every unit object.
type properties struct{ m *Manager }

func (x properties) GetAll(msg dbus.Message, face string) (map[string]dbus.Variant, *dbus.Error) {
	name := ""
	path, _ := msg.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	for _, candidate := range x.m.names() {
		if path == managerPath+dbus.ObjectPath("/unit/"+systemddbus.PathBusEscape(candidate)) {
			name = candidate
		}
	}
	if name == "" {
		name = "unknown.service"
	}
	values := x.m.properties(name)
	all := map[string]dbus.Variant{}
	for key, value := range values {
		ofService := key == "MainPID" || key == "NRestarts"
		if face == "" || (face == serviceFace) == ofService && (face == unitFace || face == serviceFace) {
			all[key] = dbus.MakeVariant(value)
		}
	}
	return all, nil
}

func (x properties) Get(msg dbus.Message, face, key string) (dbus.Variant, *dbus.Error) {
	all, err := x.GetAll(msg, face)
	if err != nil {
		return dbus.Variant{}, err
	}
	v, ok := all[key]
	if !ok {
		return dbus.Variant{}, failure("DBus.Error.UnknownProperty", "Unknown interface %s or property %s.", face, key)
	}
	return v, nil
}

// names are those of all units that can be asked about.
func (m *Manager) names() []string {
	var names []string
	for _, dir := range []string{m.options.Units, m.options.RuntimeUnits} {
		files, _ := filepath.Glob(filepath.Join(m.options.Path(dir), "*.service"))
		for _, f := range files {
			names = append(names, filepath.Base(f))
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.services {
		names = append(names, name)
	}
	for name := range m.options.Provided {
		names = append(names, name)
	}
	return names
}

func (m *Manager) properties(name string) map[string]any {
	all := map[string]any{"Id": name, "LoadState": "not-found", "ActiveState": inactive, "UnitFileState": "", "FragmentPath": "", "NeedDaemonReload": false, "MainPID": uint32(0)}
	if _, ok := m.options.Provided[name]; ok {
		all["LoadState"], all["ActiveState"], all["UnitFileState"] = "loaded", active, "enabled"
		return all
	}
	state, pid, _ := m.State(name)
	all["ActiveState"], all["MainPID"] = state, uint32(pid)
	u, err := m.load(name)
	if err != nil {
		return all
	}
	all["LoadState"], all["FragmentPath"] = "loaded", u.path
	if u.problem != nil {
		all["LoadState"] = "bad-setting"
	}
	path, err := m.file(name)
	data, err2 := os.ReadFile(path)
	all["NeedDaemonReload"] = err != nil || err2 != nil || path != u.path || string(data) != u.text
	all["UnitFileState"] = "disabled"
	if len(u.wantedBy) == 0 {
		all["UnitFileState"] = "static"
	}
	if links, _ := filepath.Glob(filepath.Join(m.options.Path(m.options.Units), "*.wants", name)); len(links) > 0 {
		all["UnitFileState"] = "enabled"
	}
	return all
}
