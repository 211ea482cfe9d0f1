package plugin

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/kritis-node/kritis-node/verifier"
)

const (
	// auditQueue bounds the decisions that wait to be written.
	auditQueue = 4096
	// auditWeight bounds the results in their evidence, of some 300 bytes each: while a disk hangs, denials that every authority
	// of many had to do with must not fill the memory.
	auditWeight = 4 * auditQueue
	// The audit log's size is bounded: 5 files of 32 MiB, some 300,000 decisions.
	auditFileMB = 32
	auditFiles  = 4
)

// entry is one decision on its way to the log.
type entry struct {
	time       time.Time
	at         place
	subject    *subject
	decision   *decision
	took       time.Duration
	remembered bool
}

// AuditLine is one line of the audit log: a decision with its evidence.
type AuditLine struct {
	Time      time.Time `json:"time"`
	Place     string    `json:"place"`
	Namespace string    `json:"namespace"`
	Pod       string    `json:"pod"`
	Container string    `json:"container"`
	// ID is the runtime's container ID.
	ID    string `json:"containerId"`
	Image string `json:"image"`
	// Digest and Config are what the runtime binds to the container; Chain is the chain ID of its layers, if known.
	Digest string `json:"digest,omitempty"`
	Config string `json:"config,omitempty"`
	Chain  string `json:"chain,omitempty"`
	// Admitted differs from the verdict's outcome in dry run only.
	Admitted bool             `json:"admitted"`
	Verdict  verifier.Verdict `json:"verdict"`
	// Rules is the generation of the rules in force in this process; Policy that of the policy snapshot.
	Rules  uint64 `json:"rules"`
	Policy uint64 `json:"policy"`
	// Remembered: the decision was repeated from memory. Digest and source of its attestations stand in the line in which
	// it was made.
	Remembered bool `json:"remembered,omitempty"`
	// TookMicros is how long the decision took, in microseconds.
	TookMicros int64 `json:"tookMicros"`
}

func (e entry) line(policy uint64) AuditLine {
	image := e.decision.image // differs from the container's for an image volume
	if image == "" {
		image = e.subject.image
	}
	return AuditLine{
		Time: e.time.UTC(), Place: string(e.at), Namespace: e.subject.namespace, Pod: e.subject.podName, Container: e.subject.container,
		ID: e.subject.containerID, Image: image, Digest: string(e.subject.bound.digest), Config: string(e.subject.bound.config),
		Chain: e.decision.chain, Admitted: e.decision.admits(), Verdict: e.decision.verdict,
		Rules: e.decision.generation, Policy: policy, Remembered: e.remembered, TookMicros: e.took.Microseconds(),
	}
}

// audit writes decisions to a file, off the create path.
type audit struct {
	file     string
	queue    chan entry
	out      io.WriteCloser
	counters *counters
	log      *slog.Logger
	policy   func() uint64
	// waiting are the results in the evidence of what is in the queue.
	waiting atomic.Int64
}

// newAudit writes to the file at path, rotated; an empty path writes nothing.
func newAudit(path string, c *counters, log *slog.Logger, policy func() uint64) *audit {
	a := &audit{file: path, queue: make(chan entry, auditQueue), counters: c, log: log, policy: policy}
	if path != "" {
		a.out = &lumberjack.Logger{Filename: path, MaxSize: auditFileMB, MaxBackups: auditFiles}
	}
	return a
}

// add hands a decision over without waiting: a slow disk must not delay containers. What is lost is counted.
func (a *audit) add(e entry) {
	if a.out == nil {
		return
	}
	weight := e.weight()
	if a.waiting.Add(weight) > auditWeight {
		a.waiting.Add(-weight)
		a.counters.auditDropped.Inc()
		return
	}
	select {
	case a.queue <- e:
	default:
		a.waiting.Add(-weight)
		a.counters.auditDropped.Inc()
	}
}

// weight is the number of results in the entry's evidence.
func (e entry) weight() int64 {
	n := 1
	for _, p := range e.decision.verdict.Policies {
		n += 1 + len(p.Authorities)
		for _, r := range p.Authorities {
			n += len(r.Attempts)
		}
	}
	return int64(n)
}

// run writes until ctx ends, then what is left in the queue.
func (a *audit) run(ctx context.Context) {
	if a.out == nil {
		return
	}
	defer a.out.Close()
	failing := false
	write := func(e entry) {
		a.waiting.Add(-e.weight())
		data, err := json.Marshal(e.line(a.policy()))
		if err == nil {
			_, err = a.out.Write(append(data, '\n'))
		}
		if err != nil {
			a.counters.auditFailed.Inc()
			if !failing {
				a.log.Error("cannot write the audit log; enforcement goes on", "error", err)
			}
		}
		failing = err != nil
	}
	for {
		select {
		case e := <-a.queue:
			write(e)
		case <-ctx.Done():
			for {
				select {
				case e := <-a.queue:
					write(e)
				default:
					return
				}
			}
		}
	}
}
