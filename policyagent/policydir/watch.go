package policydir

import (
	"context"
	"fmt"
	"path/filepath"
	"reflect"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/kritis-node/kritis-node/verifier"
)

const (
	// quiet is how long nothing must happen before the folder is read: editors and kubectl cp write in steps.
	quiet = 200 * time.Millisecond
	// patience is how long a folder that never comes to rest is waited for.
	patience = 2 * time.Second
	// rereadEvery finds what notifications miss: network file systems, files linked from elsewhere.
	rereadEvery = 30 * time.Second
)

// Folder is a folder of policies, as a source for the policy agent.
type Folder string

// Name returns "folder" and its path.
func (f Folder) Name() string { return "folder " + string(f) }

// Watch calls onChange with the folder's policy and notices, or with why it cannot be read: once at the beginning,
// and whenever that has changed. It returns when the context ends, with nil. Calls come one at a time.
func (f Folder) Watch(ctx context.Context, onChange func(verifier.Document, []string, error)) error {
	dir, err := filepath.Abs(string(f))
	if err != nil {
		return fmt.Errorf("policy folder %s: %w; name it by its whole path", f, err)
	}
	w := newWatcher(dir)
	defer w.close()
	var last *outcome
	loop(ctx, w.changed, func() {
		// First watch, then read: what changes in between is seen.
		notice := w.arm()
		c, err := Read(dir)
		if notice != "" && err == nil {
			c.Notices = append(c.Notices, notice)
		}
		if now := (outcome{c, err}); last == nil || !last.equal(now) {
			last = &now
			onChange(c.Document, c.Notices, err)
		}
	})
	return nil
}

type outcome struct {
	contents Contents
	err      error
}

func (o outcome) equal(p outcome) bool {
	if (o.err == nil) != (p.err == nil) || o.err != nil && o.err.Error() != p.err.Error() {
		return false
	}
	return reflect.DeepEqual(o.contents, p.contents)
}

// loop calls reload at the beginning, after each burst of changes, and now and then.
func loop(ctx context.Context, changed <-chan struct{}, reload func()) {
	slow := time.NewTicker(rereadEvery)
	defer slow.Stop()
	for {
		reload()
		select {
		case <-ctx.Done():
			return
		case <-slow.C:
		case <-changed:
			settle(ctx, changed)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// settle waits until nothing has changed for a moment, or patience ends.
func settle(ctx context.Context, changed <-chan struct{}) {
	enough := time.After(patience)
	for {
		select {
		case <-ctx.Done():
			return
		case <-enough:
			return
		case <-time.After(quiet):
			return
		case <-changed:
		}
	}
}

// watcher turns notifications about a folder into one signal.
type watcher struct {
	dir     string
	inotify *fsnotify.Watcher // nil if there is none to be had
	err     error
	changed chan struct{}
	done    chan struct{}
}

func newWatcher(dir string) *watcher {
	w := &watcher{dir: dir, changed: make(chan struct{}, 1), done: make(chan struct{})}
	w.inotify, w.err = fsnotify.NewWatcher()
	if w.err != nil {
		close(w.done)
		return w
	}
	go w.pump()
	return w
}

// pump passes on what concerns the folder. It ends when the notifications do.
func (w *watcher) pump() {
	defer close(w.done)
	for {
		select {
		case e, ok := <-w.inotify.Events:
			if !ok {
				return
			}
			if name := filepath.Clean(e.Name); name != w.dir && filepath.Dir(name) != w.dir {
				continue // a neighbour in the folder above
			}
		case _, ok := <-w.inotify.Errors:
			if !ok {
				return
			}
			// Some were lost: read again.
		}
		select {
		case w.changed <- struct{}{}:
		default: // a signal is waiting already
		}
	}
}

// arm watches the folder, which may be another one than before under the same name, and the folder above, which tells
// when it is made again. It returns a notice if that does not work; then the slow reading remains.
func (w *watcher) arm() string {
	err := w.err
	if err == nil {
		err = w.inotify.Add(filepath.Dir(w.dir))
		if e := w.inotify.Add(w.dir); e != nil {
			err = e
		}
	}
	if err != nil {
		return fmt.Sprintf("changes of %s are seen every %s only: %v", w.dir, rereadEvery, err)
	}
	return ""
}

func (w *watcher) close() {
	if w.inotify != nil {
		_ = w.inotify.Close()
	}
	<-w.done
}
