package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// startProgram runs the program until the test ends and returns what it exported.
func startProgram(t *testing.T, arguments ...string) map[string]string {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	reader, writer := io.Pipe()
	c := command(writer)
	c.SetArgs(arguments)
	ended := make(chan error, 1)
	go func() {
		err := c.ExecuteContext(ctx)
		_ = writer.CloseWithError(err)
		ended <- err
	}()
	t.Cleanup(func() {
		stop()
		check(t, <-ended)
	})
	exported := map[string]string{}
	lines := bufio.NewScanner(reader)
	for lines.Scan() && lines.Text() != "ready" {
		if rest, ok := strings.CutPrefix(lines.Text(), "export "); ok {
			variable, value, _ := strings.Cut(rest, "=")
			exported[variable] = strings.Trim(value, "'")
		}
	}
	check(t, lines.Err())
	return exported
}

// rpc calls an action as README.md does, with bash, curl and openssl: a third implementation of the signature.
func rpc(t *testing.T, variables map[string]string, arguments ...string) map[string]any {
	t.Helper()
	script := exec.CommandContext(t.Context(), "./rpc.sh", arguments...)
	script.Env = os.Environ()
	for variable, value := range variables {
		script.Env = append(script.Env, variable+"="+value)
	}
	script.Stderr = t.Output()
	out, err := script.Output()
	check(t, err)
	var answer map[string]any
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return answer
}

func TestProgram(t *testing.T) {
	for _, tool := range []string{"bash", "curl", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the session by hand needs %s", tool)
		}
	}
	folder := filepath.Join(t.TempDir(), "new")
	variables := startProgram(t, "--dir", folder)
	if answer := rpc(t, variables, "2016-01-20", "DescribeKey", "KeyId=alias/images"); answer["KeyMetadata"] == nil {
		t.Errorf("DescribeKey: %v", answer)
	}
	if answer := rpc(t, variables, "2018-12-03", "CreateAttestor", "Name=你好 *~+", "KeyId=key-example", "Remark=a=b&c"); answer["Code"] != nil {
		t.Errorf("CreateAttestor: %v", answer)
	}
	image, err := random.Image(64, 1)
	check(t, err)
	ref, err := name.ParseReference(variables["EMULATOR_REGISTRY"]+"/team/app:v1", name.Insecure)
	check(t, err)
	transport := remote.DefaultTransport.(interface{ CloseIdleConnections() })
	defer transport.CloseIdleConnections()
	check(t, remote.Write(ref, image))
	instances := rpc(t, variables, "2018-12-01", "ListInstance")["Instances"].([]any)
	id := instances[0].(map[string]any)["InstanceId"].(string)
	if answer := rpc(t, variables, "2018-12-01", "ListMetadataOccurrences", "InstanceId="+id, "NoteName=namespaces/builder"); answer["TotalCount"] != 4.0 {
		t.Errorf("ListMetadataOccurrences: %v", answer)
	}
	variables["ALIBABA_CLOUD_ACCESS_KEY_SECRET"] += "x"
	if answer := rpc(t, variables, "2018-12-01", "ListInstance"); answer["Code"] != "SignatureDoesNotMatch" {
		t.Errorf("wrong secret: %v", answer)
	}
	for _, file := range []string{"ca.pem", "alicloud.yaml", "environment"} {
		if _, err := os.Stat(filepath.Join(folder, file)); err != nil {
			t.Error(err)
		}
	}
}

func TestProgramRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.yaml")
	check(t, os.WriteFile(file, []byte("key: []\n"), 0o600))
	for name, test := range map[string]struct {
		arguments []string
		says      string
	}{
		"unknown field": {[]string{"--state", file}, "field key not found"},
		"no file":       {[]string{"--state", file + "x"}, "no such file"},
		"no URL":        {[]string{"--registry", "somewhere"}, "want a URL"},
		"no address":    {[]string{"--listen", "nowhere"}, "nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			c := command(io.Discard)
			c.SetArgs(test.arguments)
			if err := c.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}
