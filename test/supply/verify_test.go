package supply

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// verify signs an image of the registry as docs/supply-chain.md says, and runs what it says to those who verify; before the
// signature, and with another key, that must fail.
func verify(t *testing.T, host, digest string) {
	dir := t.TempDir()
	kritis, err := cluster.Build(t.Context(), "./cmd/kritis")
	if err != nil {
		t.Fatal(err)
	}
	tools, err := cluster.Tool(t.Context(), "cosign")
	if err != nil {
		t.Fatal(err)
	}
	// The page's reader has a registry with TLS; this one has none, and kritis wants to be told. cosign knows by the address.
	write(t, filepath.Join(dir, "registries.yaml"), "hosts:\n- host: "+host+"\n  plainHTTP: true\n", 0o644)
	wrapper := filepath.Join(dir, "bin", "kritis")
	write(t, wrapper, "#!/bin/sh\nexec "+kritis+" \"$@\" --registry-config "+filepath.Join(dir, "registries.yaml")+"\n", 0o755)
	image := host + "/kritis-node@" + digest

	page, err := os.ReadFile("../../docs/supply-chain.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindSubmatch(page)
	if block == nil {
		t.Fatal("the page has no commands")
	}
	run := func(script, key string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "sh", "-euc", script)
		cmd.Dir = t.TempDir()
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(wrapper)+":"+tools+":"+os.Getenv("PATH"), "HOME="+dir, "image="+image, "key="+key)
		output, err := cmd.CombinedOutput()
		return string(output), err
	}
	release, other := newKey(t, filepath.Join(dir, "release")), newKey(t, filepath.Join(dir, "other"))
	if output, err := run(string(block[1]), release.Public); err == nil {
		t.Errorf("verified before it was signed: %s", output)
	}
	if output, err := run(`kritis sign --key "$key" "$image"`, release.Private); err != nil {
		t.Fatalf("signing: %v: %s", err, output)
	}
	if output, err := run(string(block[1]), release.Public); err != nil || !strings.Contains(output, "Attested") {
		t.Errorf("verifying: %v: %s", err, output)
	}
	// Each command by itself: with -e the first that fails ends the script.
	if output, err := run(string(block[1]), other.Public); err == nil {
		t.Errorf("verified with another key: %s", output)
	}
	cosign := regexp.MustCompile(`(?m)^cosign .*$`).FindString(string(block[1]))
	if output, err := run(cosign, other.Public); err == nil {
		t.Errorf("cosign verified with another key: %s", output)
	}
}

func newKey(t *testing.T, prefix string) stack.Key {
	t.Helper()
	key, err := stack.WriteKey(prefix)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}
