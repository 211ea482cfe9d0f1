package kubernetes

import (
	"os"
	"path/filepath"
	"testing"
)

// What is written to sheltered places is not on the host, and no longer there afterwards.
func TestHostIsSheltered(t *testing.T) {
	before := map[string]string{}
	for setting := range kernelSettings {
		content, err := os.ReadFile(setting)
		if err != nil {
			t.Fatal(err)
		}
		before[setting] = string(content)
	}
	dir, err := os.MkdirTemp("/run", "shelter-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	shelter, err := newShelter(dir)
	if err != nil {
		t.Fatal(err)
	}
	const file = "/var/lib/kritis-node-test-shelter/file"
	writeErr := os.MkdirAll(filepath.Dir(file), 0o755)
	if writeErr == nil {
		writeErr = os.WriteFile(file, nil, 0o644)
	}
	for setting, want := range kernelSettings {
		if content, err := os.ReadFile(setting); err != nil || string(content) != want+"\n" {
			t.Errorf("%s is %q, %v", setting, content, err)
		}
	}
	if err := shelter.close(); err != nil || writeErr != nil {
		t.Fatal(err, writeErr)
	}
	if _, err := os.Stat(file); err == nil {
		t.Errorf("%s is on the host", file)
	}
	for setting, want := range before {
		if content, err := os.ReadFile(setting); err != nil || string(content) != want {
			t.Errorf("%s was %q and is %q, %v", setting, want, content, err)
		}
	}
}
