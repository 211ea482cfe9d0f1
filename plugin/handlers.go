package plugin

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"

	"github.com/kritis-node/kritis-node/verifier"
)

// handlers are the events of one connection to the runtime. NRI calls them one at a time, holding a lock of the
// whole node.
type handlers struct {
	plugin *Plugin
	stub   stub.Stub
	info   runtimeInfo // set by Configure, before any other event
}

// Configure implements stub.ConfigureInterface: it chooses the events by what the runtime can promise.
func (h *handlers) Configure(_ context.Context, _, runtime, version string) (api.EventMask, error) {
	h.info = newRuntimeInfo(runtime, version, h.stub.RuntimeNRIVersion(), h.stub.RequestTimeout())
	h.plugin.connected(h.info)
	return h.info.events(), nil
}

// Synchronize implements stub.SynchronizeInterface. It returns at once: its timeout covers the whole call, and a slow
// answer leaves a plugin that looks registered and is never asked.
func (h *handlers) Synchronize(_ context.Context, _ []*api.PodSandbox, containers []*api.Container) ([]*api.ContainerUpdate, error) {
	h.plugin.synchronized(len(containers))
	return nil, nil
}

// ValidateContainerAdjustment implements stub.ValidateContainerAdjustmentInterface. This is the last word: a
// runtime with validators denies when it gets no answer.
func (h *handlers) ValidateContainerAdjustment(ctx context.Context, req *api.ValidateContainerAdjustmentRequest) error {
	_, err := h.mayCreate(ctx, req.GetPod(), req.GetContainer())
	return err
}

// CreateContainer implements stub.CreateContainerInterface, for runtimes without validators only.
func (h *handlers) CreateContainer(ctx context.Context, pod *api.PodSandbox, ctr *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	_, err := h.mayCreate(ctx, pod, ctr)
	return nil, nil, err
}

func (h *handlers) mayCreate(ctx context.Context, pod *api.PodSandbox, ctr *api.Container) (*decision, error) {
	s := newSubject(pod, ctr)
	return h.answer(ctx, placeCreate, &s, func(ctx context.Context, now time.Time) *decision {
		return h.plugin.decideBound(ctx, h.info, &s, now)
	})
}

// StartContainer implements stub.StartContainerInterface: the second look, before the process runs. What was
// created while we were away is judged here, and the container's snapshot has to be made from what was approved.
func (h *handlers) StartContainer(ctx context.Context, pod *api.PodSandbox, ctr *api.Container) error {
	s := newSubject(pod, ctr)
	_, err := h.answer(ctx, placeStart, &s, func(ctx context.Context, now time.Time) *decision {
		made := h.plugin.decideBound(ctx, h.info, &s, now)
		if !made.admits() || made.unbound {
			return made
		}
		chain, err := h.plugin.contents.boundChain(ctx, s.bound)
		if err != nil {
			return couldNotTell(s.image, made.generation, verifier.RuntimeFailed, err.Error())
		}
		snap, err := h.plugin.contents.store.snapshot(ctx, s.containerID)
		switch {
		case errors.Is(err, errAbsent):
			return couldNotTell(s.image, made.generation, verifier.RuntimeFailed, textNoSnapshot)
		case err != nil:
			return couldNotTell(s.image, made.generation, verifier.RuntimeFailed, "read the container's snapshot: "+err.Error())
		case !snap.rests(chain):
			return mismatch(s.image, made.generation)
		}
		return made
	})
	return err
}

// mismatch is the decision when the container's file system is not the approved one.
func mismatch(image string, generation uint64) *decision {
	v := verifier.Verdict{Outcome: verifier.Denied, Reason: verifier.DigestMismatch, Detail: textOtherLayers}
	return &decision{verdict: v, image: image, message: verifier.Message(image, v), generation: generation}
}

// answer runs a decision within its time, turns whatever goes wrong into a denial, and records it.
func (h *handlers) answer(ctx context.Context, at place, s *subject, decide func(context.Context, time.Time) *decision) (*decision, error) {
	start := time.Now()
	remembered := true
	made := (*decision)(nil)
	if at == placeCreate {
		made = h.plugin.remembered(s, start)
	}
	if made == nil {
		remembered = false
		made = h.plugin.within(ctx, h.info.decisionTime(), s, start, decide)
	}
	h.plugin.record(entry{at: at, subject: s, decision: made, took: time.Since(start), remembered: remembered, time: start})
	if made.admits() {
		return made, nil
	}
	return made, errors.New(made.message)
}

// within runs decide in a goroutine of its own, so that even a disk that hangs cannot hold the runtime's lock beyond
// the time there is. The goroutine ends when the disk answers; until then it keeps one of a bounded number of places.
func (d *decider) within(ctx context.Context, limit time.Duration, s *subject, now time.Time, decide func(context.Context, time.Time) *decision) *decision {
	select {
	case d.underWay <- struct{}{}:
	default:
		return couldNotTell(s.image, 0, verifier.RuntimeFailed, textDeadline)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	result := make(chan *decision, 1)
	go func() {
		defer func() { <-d.underWay }()
		defer func() {
			if p := recover(); p != nil {
				d.rules.log.Error("panic while deciding, the container is denied", "panic", fmt.Sprint(p), "image", s.image, "stack", string(debug.Stack()))
				result <- couldNotTell(s.image, 0, verifier.Internal, textPanic)
			}
		}()
		result <- decide(ctx, now)
	}()
	// A little after the context's end: an answer that names what was slow beats the general one.
	timer := time.NewTimer(limit + limit/10)
	defer timer.Stop()
	select {
	case made := <-result:
		if made != nil {
			return made
		}
		return couldNotTell(s.image, 0, verifier.Internal, textPanic)
	case <-timer.C:
		return couldNotTell(s.image, 0, verifier.RuntimeFailed, textDeadline)
	}
}
