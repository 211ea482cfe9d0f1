package require

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kritis-node/kritis-node/daemonset/containerd"
	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/plugin/runtimeconfig"
)

// folder is a /etc/containerd with files; @ in them stands for its path.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(strings.ReplaceAll(text, "@", dir)), 0o640)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// snapshot returns all files below a folder with their content and mode.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		info, err2 := e.Info()
		all[strings.TrimPrefix(path, dir+"/")] = info.Mode().String() + "\n" + string(data)
		return errors.Join(err, err2)
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func loads(t *testing.T, dir string) runtimeconfig.Config {
	t.Helper()
	c, err := runtimeconfig.Load(t.Context(), filepath.Join(dir, "config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testdata(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

const (
	nri       = "[plugins.'io.containerd.nri.v1.nri']\n"
	validator = "[plugins.'io.containerd.nri.v1.nri'.default_validator]\n"
	imports   = "imports = ['@/conf.d/*.toml']\n"
)

// cases are configurations that can be made to require the plugin, and what is required then.
func cases(t *testing.T) map[string]struct {
	files map[string]string
	want  []string
} {
	type row = struct {
		files map[string]string
		want  []string
	}
	main := func(text string) map[string]string { return map[string]string{"config.toml": text} }
	return map[string]row{
		"containerd 2.3's default": {main(strings.ReplaceAll(testdata(t, "default-2.3.toml"), "/etc/containerd/conf.d", "@/conf.d")), []string{"kritis"}},
		"containerd 2.4's default": {main(strings.ReplaceAll(testdata(t, "default-2.4.toml"), "/etc/containerd/conf.d", "@/conf.d")), []string{"kritis"}},
		"version 2, by hand":       {main(testdata(t, "version2.toml")), []string{"kritis"}},
		"lines of another system":  {main(testdata(t, "crlf.toml")), []string{"kritis"}},
		"one line without an end":  {main(testdata(t, "bare.toml")), []string{"kritis"}},
		"version 4":                {main("version = 4\n"), []string{"kritis"}},
		"folder imported":          {main("version = 3\n" + imports + nri + "disable = false\n"), []string{"kritis"}},
		"imported relatively":      {main("version = 3\nimports = ['conf.d/*.toml']\n"), []string{"kritis"}},
		"others required": {map[string]string{
			"config.toml":        "version = 3\n" + imports,
			"conf.d/10-own.toml": "version = 3\n" + validator + "enable = true\nrequired_plugins = ['ulimits', 'other']\n",
		}, []string{"ulimits", "other", "kritis"}},
		"others named, and not required": {main("version = 3\n" + imports + validator + "enable = false\nrequired_plugins = ['ulimits']\n"), []string{"kritis"}},
		"later file about something else": {map[string]string{
			"config.toml": "version = 3\n" + imports, "conf.d/99-last.toml": "version = 3\n" + nri + "plugin_request_timeout = '3s'\n",
		}, []string{"kritis"}},
		"half done: the file is there, and not imported": {map[string]string{
			"config.toml": "version = 3\n", "conf.d/90-kritis-required.toml": dropInText(nil),
		}, []string{"kritis"}},
		"settings of the validator that stay": {main("version = 3\n" + validator + "enable = true\nreject_oci_hook_adjustment = true\n"), []string{"kritis"}},
	}
}

// TestRequireAndUndo makes each configuration require the plugin, lets containerd's loader say so, and undoes it: then
// every file but backups is as it was, to the byte and the mode.
func TestRequireAndUndo(t *testing.T) {
	for name, tc := range cases(t) {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, tc.files)
			config := filepath.Join(dir, "config.toml")
			before := snapshot(t, dir)
			p, err := PlanRequire(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			if now := snapshot(t, dir); !reflect.DeepEqual(now, before) {
				t.Fatal("planning changed something: " + cmp.Diff(before, now))
			}
			backups, err := p.Apply(time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if got := loads(t, dir); !slices.Equal(got.Required, tc.want) || !got.Requires(plugin.Name) {
				t.Errorf("required: %v, want %v", got, tc.want)
			}
			for _, b := range backups {
				original := strings.SplitN(strings.TrimPrefix(b, dir+"/"), ".kritis-", 2)[0]
				if got := snapshot(t, dir)[strings.TrimPrefix(b, dir+"/")]; got != before[original] {
					t.Errorf("the backup of %s is not what it was", original)
				}
				if err := os.Remove(b); err != nil {
					t.Fatal(err)
				}
			}
			if again, err := PlanRequire(t.Context(), config); err != nil || len(again.Changes) > 0 {
				t.Errorf("again: %v, %v", again, err)
			}
			u, err := PlanUndo(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			backups, err = u.Apply(time.Now())
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range backups {
				if err := os.Remove(b); err != nil {
					t.Fatal(err)
				}
			}
			delete(before, "conf.d/90-kritis-required.toml") // of the row that is half done
			if after := snapshot(t, dir); !reflect.DeepEqual(after, before) {
				t.Error("undoing is not exact: " + cmp.Diff(before, after))
			}
			if loads(t, dir).Requires(plugin.Name) {
				t.Error("it is required still")
			}
		})
	}
}

func TestRequireRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		files     map[string]string
		complaint string
	}{
		"no file":              {map[string]string{"other.toml": ""}, "does not exist"},
		"not TOML":             {map[string]string{"config.toml": "version = 3\n[plugins\n"}, "correct it"},
		"version 1":            {map[string]string{"config.toml": "[plugins.cri]\n"}, "of version 0"},
		"version 5":            {map[string]string{"config.toml": "version = 5\n"}, "of version 5"},
		"version elsewhere":    {map[string]string{"config.toml": testdata(t, "strings.toml")}, "add imports"},
		"imports nothing":      {map[string]string{"config.toml": "version = 3\nimports = []\n"}, "conf.d/*.toml"},
		"imports another file": {map[string]string{"config.toml": "version = 3\nimports = ['@/one.toml']\n", "one.toml": "version = 3\n"}, "add \""},
		"NRI off":              {map[string]string{"config.toml": "version = 3\n" + nri + "disable = true\n"}, "NRI is off"},
		"NRI disabled":         {map[string]string{"config.toml": "version = 3\ndisabled_plugins = ['io.containerd.nri.v1.nri']\n"}, "NRI is off"},
		"tolerating":           {map[string]string{"config.toml": "version = 3\n" + validator + "tolerate_missing_plugins_annotation = 'x'\n"}, "tolerate_missing_plugins_annotation"},
		"dormant settings":     {map[string]string{"config.toml": "version = 3\n" + validator + "enable = false\nreject_oci_hook_adjustment = true\n"}, "reject_oci_hook_adjustment"},
		"a later file replaces": {map[string]string{
			"config.toml": "version = 3\n" + imports, "conf.d/95-own.toml": "version = 3\n" + validator + "required_plugins = ['ulimits']\n",
		}, "95-own.toml is read after"},
		"a broken later file": {map[string]string{"config.toml": "version = 3\n" + imports, "conf.d/95-own.toml": "version ="}, "loader does not take"},
		"a drop-in of somebody else": {map[string]string{
			"config.toml": "version = 3\n" + imports, "conf.d/90-kritis-required.toml": "version = 3\n",
		}, "is not ours"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, tc.files)
			before := snapshot(t, dir)
			p, err := PlanRequire(t.Context(), filepath.Join(dir, "config.toml"))
			if err == nil || !strings.Contains(err.Error(), tc.complaint) || strings.Contains(err.Error(), "\n") || len(p.Changes) > 0 {
				t.Errorf("%v, %d changes; want none and a line with %q", err, len(p.Changes), tc.complaint)
			}
			if now := snapshot(t, dir); !reflect.DeepEqual(now, before) {
				t.Error("something was changed")
			}
		})
	}
}

