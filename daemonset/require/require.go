package require

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kritis-node/kritis-node/daemonset/containerd"
	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/plugin/runtimeconfig"
)

// importedFolder is made beside config.toml where it imports nothing yet.
const importedFolder = "conf.d"

// PlanRequire returns what has to be changed so that containerd requires the plugin, or why that is refused.
func PlanRequire(ctx context.Context, path string) (Plan, error) {
	main, err := readMain(path)
	if err != nil {
		return Plan{}, err
	}
	now, err := runtimeconfig.Load(ctx, path)
	if err != nil {
		return Plan{}, fmt.Errorf("containerd's loader does not take %s: %w; correct it first", path, err)
	}
	switch {
	case now.Disabled:
		return Plan{}, fmt.Errorf("NRI is off in %s: set disable = false for %q, and take it out of disabled_plugins", path, runtimeconfig.Plugin)
	case now.Tolerate != "":
		return Plan{}, errors.New(textTolerate)
	case now.Requires(plugin.Name):
		return Plan{Notes: []string{"containerd's configuration requires the plugin already"}}, nil
	case len(now.Dormant) > 0:
		return Plan{}, fmt.Errorf("the default validator of NRI is off and has %s set, which would come into force with it: remove these, or turn it on yourself first",
			strings.Join(now.Dormant, ", "))
	}
	imports := main.imports
	folder, found := main.dropInFolder(containerd.DropInName)
	var edited []byte
	if !found {
		folder = filepath.Join(filepath.Dir(path), importedFolder)
		entry := filepath.Join(folder, "*.toml")
		if main.importing {
			return Plan{}, fmt.Errorf("%s has imports without a folder for further files: add %q to that list, then run the command again", path, entry)
		}
		if edited, err = main.addImport(entry); err != nil {
			return Plan{}, err
		}
		imports = []string{entry}
	}
	dropIn := filepath.Join(folder, containerd.DropInName)
	have, err := os.ReadFile(dropIn)
	if err == nil && !ours(have) {
		return Plan{}, fmt.Errorf("%s is there already, is not ours or was edited, and does not make containerd require the plugin: remove it, then run the command again", dropIn)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Plan{}, err
	}
	others := now.Required
	if !now.Enabled {
		others = nil // nobody was required so far
	}
	text := dropInText(others)
	then, err := main.judge(ctx, imports, dropIn, text)
	if err != nil {
		return Plan{}, fmt.Errorf("containerd's loader would not take the change: %w", err)
	}
	if err := main.accept(then, others, imports, dropIn); err != nil {
		return Plan{}, err
	}
	p := Plan{Changes: []Change{{Path: dropIn, Before: have, After: []byte(text)}}}
	if edited != nil {
		p.Changes = append(p.Changes, Change{Path: main.real, Before: main.text, After: edited})
	}
	if len(others) > 0 {
		p.Notes = append(p.Notes, "containerd goes on requiring "+strings.Join(others, ", ")+"; a file that is read earlier and names further plugins no longer counts")
	}
	return p, nil
}

// accept says whether the configuration that would be in force is what is wanted, and if not, which file is in the way.
func (f *mainFile) accept(then runtimeconfig.Config, others, imports []string, dropIn string) error {
	if then.Requires(plugin.Name) && then.Tolerate == "" && !slices.ContainsFunc(others, func(o string) bool { return !slices.Contains(then.Required, o) }) {
		return nil
	}
	files, err := f.imported(imports, dropIn)
	if err != nil {
		return err
	}
	for _, file := range files[slices.Index(files, dropIn)+1:] {
		if text, err := readBounded(file); err == nil && setsRequired(text) {
			return fmt.Errorf("%s is read after %s and replaces required_plugins: name %q in that file, which is then enough", file, filepath.Base(dropIn), plugin.Name)
		}
	}
	return fmt.Errorf("with %s containerd would still not require the plugin: look at what the other imported files say of default_validator", dropIn)
}

func setsRequired(text []byte) bool {
	values, err := parse(text)
	plugins, _ := values["plugins"].(map[string]any)
	nri, _ := plugins[runtimeconfig.Plugin].(map[string]any)
	validator, _ := nri["default_validator"].(map[string]any)
	_, list := validator["required_plugins"]
	_, enable := validator["enable"]
	return err == nil && (list || enable)
}

// signature is the first line of a drop-in that we wrote: what follows it has this hash.
var signature = regexp.MustCompile(`^# Written by kritis install --require, which also undoes it \(--undo\), unless it is edited: sha256 ([0-9a-f]{64})\n`)

// dropInText is the drop-in with further plugins that stay required.
func dropInText(others []string) string {
	names := make([]string, 0, len(others)+1)
	for _, name := range append(slices.Clone(others), plugin.Name) {
		names = append(names, strconv.Quote(name))
	}
	body := strings.Replace(containerd.DropIn(), containerd.RequiredPlugins, "  required_plugins = ["+strings.Join(names, ", ")+"]\n", 1)
	return fmt.Sprintf("# Written by kritis install --require, which also undoes it (--undo), unless it is edited: sha256 %x\n%s", sha256.Sum256([]byte(body)), body)
}

// ours says whether a drop-in is as we, or an administrator who copied ours, wrote it.
func ours(text []byte) bool {
	if string(text) == containerd.DropIn() {
		return true
	}
	m := signature.FindSubmatchIndex(text)
	return m != nil && fmt.Sprintf("%x", sha256.Sum256(text[m[1]:])) == string(text[m[2]:m[3]])
}

const textTolerate = "containerd's configuration names an annotation by which a pod does without required plugins: remove tolerate_missing_plugins_annotation first"
