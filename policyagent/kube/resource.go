package kube

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const (
	// listTimeout bounds a whole list, answerTimeout how long the first byte of a watch may take.
	listTimeout   = 60 * time.Second
	answerTimeout = 30 * time.Second
	// watchGrace is how much longer than asked for a watch may last. Its end is the API server's duty.
	watchGrace = 30 * time.Second
	// retryCap is the longest pause before the API server is asked again, as long again at random not counted. A Reflector's own
	// is three times that, in which this node would not hear of a policy.
	retryInit, retryCap = 800 * time.Millisecond, 10 * time.Second
	// absentPause is how often a kind that is not installed is looked for.
	absentPause = 5 * time.Second
)

// errAbsent ends the watch of a kind that is not installed.
var errAbsent = errors.New("the kind is not installed")

// resource is one kind of object at the API server.
type resource struct {
	client rest.Interface
	// name is that of the metrics: attestationauthorities.
	name string
	// group and version as in apiVersion; a kind of Kubernetes itself has no group.
	group, version, kind string
	// namespace limits a list to one; empty: all. What watches takes all.
	namespace     string
	fieldSelector string
	limits        limits
	// decode returns what matters of an object. It never fails: what cannot be read is part of what matters.
	decode func(id identity, raw []byte) any
	store  *store
	// retry ends the pause after a failure.
	retry chan struct{}
}

// limits of a kind. One more is an error, and what was known stays.
type limits struct {
	objects int
	bytes   int // of JSON
}

func (r *resource) apiVersion() string {
	if r.group == "" {
		return r.version
	}
	return r.group + "/" + r.version
}

func (r *resource) path() string {
	return path(r.group, r.version, r.namespace, r.name)
}

// run keeps the store up to date until the context ends.
func (r *resource) run(ctx context.Context) {
	for ctx.Err() == nil {
		r.reflect(ctx)
	}
}

// reflect runs a Reflector until the context ends, or until its pauses shall begin anew.
func (r *resource) reflect(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		defer cancel()
		select {
		case <-ctx.Done():
		case <-r.retry:
		}
	})
	// What fails is told by the store: the Reflector's own log would say it again in other words.
	silent := logr.Discard()
	reflector := cache.NewReflectorWithOptions(&lister{r, ctx}, nil, r.store, cache.ReflectorOptions{
		Name: r.name, TypeDescription: r.kind, Logger: &silent,
		Backoff: &wait.Backoff{Duration: retryInit, Cap: retryCap, Steps: 10, Factor: 2, Jitter: 1},
	})
	reflector.RunWithContext(klog.NewContext(ctx, silent))
}

// lister lists and watches for a Reflector.
type lister struct {
	*resource
	// ctx is run's. A Reflector lists without one, and would leave a list that hangs behind.
	ctx context.Context
}

// IsWatchListSemanticsUnSupported makes the Reflector begin with a list, whose completeness is plain to see.
func (l *lister) IsWatchListSemanticsUnSupported() bool { return true }

// List implements cache.ListerWatcher.
func (l *lister) List(o metav1.ListOptions) (runtime.Object, error) {
	return l.ListWithContext(l.ctx, o)
}

// ListWithContext returns all objects. The options are those of a Reflector, which would take less than all of them, or
// older ones.
func (l *lister) ListWithContext(context.Context, metav1.ListOptions) (_ runtime.Object, err error) {
	defer survive(&err)
	defer l.store.ask()()
	ctx, cancel := context.WithTimeoutCause(l.ctx, listTimeout, fmt.Errorf("no answer within %s", listTimeout))
	defer cancel()
	all, err := l.list(ctx)
	if apierrors.IsNotFound(err) && l.group != "" {
		if all, err = l.listAbsent(ctx, err); err == nil {
			l.store.reached(errAbsent)
			return all, nil
		}
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	l.store.reached(err)
	return all, err
}

// Watch implements cache.ListerWatcher.
func (l *lister) Watch(o metav1.ListOptions) (watch.Interface, error) {
	return l.WatchWithContext(l.ctx, o)
}

// WatchWithContext begins a watch where the last list or watch ended.
func (l *lister) WatchWithContext(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	if l.store.absent() {
		select {
		case <-ctx.Done():
		case <-time.After(absentPause):
		}
		return nil, errAbsent
	}
	defer l.store.ask()()
	timeout := 5 * time.Minute
	if o.TimeoutSeconds != nil {
		timeout = time.Duration(*o.TimeoutSeconds) * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout+watchGrace)
	late := time.AfterFunc(answerTimeout, cancel)
	body, err := l.request().
		Param("watch", "true").Param("allowWatchBookmarks", "true").
		Param("resourceVersion", o.ResourceVersion).Param("timeoutSeconds", strconv.Itoa(int(timeout.Seconds()))).
		Stream(ctx)
	if !late.Stop() && err == nil {
		err = errors.Join(fmt.Errorf("no answer within %s", answerTimeout), body.Close())
	}
	if err != nil {
		cancel()
		l.store.reached(err)
		return nil, err
	}
	l.store.reached(nil)
	l.store.follow(true)
	return watch.NewStreamWatcherWithLogger(logr.Discard(), newStream(l.resource, body, cancel), reporter{}), nil
}

func (r *resource) request() *rest.Request {
	req := r.client.Get().AbsPath(r.path())
	if r.fieldSelector != "" {
		req = req.Param("fieldSelector", r.fieldSelector)
	}
	return req
}

// reporter turns what ends a stream into what makes a Reflector list again.
type reporter struct{}

func (reporter) AsObject(err error) runtime.Object {
	status := apierrors.NewResourceExpired(err.Error()).Status()
	return &status
}

// survive turns a panic into an error: bytes from outside must not end the agent.
func survive(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("bug of this program, please report it: %v", p)
	}
}
