package policyagent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

// policyFile is the snapshot's name in the state folder.
const policyFile = "policy.json"

// maxPolicyError bounds in bytes what the status says of a folder full of mistakes.
const maxPolicyError = 16 << 10

// applyPolicy makes what a source of policies says the policy in force. An error changes nothing but the status.
func (a *Agent) applyPolicy(document verifier.Document, notices []string, err error) {
	if err != nil {
		a.log.Error("policies cannot be loaded; the last good ones stay in force", "source", a.config.Policies.Name(), "error", err)
		a.pending.setBroken(err)
		a.status.policyFailed(err)
		return
	}
	for _, n := range notices {
		a.log.Warn("policies loaded with a notice", "notice", n)
	}
	document.DryRun = document.DryRun || a.config.UnsafeDryRun
	a.status.policyNotices(notices)
	next := said{document: document}
	if s, ok := a.config.Policies.(problemSource); ok {
		next.problems = s.Problems()
	}
	a.pending.set(next)
	a.pending.retry(a)
	a.prefetch.govern(document)
}

// said is what a source says: a policy, and what in it the source could not understand.
type said struct {
	document verifier.Document
	problems []verifier.Problem
}

// pending is a policy that is not yet on disk. A source tells each change once, and a disk may be full for a while.
type pending struct {
	mu   sync.Mutex
	said *said
	// broken is why the source has nothing newer, if that is so.
	broken error

	// written is what was written last, under this generation, and seen the file that was found to hold it.
	written    *said
	generation uint64
	seen       os.FileInfo
}

func (p *pending) set(s said) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said, p.broken = &s, nil
}

func (p *pending) setBroken(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = err
}

// retry writes the pending policy, if there is one. It stays pending if that fails.
func (p *pending) retry(a *Agent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.said == nil {
		return
	}
	generation, err := a.writePolicy(*p.said)
	if err != nil {
		a.log.Error("policies cannot be written; the last good ones stay in force", "error", err)
		a.status.policyFailed(err)
		return
	}
	p.written, p.generation, p.seen = p.said, generation, nil
	p.said = nil
	a.status.inForce()
	if p.broken != nil {
		a.status.policyFailed(p.broken)
	}
}

// restore makes the policy pending again if somebody, or a disk, took away or spoilt what was written. The source will not say it
// again, and a plugin that is started without it denies everything.
func (p *pending) restore(a *Agent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.said != nil || p.written == nil {
		return
	}
	info, err := os.Stat(filepath.Join(a.config.StateDir, policyFile))
	if err == nil && p.seen != nil && os.SameFile(info, p.seen) && info.Size() == p.seen.Size() && info.ModTime().Equal(p.seen.ModTime()) {
		return
	}
	last, readErr := a.state.Policy()
	if err == nil && readErr == nil && last.Generation == p.generation {
		p.seen = info
		return
	}
	a.log.Error("the policies in the state folder are not those that were written; writing them again", "generation", p.generation, "found", last.Generation, "error", readErr)
	p.said = p.written
}

// writePolicy writes a snapshot if it differs from the one on disk. Generations are what verdicts are cached by, so a
// restart alone does not make a new one. It returns the generation that is on disk.
func (a *Agent) writePolicy(s said) (uint64, error) {
	document := s.document
	_, problems := verifier.Compile(document)
	problems = nodestate.BoundProblems(slices.Concat(s.problems, problems))
	next := nodestate.Policy{WrittenAt: time.Now().UTC(), Source: a.config.Policies.Name(), Document: document, Problems: problems}
	last, err := a.state.Policy()
	if err == nil && samePolicy(last, next) {
		a.status.policyLoaded(last)
		a.log.Info("policies are unchanged", "generation", last.Generation)
		return last.Generation, nil
	}
	next.Generation = a.state.NextGeneration(next.WrittenAt)
	if err := a.state.WritePolicy(next); err != nil {
		return 0, err
	}
	a.status.policyLoaded(next)
	a.log.Info("policies changed", "generation", next.Generation, "authorities", len(document.Authorities),
		"policies", len(document.Policies), "allowlist", len(document.Allowlist), "problems", len(problems))
	for i, p := range problems {
		if i == 20 {
			a.log.Warn(fmt.Sprintf("and %d more problems; see kritis status", len(problems)-i))
			break
		}
		a.log.Warn("policy cannot be used as written", "object", p.Object, "field", p.Field, "code", p.Code, "problem", p.Text)
	}
	return next.Generation, nil
}

// samePolicy compares what policies say. In JSON, because what is read back has lost the difference between an empty
// list and none.
func samePolicy(p, q nodestate.Policy) bool {
	type content struct {
		Source   string
		Document verifier.Document
		Problems []verifier.Problem `json:",omitempty"`
	}
	a, err := json.Marshal(content{p.Source, p.Document, p.Problems})
	if err != nil {
		return false
	}
	b, err := json.Marshal(content{q.Source, q.Document, q.Problems})
	return err == nil && bytes.Equal(a, b)
}
