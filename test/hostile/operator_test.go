package hostile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// TestOperatorSurprised: the disk is full, and the clock is not what it was when the node wrote down what it knows. (State that is
// deleted, damaged or of a newer version is in test/e2e's TestStateDamaged.)
func TestOperatorSurprised(t *testing.T) {
	t.Parallel()
	s := startSite(t, stack.Options{}, func(s *site) []string {
		check(t, os.Mkdir(s.StateDir(), 0o755))
		check(t, unix.Mount("small", s.StateDir(), "tmpfs", 0, "size=1m,mode=755"))
		t.Cleanup(func() {
			// In use until agent and plugin have ended, which is after this.
			if err := unix.Unmount(s.StateDir(), unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		return nil
	})
	attested, other := s.pushSigned(t, "operator/attested"), s.push(t, "operator/other")
	expectStarts(t, s.run(t, prod, attested))
	expectDenied(t, s.run(t, prod, other))
	t.Run("disk full", func(t *testing.T) { s.testDiskFull(t, attested, other) })
	for name, by := range map[string]time.Duration{"clock a day back": 24 * time.Hour, "clock a day ahead": -24 * time.Hour} {
		t.Run(name, func(t *testing.T) { s.testClock(t, attested, other, by) })
	}
}

// testDiskFull: what is known goes on, a policy that cannot be written down does not come into force half, and all heals by itself
// when there is room.
func (s *site) testDiskFull(t *testing.T, attested, other string) {
	filler := filepath.Join(s.StateDir(), "filler")
	fill(t, filler)
	later := s.pushSigned(t, "operator/later")
	s.pull(t, later)
	write(t, filepath.Join(s.PolicyDir(), "late.yaml"), []byte(stack.Policy("late", "p", "", "nobody")))
	expectStarts(t, s.run(t, prod, attested))
	expectRefused(t, s.run(t, prod, other))
	s.startPlugin(t)
	expectStarts(t, s.run(t, prod, attested))
	expectRefused(t, s.run(t, prod, other))
	check(t, cluster.Await(t.Context(), "the agent to say so", func(context.Context) error {
		log, err := os.ReadFile(filepath.Join(s.Dir, "log", "agent.log"))
		if err == nil && !bytes.Contains(log, []byte("no space left on device")) {
			err = errors.New("its log does not")
		}
		return err
	}))
	check(t, os.Remove(filler))
	s.awaitStarts(t, prod, later)
	s.awaitRefused(t, "late", attested)
	expectDenied(t, s.run(t, prod, other))
}

// fill leaves no room on the file system of a file.
func fill(t *testing.T, file string) {
	t.Helper()
	f, err := os.Create(file)
	check(t, err)
	defer f.Close()
	for size := 64 << 10; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, unix.ENOSPC) {
			size /= 2
		} else {
			check(t, err)
		}
	}
}

// testClock writes into all that is kept on the node that it was written at another time, as a clock that jumped has it; a process
// measures by its own. What is attested starts, what is not does not, and news still arrives.
func (s *site) testClock(t *testing.T, attested, other string, by time.Duration) {
	later := s.push(t, "operator/clock")
	expectDenied(t, s.run(t, prod, later)) // now it is on record that there is no attestation
	check(t, s.Agent.Kill())
	check(t, s.Plugin.Kill())
	if n := s.redate(t, by); n < 3 {
		t.Fatalf("only %d files say when they were written", n)
	}
	check(t, s.StartPlugin(t.Context()))
	expectStarts(t, s.run(t, prod, attested))
	expectRefused(t, s.run(t, prod, other))
	expectRefused(t, s.run(t, prod, later))
	check(t, s.StartAgent(t.Context()))
	check(t, s.Sign(t.Context(), s.team, later))
	s.awaitStarts(t, prod, later)
	expectStarts(t, s.run(t, prod, attested))
	expectDenied(t, s.run(t, prod, other))
}

var stamp = regexp.MustCompile(`"[a-zA-Z]+At":"([^"]+)"`)

// redate moves all times in the files of the node's state, and returns how many files have any.
func (s *site) redate(t *testing.T, by time.Duration) (files int) {
	t.Helper()
	check(t, filepath.WalkDir(s.StateDir(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".json" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		line, body, _ := bytes.Cut(data, []byte("\n"))
		moved := stamp.ReplaceAllFunc(body, func(match []byte) []byte {
			text := stamp.FindSubmatch(match)[1]
			at, err := time.Parse(time.RFC3339Nano, string(text))
			check(t, err)
			return bytes.Replace(match, text, []byte(at.Add(by).Format(time.RFC3339Nano)), 1)
		})
		if bytes.Equal(moved, body) {
			return nil
		}
		files++
		var header map[string]any
		if err := json.Unmarshal(line, &header); err != nil {
			return err
		}
		sum := sha256.Sum256(moved)
		header["sha256"], header["size"] = hex.EncodeToString(sum[:]), len(moved)
		line, err = json.Marshal(header)
		if err != nil {
			return err
		}
		return os.WriteFile(path, append(append(line, '\n'), moved...), 0o644)
	}))
	return files
}
