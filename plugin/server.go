package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/kritis-node/kritis-node/policyagent/nodestate"
	"github.com/kritis-node/kritis-node/verifier"
)

// DefaultSocket is where the plugin answers `kritis status` and `kritis explain`.
const DefaultSocket = "/run/kritis/plugin.sock"

// maxQuestion bounds the body of a request to the status socket in bytes.
const maxQuestion = 16 << 10

// Status is what `kritis status` shows.
type Status struct {
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	// Placement is PlacementHost or PlacementPod.
	Placement Placement `json:"placement"`
	// Revision is what the installer of a host service calls this installation.
	Revision string `json:"revision,omitempty"`
	// Required says whether the runtime requires the plugin, as its configuration was at the last registration.
	Required bool `json:"required"`
	// Mode is ModeEnforcing, ModeBestEffort or ModeWaiting; Gaps say why it is not the first.
	Mode string `json:"mode"`
	Gaps []gap  `json:"gaps,omitempty"`
	// Registered says whether the runtime has us on its list now, since when, and if not, why.
	Registered bool        `json:"registered"`
	Since      time.Time   `json:"since,omitzero"`
	LastError  string      `json:"lastError,omitempty"`
	Runtime    runtimeInfo `json:"runtime"`
	// Synchronized is when the runtime told us of its containers. A moment later it begins to ask us; Asked says that it has
	// done so.
	Synchronized time.Time `json:"synchronized,omitzero"`
	Asked        bool      `json:"asked"`
	// Policy is the snapshot in force; Generation 0 means that none ever arrived.
	Policy       policyInfo         `json:"policy"`
	StateProblem string             `json:"stateProblem,omitempty"`
	Floor        string             `json:"floor"`
	FloorProblem string             `json:"floorProblem,omitempty"`
	Problems     []verifier.Problem `json:"problems,omitempty"`
	// Decisions counts since start, by outcome.
	Decisions map[string]uint64 `json:"decisions"`
	// Recent are the latest containers that did not pass, oldest first.
	Recent []AuditLine `json:"recent,omitempty"`
	// Running is what is known of the containers that run already.
	Running nodestate.Running `json:"running"`
	// Agent is what the policy agent last wrote about itself, if anything.
	Agent *nodestate.Status `json:"agent,omitempty"`
	// AgentProblem says why nothing is known of the agent.
	AgentProblem string `json:"agentProblem,omitempty"`
}

// Question is what `kritis explain` asks.
type Question struct {
	Namespace      string `json:"namespace"`
	Image          string `json:"image"`
	RuntimeHandler string `json:"runtimeHandler,omitempty"`
}

// Explanation is the answer: what this node would decide now, with all evidence.
type Explanation struct {
	Namespace string `json:"namespace"`
	Image     string `json:"image"`
	// Admitted differs from the verdict's outcome in dry run only.
	Admitted bool             `json:"admitted"`
	Message  string           `json:"message,omitempty"`
	Verdict  verifier.Verdict `json:"verdict"`
	// Basis says what the answer rests on: the image as it is on this node, or its name alone.
	Basis string `json:"basis"`
}

// serveStatus answers on the status socket until ctx ends.
func (p *Plugin) serveStatus(ctx context.Context) error {
	listener, err := nodestate.Listen(p.cfg.StatusSocket)
	if err != nil {
		return fmt.Errorf("status socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, p.status()) })
	mux.HandleFunc("POST /v1/explain", func(w http.ResponseWriter, req *http.Request) {
		var q Question
		dec := json.NewDecoder(http.MaxBytesReader(w, req.Body, maxQuestion))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&q); err != nil {
			http.Error(w, "cannot read the question: "+err.Error(), http.StatusBadRequest)
			return
		}
		answerJSON(w, p.explain(req.Context(), q, time.Now()))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.counters.registry, promhttp.HandlerOpts{}))
	server := &http.Server{
		Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("status socket: %w", err)
	}
	return nil
}

func answerJSON(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body) // the asker is gone; nobody is left to tell
}

func (p *Plugin) status() Status {
	mode, gaps := p.mode()
	r := p.rules.load()
	s := Status{
		Version: p.cfg.Version, Placement: p.cfg.Placement, Revision: p.cfg.Revision, Mode: mode, Gaps: gaps, Policy: r.policy, StateProblem: r.stateProblem, Floor: "default",
		FloorProblem: r.floorProblem, Problems: r.problems, Decisions: p.counters.totals(), Running: p.recheck.running(),
	}
	if r.floor != "" {
		s.Floor = p.cfg.FloorFile
	}
	p.state.mu.Lock()
	s.Required, s.Synchronized = p.state.required, p.state.synchronized
	s.Asked = !s.Synchronized.IsZero() && p.counters.decided() > p.state.decided
	s.Started, s.Registered, s.Since, s.LastError, s.Runtime = p.state.started, p.state.registered, p.state.since, p.state.lastError, p.state.runtime
	s.Recent = append(s.Recent, p.state.recent...)
	p.state.mu.Unlock()
	reader, err := nodestate.Open(p.cfg.StateDir)
	if err == nil {
		var agent nodestate.Status
		if agent, err = reader.Status(); err == nil {
			s.Agent = &agent
		}
	}
	if err != nil {
		s.AgentProblem = err.Error()
	}
	return s
}

// explain decides as for a container of the image, without starting one.
func (p *Plugin) explain(ctx context.Context, q Question, now time.Time) Explanation {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	e := Explanation{Namespace: q.Namespace, Image: q.Image, Basis: "the image's name alone: it is not on this node"}
	var view verifier.Content = namedContent{}
	if b, err := p.contents.locate(ctx, q.Image); err != nil {
		e.Basis, view = "nothing: "+err.Error(), failedContent{err}
	} else if b.config != "" {
		e.Basis = "the image as it is on this node, config " + string(b.config)
		view = &content{ctx: ctx, contents: p.contents, bound: b}
	}
	made := p.judge(ctx, p.rules.load(), verifier.Request{Namespace: q.Namespace, Image: q.Image, RuntimeHandler: q.RuntimeHandler, Now: now}, view)
	e.Verdict, e.Admitted, e.Message = made.verdict, made.admits(), made.message
	return e
}

// namedContent believes that the name leads to what runs, for images that are not on this node.
type namedContent struct{}

func (namedContent) Digests(ref verifier.Reference) ([]verifier.Digest, error) {
	if ref.Digest == "" {
		return nil, nil
	}
	return []verifier.Digest{ref.Digest}, nil
}
func (namedContent) Named(verifier.Reference) (bool, error) { return true, nil }

// locate finds what a container of the image would be bound to on this node; nothing if the image is not here.
func (c *contents) locate(ctx context.Context, image string) (bound, error) {
	ref, err := verifier.ParseReference(image)
	if err != nil {
		return bound{}, nil // the decision says what is wrong with it
	}
	start := ref.Digest
	if start == "" {
		records, err := c.store.images(ctx)
		if err != nil {
			return bound{}, fmt.Errorf("list the runtime's images: %w", err)
		}
		for _, r := range records {
			if have, err := verifier.ParseReference(r.name); err == nil && have.Repository == ref.Repository && have.Tag == ref.Tag {
				start = r.target
			}
		}
	}
	if start == "" {
		return bound{}, nil
	}
	found := bound{digest: start}
	_, err = c.search(func(config verifier.Digest) (bool, error) {
		if _, err := c.chain(ctx, config); err != nil {
			return false, nil //nolint:nilerr // a platform that was not pulled
		}
		found.config = config
		return true, nil
	}).from(ctx, start, 0)
	return found, err
}
