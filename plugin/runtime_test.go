package plugin

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
)

func TestRuntimeInfo(t *testing.T) {
	for name, tc := range map[string]struct {
		nri                      string
		validators, image, fails bool
	}{
		"containerd 1.7":    {nri: "v0.8.0"},
		"containerd 2.1":    {nri: "0.8.0"},
		"containerd 2.2":    {nri: "v0.10.0", validators: true},
		"containerd 2.3":    {nri: "v0.12.0", validators: true},
		"containerd 2.4":    {nri: "v0.12.3", validators: true, image: true},
		"first with policy": {nri: "v0.12.4", validators: true, image: true, fails: true},
		"newer":             {nri: "v1.0.0", validators: true, image: true, fails: true},
		"unknown":           {nri: "unknown"},
		"empty":             {nri: ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRuntimeInfo("containerd", "v0", tc.nri, 2*time.Second)
			if r.Validators != tc.validators || r.ImageField != tc.image || r.FailurePolicy != tc.fails {
				t.Errorf("runtime = %+v", r)
			}
			mask := r.events()
			if !mask.IsSet(api.Event_START_CONTAINER) || mask.IsSet(api.Event_VALIDATE_CONTAINER_ADJUSTMENT) != tc.validators ||
				mask.IsSet(api.Event_CREATE_CONTAINER) == tc.validators {
				t.Errorf("events = %s", mask.PrettyString())
			}
		})
	}
}

func TestDecisionTimeIsBelowTheRuntimes(t *testing.T) {
	for _, timeout := range []time.Duration{0, 100 * time.Millisecond, 2 * time.Second, time.Minute} {
		runtimes := timeout
		if runtimes == 0 {
			runtimes = 2 * time.Second
		}
		if got := (runtimeInfo{RequestTimeout: timeout}).decisionTime(); got <= 0 || got > runtimes*6/10 {
			t.Errorf("decision time for a timeout of %s is %s", timeout, got)
		}
	}
}

func TestRequiredBy(t *testing.T) {
	const nri = "[plugins.'io.containerd.nri.v1.nri']\n[plugins.'io.containerd.nri.v1.nri'.default_validator]\n"
	for name, tc := range map[string]struct {
		config, dropIn string
		required       bool
		code           string
	}{
		"required":              {config: "version = 3\n" + nri + "enable = true\nrequired_plugins = ['other', 'kritis']\n", required: true},
		"by a drop-in":          {config: "version = 3\nimports = ['conf.d/*.toml']\n", dropIn: "version = 3\n" + nri + "enable = true\nrequired_plugins = ['kritis']\n", required: true},
		"validator is off":      {config: "version = 3\n" + nri + "required_plugins = ['kritis']\n", code: codeNotRequired},
		"others only":           {config: "version = 3\n" + nri + "enable = true\nrequired_plugins = ['kritis2']\n", code: codeNotRequired},
		"nothing":               {config: "version = 3\n", code: codeNotRequired},
		"pods may tolerate":     {config: "version = 3\n" + nri + "enable = true\nrequired_plugins = ['kritis']\ntolerate_missing_plugins_annotation = 'x'\n", required: true, code: codeTolerated},
		"NRI is off":            {config: "version = 3\n[plugins.'io.containerd.nri.v1.nri']\ndisable = true\n[plugins.'io.containerd.nri.v1.nri'.default_validator]\nenable = true\nrequired_plugins = ['kritis']\n", code: codeDisabled},
		"NRI is not loaded":     {config: "version = 3\ndisabled_plugins = ['io.containerd.nri.v1.nri']\n" + nri + "enable = true\nrequired_plugins = ['kritis']\n", code: codeDisabled},
		"not TOML":              {config: "version = ", code: codeUnknown},
		"version 2 of the file": {config: "version = 2\n" + nri + "enable = true\nrequired_plugins = ['kritis']\n", required: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "config.toml")
			write(t, path, tc.config)
			if tc.dropIn != "" {
				if err := os.Mkdir(filepath.Join(dir, "conf.d"), 0o755); err != nil {
					t.Fatal(err)
				}
				write(t, filepath.Join(dir, "conf.d", "a.toml"), tc.dropIn)
			}
			required, gaps := requiredBy(t.Context(), path, Name)
			code := ""
			if len(gaps) > 0 {
				code = gaps[0].Code
			}
			if required != tc.required || code != tc.code {
				t.Errorf("required = %v, gaps %+v", required, gaps)
			}
		})
	}
	if required, gaps := requiredBy(t.Context(), filepath.Join(t.TempDir(), "none"), Name); required || len(gaps) != 1 || gaps[0].Code != codeUnknown {
		t.Errorf("without a file: required = %v, gaps %+v", required, gaps)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
