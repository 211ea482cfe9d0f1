package nodestate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A power cut leaves a prefix of the new content under the temporary name, or, on a disk that lied about its sync, a
// prefix or zeros in place of the file.
func TestPowerCut(t *testing.T) {
	w := newWriter(t)
	before, after := testPolicy(1), testPolicy(2)
	if err := w.WritePolicy(before); err != nil {
		t.Fatal(err)
	}
	content, err := encode(kindPolicy, after, MaxPolicySize)
	if err != nil {
		t.Fatal(err)
	}
	temp := filepath.Join(w.dir, ".kritis-123.tmp")
	for n := range len(content) + 1 {
		if err := os.WriteFile(temp, content[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := w.Policy(); err != nil || !cmp.Equal(got, before) {
			t.Fatalf("%d bytes under the temporary name: %v, generation %d", n, err, got.Generation)
		}
	}
	final := filepath.Join(w.dir, policyFile)
	for n := range len(content) {
		for what, damaged := range map[string][]byte{
			"truncated":        content[:n],
			"zeros at the end": append(bytes.Clone(content[:n]), make([]byte, len(content)-n)...),
			"a bit flipped":    flip(content, n),
		} {
			if err := os.WriteFile(final, damaged, 0o644); err != nil {
				t.Fatal(err)
			}
			got, err := w.Policy()
			// A flipped bit may turn the version into a higher one.
			if !errors.Is(err, ErrCorrupt) && (what != "a bit flipped" || !errors.Is(err, ErrNewer)) {
				t.Fatalf("%s at %d: %v, generation %d", what, n, err, got.Generation)
			}
		}
	}
	if err := os.WriteFile(final, append(bytes.Clone(content), 'x'), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Policy(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("one byte too many: %v", err)
	}
	// The next writer cleans up, a reader never does.
	if _, err := Open(w.dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(temp); err != nil {
		t.Errorf("after a reader opened the folder: %v", err)
	}
	inRecords := filepath.Join(w.dir, recordFolder, "ab", ".kritis-4.tmp")
	if err := errors.Join(os.MkdirAll(filepath.Dir(inRecords), 0o755), os.WriteFile(inRecords, nil, 0o600), w.Close()); err != nil {
		t.Fatal(err)
	}
	again, err := Create(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	for _, path := range []string{temp, inRecords} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s was not cleaned up: %v", path, err)
		}
	}
}

func flip(content []byte, n int) []byte {
	c := bytes.Clone(content)
	c[n] ^= 1
	return c
}

// Whoever has the old file open goes on seeing the old file: it is replaced, never written into.
func TestFilesAreReplaced(t *testing.T) {
	w := newWriter(t)
	for name, write := range map[string]func(n uint64) error{
		policyFile:                             func(n uint64) error { return w.WritePolicy(testPolicy(n)) },
		statusFile:                             func(n uint64) error { return w.WriteStatus(Status{PID: int(n)}) },
		recordPath(testRepository, testDigest): func(n uint64) error { return w.WriteRecord(testRecord(fmt.Sprint(n))) },
	} {
		if err := write(1); err != nil {
			t.Fatal(err)
		}
		old, err := os.Open(filepath.Join(w.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer old.Close()
		before, err := os.ReadFile(old.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := write(2); err != nil {
			t.Fatal(err)
		}
		if after, err := io.ReadAll(old); err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s was written into: %q (%v)", name, after, err)
		}
	}
}

func TestWriteLeavesNoTemporaryFile(t *testing.T) {
	w := newWriter(t)
	for g := range uint64(3) {
		if err := w.WritePolicy(testPolicy(g + 1)); err != nil {
			t.Fatal(err)
		}
	}
	// A folder in the file's place makes the rename fail.
	if err := os.Mkdir(filepath.Join(w.dir, statusFile), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteStatus(Status{}); err == nil {
		t.Error("writing over a folder succeeded")
	}
	left, err := filepath.Glob(filepath.Join(w.dir, ".kritis-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	good, err := encode(kindPolicy, testPolicy(1), MaxPolicySize)
	if err != nil {
		t.Fatal(err)
	}
	change := func(old, new string) []byte { return bytes.Replace(good, []byte(old), []byte(new), 1) }
	unknown, err := encode(kindPolicy, map[string]any{"generation": 1, "exceptFor": "tuesdays"}, MaxPolicySize)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file []byte
		want error
		text string
	}{
		"empty":                     {nil, ErrCorrupt, "no header line"},
		"no newline":                {bytes.ReplaceAll(good, []byte("\n"), nil), ErrCorrupt, "no header line"},
		"header of 512 bytes":       {change(`{"kritis"`, `{`+strings.Repeat(" ", maxHeader)+`"kritis"`), ErrCorrupt, "no header line"},
		"header no JSON":            {change(`{"kritis"`, `{kritis`), ErrCorrupt, "its header is not"},
		"another kind":              {change(`"policy"`, `"agent"`), ErrCorrupt, `it holds "agent" where "policy" belongs`},
		"newer":                     {change(`"version":1`, `"version":2,"and":"more"`), ErrNewer, "it has version 2, this program knows version 1"},
		"version 0":                 {change(`"version":1`, `"version":0`), ErrCorrupt, "which never existed"},
		"size":                      {change(`"size":`, `"size":1`), ErrCorrupt, "its header announces"},
		"body":                      {change("folder x", "folder y"), ErrCorrupt, "checksum"},
		"a member not known":        {unknown, ErrNewer, "exceptFor"},
		"a header member not known": {change(`"version":1`, `"version":1,"and":"more"`), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var p Policy
			err := decode(c.file, kindPolicy, MaxPolicySize, &p)
			if !errors.Is(err, c.want) || (c.want != nil && !strings.Contains(err.Error(), c.text)) {
				t.Errorf("%v, want %v with %q", err, c.want, c.text)
			}
		})
	}
}

func TestReaderErrorsNameTheFileAndTheWayOut(t *testing.T) {
	w := newWriter(t)
	path := filepath.Join(w.dir, policyFile)
	for content, want := range map[string]string{
		"x":                                      path + ": corrupt: it has no header line; restart the policy agent, which writes it again",
		`{"kritis":"policy","version":9}` + "\n": path + ": written by a newer version: it has version 9, this program knows version 1; upgrade this program to the agent's version",
	} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Policy(); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	_, err := w.Status()
	if want := filepath.Join(w.dir, statusFile) + ": not found: the policy agent has not written it yet; see that it runs"; err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestSizeLimits(t *testing.T) {
	overhead := func(empty any) int {
		b, err := encode(kindRecord, empty, MaxRecordSize)
		if err != nil {
			t.Fatal(err)
		}
		return len(b) - bytes.IndexByte(b, '\n') - 1
	}
	w := newWriter(t)
	// A failure is plain text, so that the body's size can be chosen to the byte.
	record := func(n int) Record {
		r := Record{Repository: testRepository, Digest: testDigest, FetchedAt: testTime, Failures: []string{""}}
		r.Failures[0] = strings.Repeat("x", n-overhead(r))
		return r
	}
	if err := w.WriteRecord(record(MaxRecordSize)); err != nil {
		t.Errorf("a record of the limit: %v", err)
	}
	if _, err := w.Attestations(testRepository, testDigest); err != nil {
		t.Errorf("reading a record of the limit: %v", err)
	}
	if err := w.WriteRecord(record(MaxRecordSize + 1)); err == nil {
		t.Error("a record of one byte more was written")
	}
	big, err := encode(kindRecord, record(MaxRecordSize+1), MaxRecordSize+1)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.dir, recordPath(testRepository, testDigest))
	for n, file := range map[int][]byte{1: big, 2: append(big, make([]byte, 2*maxHeader)...)} {
		if err := os.WriteFile(path, file, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Attestations(testRepository, testDigest); !errors.Is(err, ErrCorrupt) {
			t.Errorf("reading %d: %v", n, err)
		}
	}

	policy := testPolicy(1)
	policy.Source = ""
	empty, err := encode(kindPolicy, policy, MaxPolicySize)
	if err != nil {
		t.Fatal(err)
	}
	policy.Source = strings.Repeat("x", MaxPolicySize-(len(empty)-bytes.IndexByte(empty, '\n')-1)-len(`"source":"",`))
	if err := w.WritePolicy(policy); err != nil {
		t.Errorf("a policy of the limit: %v", err)
	}
	if _, err := w.Policy(); err != nil {
		t.Errorf("reading a policy of the limit: %v", err)
	}
	policy.Generation, policy.Source = 2, policy.Source+"x"
	if err := w.WritePolicy(policy); err == nil || !strings.Contains(err.Error(), fmt.Sprint(MaxPolicySize)) {
		t.Errorf("a policy of one byte more: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, body := range []any{testPolicy(1), map[string]any{"x": 1}} {
		b, err := encode(kindPolicy, body, MaxPolicySize)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"kritis":"policy","version":2}` + "\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		var p Policy
		err := decode(file, kindPolicy, MaxPolicySize, &p)
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
			t.Errorf("an error without a kind: %v", err)
		}
		if err != nil {
			return
		}
		again, err := encode(kindPolicy, p, MaxPolicySize)
		if err != nil {
			t.Fatal(err)
		}
		var q Policy
		if err := decode(again, kindPolicy, MaxPolicySize, &q); err != nil {
			t.Errorf("what was read cannot be written and read again: %v", err)
		}
	})
}
