package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

// rereadEvery is how often the rules' files are looked at without being told: inotify can overflow, and a folder can
// be replaced.
const rereadEvery = 2 * time.Second

// problemsLogged is how many problems of a policy are logged one by one.
const problemsLogged = 20

// policyFile is the snapshot's name in the state folder.
const policyFile = "policy.json"

// rules are what is in force. They are replaced as a whole, never changed.
type rules struct {
	verifier.Rules
	// generation counts the rules in force in this process; verdicts are remembered by it.
	generation uint64
	// policy describes the snapshot without its content.
	policy policyInfo
	floor  string // the floor file in force; empty: none
	// broken, if not empty, says why nothing can be decided at all: the floor could never be read.
	broken string
	// stateProblem and floorProblem say what is wrong with the files now; the last good ones stay in force.
	stateProblem, floorProblem string
	problems                   []verifier.Problem
}

type policyInfo struct {
	Generation  uint64    `json:"generation"`
	WrittenAt   time.Time `json:"writtenAt"`
	Source      string    `json:"source"`
	Policies    int       `json:"policies"`
	Authorities int       `json:"authorities"`
	Allowlist   int       `json:"allowlist"`
	DryRun      bool      `json:"dryRun"`
}

// ruleStore keeps the rules in force up to date with the state folder and the floor file.
type ruleStore struct {
	stateDir, floorFile string
	exempt              []string
	log                 *slog.Logger

	current atomic.Pointer[rules]
	mu      sync.Mutex    // held while loading
	arrived chan struct{} // closed when the first snapshot is in force
	changed chan struct{} // has a signal when the rules in force are others
}

// newRuleStore reads the files once. What is missing or broken is remembered in the rules, not returned: a plugin
// without rules denies, it does not stay away.
func newRuleStore(stateDir, floorFile string, exempt []string, log *slog.Logger) *ruleStore {
	s := &ruleStore{stateDir: stateDir, floorFile: floorFile, exempt: exempt, log: log, arrived: make(chan struct{}), changed: make(chan struct{}, 1)}
	s.reload()
	return s
}

func (s *ruleStore) load() *rules { return s.current.Load() }

// reload reads both files and puts them in force if they changed. What cannot be read leaves the last good one.
func (s *ruleStore) reload() {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.current.Load()
	next := rules{}
	if old != nil {
		next = *old
	}
	changed := s.reloadFloor(old, &next)
	changed = s.reloadPolicy(old, &next) || changed
	if old != nil && !changed && next.stateProblem == old.stateProblem && next.floorProblem == old.floorProblem {
		return
	}
	if old == nil || changed {
		next.generation++
	}
	s.report(old, &next)
	s.current.Store(&next)
	if changed {
		select {
		case s.changed <- struct{}{}:
		default: // one is waiting already
		}
	}
	if next.Cluster != nil && (old == nil || old.Cluster == nil) {
		close(s.arrived)
	}
}

func (s *ruleStore) reloadFloor(old, next *rules) (changed bool) {
	floor, text, err := LoadFloor(s.floorFile, s.exempt...)
	if err != nil {
		next.floorProblem = err.Error()
		if old == nil {
			next.broken = next.floorProblem
			return true
		}
		return false
	}
	next.floorProblem = ""
	if old != nil && old.broken == "" && old.floor == text {
		return false
	}
	next.Floor, next.floor, next.broken = floor, text, ""
	return true
}

func (s *ruleStore) reloadPolicy(old, next *rules) (changed bool) {
	reader, err := nodestate.Open(s.stateDir)
	if err != nil {
		next.stateProblem = err.Error()
		return false
	}
	p, err := reader.Policy()
	if err != nil {
		next.stateProblem = err.Error()
		return false
	}
	next.stateProblem = ""
	if old != nil && old.Cluster != nil && old.policy.Generation == p.Generation && old.policy.WrittenAt.Equal(p.WrittenAt) {
		return false
	}
	next.Cluster, next.problems = verifier.Compile(p.Document)
	next.problems = nodestate.BoundProblems(next.problems)
	next.policy = policyInfo{
		Generation: p.Generation, WrittenAt: p.WrittenAt, Source: p.Source, DryRun: p.Document.DryRun,
		Policies: len(p.Document.Policies), Authorities: len(p.Document.Authorities), Allowlist: len(p.Document.Allowlist),
	}
	return true
}

// report logs what changed, once.
func (s *ruleStore) report(old, next *rules) {
	if next.stateProblem != "" && (old == nil || old.stateProblem != next.stateProblem) {
		inForce := "nothing is admitted outside the namespaces that the floor exempts"
		if next.Cluster != nil {
			inForce = "the last good policy stays in force"
		}
		s.log.Error("cannot read the policy snapshot", "problem", next.stateProblem, "inForce", inForce)
	}
	if next.floorProblem != "" && (old == nil || old.floorProblem != next.floorProblem) {
		s.log.Error("cannot read the floor", "problem", next.floorProblem, "deniesEverything", next.broken != "")
	}
	if next.Cluster != nil && (old == nil || old.policy != next.policy) {
		s.log.Info("policy in force", "generation", next.policy.Generation, "policies", next.policy.Policies,
			"authorities", next.policy.Authorities, "source", next.policy.Source)
		for i, p := range next.problems {
			if i == problemsLogged {
				s.log.Warn(fmt.Sprintf("and %d more problems; see kritis status", len(next.problems)-i))
				break
			}
			s.log.Warn("policy has a problem", "object", p.Object, "field", p.Field, "code", p.Code, "problem", p.Text)
		}
		if next.policy.DryRun {
			s.log.Warn("dry run is on for the whole cluster: images that fail are let through")
		}
	}
}

// run keeps the rules up to date until ctx ends.
func (s *ruleStore) run(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the state folder: %w", err)
	}
	defer watcher.Close()
	tick := time.NewTicker(rereadEvery)
	defer tick.Stop()
	seen := fingerprint{}
	for {
		// Added every time: a folder that was deleted and made again needs a new watch.
		for _, dir := range []string{s.stateDir, filepath.Dir(s.floorFile)} {
			if err := watcher.Add(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
				s.log.Debug("cannot watch a folder, it is read every few seconds instead", "folder", dir, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-watcher.Events:
			if !ok {
				return nil
			}
		case err := <-watcher.Errors:
			s.log.Debug("watching the rules' files", "error", err)
		case <-tick.C:
		}
		// Cheap to look at, so that thousands of attestation records do not make us parse the policy each time.
		if now := s.fingerprint(); now != seen {
			seen = now
			s.reload()
		}
	}
}

// fingerprint tells whether the files may have changed, or whether they can be trusted now.
type fingerprint struct{ stateDir, policy, floor fileStamp }

type fileStamp struct {
	inode   uint64
	size    int64
	changed time.Time
	mode    os.FileMode
	owner   uint32
	missing bool
}

func (s *ruleStore) fingerprint() fingerprint {
	dir := stamp(s.stateDir)
	dir.size, dir.changed = 0, time.Time{} // those change with every attestation record
	return fingerprint{dir, stamp(filepath.Join(s.stateDir, policyFile)), stamp(s.floorFile)}
}

func stamp(path string) fileStamp {
	info, err := os.Stat(path)
	if err != nil {
		return fileStamp{missing: true}
	}
	st := fileStamp{size: info.Size(), changed: info.ModTime(), mode: info.Mode()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		st.inode, st.owner = sys.Ino, sys.Uid
	}
	return st
}
