package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// startInstaller starts the process that keeps the service installed.
func (s *node) startInstaller(t *testing.T) *cluster.Process {
	t.Helper()
	p, err := cluster.StartProcess(t.Context(), cluster.Command{Path: s.Program, Args: s.hostArgs(), Log: s.path("installer.log")}, func(ctx context.Context) error {
		_, err := s.Status(ctx)
		return err
	})
	check(t, err)
	return p
}

// TestKeep shows that what somebody does to the service is undone, and that the end of the installer undoes nothing.
func TestKeep(t *testing.T) {
	s := startNode(t)
	p := s.startInstaller(t)
	unit := s.path("units/" + pluginUnit)
	link := s.path("units/multi-user.target.wants/" + pluginUnit)
	text := s.read(t, unit)
	for _, row := range []struct {
		name    string
		spoil   func(t *testing.T)
		healthy func() error
	}{
		{"stopped", func(t *testing.T) { check(t, s.systemd.StopUnit(pluginUnit)) }, func() error {
			if state, _, _ := s.systemd.State(pluginUnit); state != "active" {
				return errors.New(state)
			}
			return nil
		}},
		{"disabled", func(t *testing.T) { check(t, os.Remove(link)) }, func() error { _, err := os.Lstat(link); return err }},
		{"unit edited", func(t *testing.T) {
			check(t, os.WriteFile(unit, []byte(strings.Replace(string(text), "Restart=always", "Restart=no", 1)), 0o644))
		}, func() error {
			if now, err := os.ReadFile(unit); err != nil || string(now) != string(text) {
				return fmt.Errorf("it is another, %w", err)
			}
			return nil
		}},
		{"unit removed", func(t *testing.T) { check(t, os.Remove(unit)) }, func() error { _, err := os.Stat(unit); return err }},
		{"program removed", func(t *testing.T) { check(t, os.Remove(s.path("bin/"+s.files(t, "bin")[0]))) }, func() error {
			if len(s.files(t, "bin")) == 0 {
				return errors.New("there is none")
			}
			return nil
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.spoil(t)
			check(t, cluster.Await(t.Context(), "repair", func(context.Context) error { return row.healthy() }))
			check(t, cluster.Await(t.Context(), "the plugin", func(ctx context.Context) error { return s.Run(ctx, prod, s.signed) }))
			s.enforces(t)
		})
	}
	check(t, p.Stop(t.Context()))
	if err := p.Err(); err != nil {
		t.Error(err)
	}
	s.enforces(t)
}

// TestPowerCuts kills the installer at many moments of an upgrade, loses the power, boots, and installs again. What is on
// disk must always be something that systemd starts and that enforces.
func TestPowerCuts(t *testing.T) {
	s := startNode(t)
	versions := []string{s.version(t, "1"), s.version(t, "2")}
	s.install(t, versions[0])
	for round := range 8 {
		to := versions[(round+1)%2]
		p, err := cluster.StartProcess(t.Context(), cluster.Command{Path: to, Args: s.hostArgs("--once"), Log: s.path("cut.log")}, nil)
		check(t, err)
		// Not a wait for something: each round cuts the work at another moment.
		timer := time.NewTimer(time.Duration(round*round) * 60 * time.Millisecond)
		select {
		case <-timer.C:
		case <-p.Ended():
		}
		check(t, p.Kill())
		if round%2 == 0 { // the installer alone dies
			s.enforces(t)
		} else {
			check(t, s.systemd.PowerOff())
			check(t, s.systemd.Boot())
			s.enforces(t)
		}
		s.install(t, to)
		s.enforces(t)
		if state, _, _ := s.systemd.State(nextUnit); state != "inactive" || len(s.files(t, "runtime-units")) > 0 {
			t.Errorf("round %d: the stand-in is %s, its files %s", round, state, s.files(t, "runtime-units"))
		}
		for _, name := range s.files(t, "bin") {
			if strings.HasSuffix(name, ".tmp") {
				t.Errorf("round %d: %s is left", round, name)
			}
		}
	}
}
