package require

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kritis-node/kritis-node/daemonset/containerd"
	"github.com/kritis-node/kritis-node/plugin"
)

// ErrNotOurs says that containerd's configuration requires the plugin by something that we did not write.
var ErrNotOurs = errors.New("containerd's configuration requires the plugin by something that kritis install --require did not write")

// PlanUndo returns what has to be changed so that what PlanRequire brought about is gone. If containerd would still
// require the plugin after it, the error is ErrNotOurs, and the plan holds what can be undone nevertheless.
func PlanUndo(ctx context.Context, path string) (Plan, error) {
	main, err := readMain(path)
	if err != nil {
		return Plan{}, err
	}
	var p Plan
	usual := filepath.Join(filepath.Dir(path), importedFolder)
	folder, found := main.dropInFolder(containerd.DropInName)
	if !found {
		folder = usual // written, and the power went before it was imported
	}
	dropIn := filepath.Join(folder, containerd.DropInName)
	have, err := os.ReadFile(dropIn)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return Plan{}, err
	case !ours(have):
		return Plan{}, fmt.Errorf("%s was edited since it was written: remove from it what you do not need, or the whole file, and restart containerd", dropIn)
	default:
		p.Changes = append(p.Changes, Change{Path: dropIn, Before: have})
	}
	entry := filepath.Join(usual, "*.toml")
	if text, added := main.removeImport(entry); added {
		files, err := main.imported([]string{entry}, dropIn)
		if err != nil {
			return Plan{}, err
		}
		if len(files) == 1 { // ours
			p.Changes = append(p.Changes, Change{Path: main.real, Before: main.text, After: text})
		} else {
			p.Notes = append(p.Notes, fmt.Sprintf("the imports line in %s stays, because other files are in %s by now", path, usual))
		}
	}
	then, err := main.judge(ctx, main.imports, dropIn, "")
	if err != nil {
		return Plan{}, fmt.Errorf("containerd's loader would not take the change: %w", err)
	}
	if then.Requires(plugin.Name) {
		return p, ErrNotOurs
	}
	if len(p.Changes) == 0 {
		p.Notes = append(p.Notes, "there is nothing to undo: containerd's configuration does not require the plugin")
	}
	return p, nil
}
