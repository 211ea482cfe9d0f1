package policydir

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kritis-node/kritis-node/verifier"
)

type change struct {
	names string
	err   error
}

// watch watches until the test ends and returns what was seen.
func watch(t *testing.T, dir string) <-chan change {
	ctx, cancel := context.WithCancel(t.Context())
	changes, done := make(chan change, 100), make(chan error)
	go func() {
		done <- Folder(dir).Watch(ctx, func(d verifier.Document, _ []string, err error) {
			var names []string
			for _, p := range d.Policies {
				names = append(names, p.Name)
			}
			changes <- change{strings.Join(names, ","), err}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return changes
}

// await waits until the folder is seen with these policies; "!" is an error.
func await(t *testing.T, changes <-chan change, want string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case c := <-changes:
			if c.err == nil && c.names == want || c.err != nil && want == "!" {
				return
			}
		case <-deadline:
			t.Fatalf("%q was not seen", want)
		}
	}
}

func named(name string) string { return strings.Replace(policy, "name: p", "name: "+name, 1) }

func TestWatch(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "policies")
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	changes := watch(t, dir)
	await(t, changes, "!") // there is no folder yet
	check(os.Mkdir(dir, 0o755))
	put(t, dir, "f.yaml", named("one"))
	await(t, changes, "one")
	put(t, dir, "f.yaml", named("two"))
	await(t, changes, "two")
	put(t, dir, "f.yaml", "broken")
	await(t, changes, "!")
	put(t, dir, "f.yaml", named("three"))
	await(t, changes, "three")
	// An editor writes beside and renames.
	put(t, dir, ".f.yaml.swp", named("four"))
	check(os.Rename(dir+"/.f.yaml.swp", dir+"/f.yaml"))
	await(t, changes, "four")
	check(os.Remove(dir + "/f.yaml"))
	await(t, changes, "!")
	// The folder is made again.
	check(os.RemoveAll(dir))
	check(os.Mkdir(dir, 0o755))
	put(t, dir, "f.yaml", named("five"))
	await(t, changes, "five")
	put(t, dir, "f.yaml", named("six"))
	await(t, changes, "six")
	// Another folder takes its place.
	other := filepath.Join(parent, "other")
	check(os.Mkdir(other, 0o755))
	put(t, other, "f.yaml", named("seven"))
	check(os.Rename(dir, dir+".old"))
	check(os.Rename(other, dir))
	await(t, changes, "seven")
	put(t, dir, "f.yaml", named("eight"))
	await(t, changes, "eight")
	// A link takes its place, and is turned.
	for i, name := range []string{"nine", "ten"} {
		to := filepath.Join(parent, name)
		check(os.Mkdir(to, 0o755))
		put(t, to, "f.yaml", named(name))
		check(os.Symlink(to, dir+".new"))
		if i == 0 {
			check(os.RemoveAll(dir))
		}
		check(os.Rename(dir+".new", dir))
		await(t, changes, name)
		put(t, to, "f.yaml", named(name+"-changed"))
		await(t, changes, name+"-changed")
	}
}

// As kubelet mounts a ConfigMap: f.yaml -> ..data/f.yaml, ..data -> ..1, and later ..data -> ..2 at once.
func TestWatchConfigMap(t *testing.T) {
	dir := t.TempDir()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.Mkdir(dir+"/..1", 0o755))
	put(t, dir+"/..1", "f.yaml", named("one"))
	check(os.Symlink("..1", dir+"/..data"))
	check(os.Symlink("..data/f.yaml", dir+"/f.yaml"))
	changes := watch(t, dir)
	await(t, changes, "one")
	check(os.Mkdir(dir+"/..2", 0o755))
	put(t, dir+"/..2", "f.yaml", named("two"))
	check(os.Symlink("..2", dir+"/..data_tmp"))
	check(os.Rename(dir+"/..data_tmp", dir+"/..data"))
	check(os.RemoveAll(dir + "/..1"))
	await(t, changes, "two")
}

// Bursts are one change, a folder that never rests is read all the same, and one that is silent too.
func TestLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		changed, reads, done := make(chan struct{}, 1), make(chan time.Time, 100), make(chan struct{})
		go func() {
			defer close(done)
			loop(ctx, changed, func() { reads <- time.Now() })
		}()
		began := time.Now()
		if at := (<-reads).Sub(began); at != 0 {
			t.Errorf("the first read was after %s", at)
		}
		for range 3 {
			changed <- struct{}{}
			time.Sleep(quiet / 2)
		}
		if at := (<-reads).Sub(began); at != 2*quiet {
			t.Errorf("a burst of %s was read after %s", quiet, at)
		}
		began = time.Now()
		for range 12 {
			changed <- struct{}{}
			time.Sleep(patience / 12)
		}
		if at := (<-reads).Sub(began); at != patience {
			t.Errorf("what is never at rest was read after %s", at)
		}
		time.Sleep(2 * quiet)
		began = time.Now()
		for range len(reads) {
			<-reads
		}
		if at := (<-reads).Sub(began); at > rereadEvery {
			t.Errorf("what is silent was read after %s", at)
		}
		cancel()
		<-done
	})
}
