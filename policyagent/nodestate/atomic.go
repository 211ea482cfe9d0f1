package nodestate

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kritis-node/kritis-node/policyagent/nodestate/durable"
)

// writeFile replaces a file so that after a power cut at any moment the old content or the new one is there.
func writeFile(path string, data []byte) error {
	if err := durable.Replace(path, bytes.NewReader(data), 0o644, durable.Self()); err != nil {
		return err
	}
	return durable.SyncFolder(filepath.Dir(path))
}

// makeFolder makes a folder with mode 0755, whatever the umask says, and sees to it that it lasts.
func makeFolder(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	return durable.SyncFolder(filepath.Dir(dir))
}