func TestUndoLeavesWhatIsNotOurs(t *testing.T) {
	made := func(t *testing.T, files map[string]string) string {
		t.Helper()
		dir := folder(t, files)
		p, err := PlanRequire(t.Context(), filepath.Join(dir, "config.toml"))
		if err == nil {
			_, err = p.Apply(time.Now())
		}
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
	add := func(t *testing.T, dir, name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		have, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(have, text...), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	dropIn := "conf.d/" + containerd.DropInName
	t.Run("edited drop-in", func(t *testing.T) {
		dir := made(t, map[string]string{"config.toml": "version = 3\n"})
		add(t, dir, dropIn, "# mine\n")
		if p, err := PlanUndo(t.Context(), filepath.Join(dir, "config.toml")); err == nil || !strings.Contains(err.Error(), "was edited") || len(p.Changes) > 0 {
			t.Errorf("%v, %v", p, err)
		}
	})
	t.Run("edited elsewhere", func(t *testing.T) {
		dir := made(t, map[string]string{"config.toml": "version = 3\n"})
		add(t, dir, "config.toml", nri+"plugin_request_timeout = '3s'\n")
		p, err := PlanUndo(t.Context(), filepath.Join(dir, "config.toml"))
		if err == nil {
			_, err = p.Apply(time.Now())
		}
		if got, _ := os.ReadFile(filepath.Join(dir, "config.toml")); err != nil || string(got) != "version = 3\n"+nri+"plugin_request_timeout = '3s'\n" {
			t.Errorf("%v: %s", err, got)
		}
	})
	t.Run("others use the import", func(t *testing.T) {
		dir := made(t, map[string]string{"config.toml": "version = 3\n"})
		add(t, dir, "conf.d/50-own.toml", "version = 3\n")
		p, err := PlanUndo(t.Context(), filepath.Join(dir, "config.toml"))
		if err != nil || len(p.Changes) != 1 || len(p.Notes) != 1 {
			t.Errorf("%v, %v; want that the import stays", p, err)
		}
	})
	t.Run("required elsewhere too", func(t *testing.T) {
		dir := made(t, map[string]string{"config.toml": "version = 3\n" + imports})
		add(t, dir, "conf.d/10-own.toml", "version = 3\n"+validator+"enable = true\nrequired_plugins = ['kritis']\n")
		if p, err := PlanUndo(t.Context(), filepath.Join(dir, "config.toml")); !errors.Is(err, ErrNotOurs) || len(p.Changes) != 1 {
			t.Errorf("%v, %v", p, err)
		}
	})
	t.Run("installed by hand", func(t *testing.T) {
		dir := folder(t, map[string]string{"config.toml": "version = 3\n" + imports, dropIn: containerd.DropIn()})
		if p, err := PlanUndo(t.Context(), filepath.Join(dir, "config.toml")); err != nil || len(p.Changes) != 1 {
			t.Errorf("%v, %v", p, err)
		}
	})
}

// TestOwnersStay shows that files, and their backups, belong to whom they belonged to. Who may not give files away skips it.
func TestOwnersStay(t *testing.T) {
	dir := folder(t, map[string]string{"config.toml": "version = 3\n"})
	config := filepath.Join(dir, "config.toml")
	if err := os.Chown(config, 12, 34); err != nil {
		t.Skip("needs root: ", err)
	}
	p, err := PlanRequire(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	backups, err := p.Apply(time.Now())
	if err != nil || len(backups) != 1 {
		t.Fatal(backups, err)
	}
	for _, path := range []string{config, backups[0]} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if s := info.Sys().(*syscall.Stat_t); s.Uid != 12 || s.Gid != 34 {
			t.Errorf("%s belongs to %d:%d", filepath.Base(path), s.Uid, s.Gid)
		}
	}
}

// TestApplyIsAllOrNothing makes the second change of two fail, and somebody change a file between plan and deed.
func TestApplyIsAllOrNothing(t *testing.T) {
	dir := folder(t, map[string]string{"config.toml": "version = 3\n"})
	config := filepath.Join(dir, "config.toml")
	p, err := PlanRequire(t.Context(), config)
	if err != nil || len(p.Changes) != 2 {
		t.Fatal(err, len(p.Changes))
	}
	before := snapshot(t, dir)
	broken := Plan{Changes: slices.Clone(p.Changes)}
	broken.Changes[1].Path = "/proc/self/nobody-makes-this/config.toml"
	broken.Changes[1].Before = nil
	if _, err := broken.Apply(time.Now()); err == nil {
		t.Fatal("it succeeded")
	}
	if now := snapshot(t, dir); !reflect.DeepEqual(now, before) {
		t.Error("half of it is left: " + cmp.Diff(before, now))
	}
	if err := os.WriteFile(config, []byte("version = 3\noom_score = 1\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	before = snapshot(t, dir)
	if _, err := p.Apply(time.Now()); err == nil || !strings.Contains(err.Error(), "somebody else") {
		t.Errorf("%v", err)
	}
	if now := snapshot(t, dir); !reflect.DeepEqual(now, before) {
		t.Error("something was changed: " + cmp.Diff(before, now))
	}
}

// TestEveryStateOnTheWay looks at the disk after each single change, which is what a power cut leaves: containerd's loader
// takes it, and it is the old state or the new one. Another run finishes either way.
func TestEveryStateOnTheWay(t *testing.T) {
	for name, tc := range cases(t) {
		t.Run(name, func(t *testing.T) {
			for _, plan := range []func(context.Context, string) (Plan, error){PlanRequire, PlanUndo} {
				dir := folder(t, tc.files)
				config := filepath.Join(dir, "config.toml")
				required, err := PlanRequire(t.Context(), config)
				if err != nil {
					t.Fatal(err)
				}
				if reflect.ValueOf(plan).Pointer() == reflect.ValueOf(PlanUndo).Pointer() {
					if _, err := required.Apply(time.Now()); err != nil {
						t.Fatal(err)
					}
				}
				before := loads(t, dir).Requires(plugin.Name)
				p, err := plan(t.Context(), config)
				if err != nil {
					t.Fatal(err)
				}
				for n := range p.Changes {
					if _, err := (Plan{Changes: p.Changes[n : n+1]}).Apply(time.Now()); err != nil {
						t.Fatal(err)
					}
					now := loads(t, dir)
					if last := n == len(p.Changes)-1; last && now.Requires(plugin.Name) == before {
						t.Error("nothing came of it")
					}
					rest, err := plan(t.Context(), config)
					if err != nil {
						t.Fatalf("after %d changes: %v", n+1, err)
					}
					if want := len(p.Changes) - n - 1; len(rest.Changes) < want {
						t.Errorf("after %d changes %d are left, want %d", n+1, len(rest.Changes), want)
					}
				}
			}
		})
	}
}

func TestDiff(t *testing.T) {
	for name, tc := range map[string]struct {
		change Change
		want   string
	}{
		"new":     {Change{"/f", nil, []byte("a\nb\n")}, "--- /dev/null\n+++ /f\n@@ -0,0 +1,2 @@\n+a\n+b\n"},
		"removed": {Change{"/f", []byte("a\n"), nil}, "--- /f\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-a\n"},
		"inserted": {Change{"/f", []byte("1\n2\n3\n4\n5\n6\n7\n8\n"), []byte("1\n2\n3\n4\nx\n5\n6\n7\n8\n")},
			"--- /f\n+++ /f\n@@ -2,6 +2,7 @@\n 2\n 3\n 4\n+x\n 5\n 6\n 7\n"},
		"no end": {Change{"/f", []byte("a"), []byte("a\nb\n")}, "--- /f\n+++ /f\n@@ -1,1 +1,2 @@\n-a\n\\ No newline at end of file\n+a\n+b\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.change.Diff(); got != tc.want {
				t.Error(cmp.Diff(tc.want, got))
			}
		})
	}
}

func TestDropInTemplateIsWhatIsReplaced(t *testing.T) {
	if text := dropInText([]string{"a"}); !bytes.Contains([]byte(text), []byte("required_plugins = [\"a\", \"kritis\"]\n")) || !ours([]byte(text)) {
		t.Errorf("%s", text)
	}
}
