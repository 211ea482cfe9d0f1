package nodestate

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"time"

	"github.com/kritis-node/kritis-node/verifier"
)

// Record is what is known about one digest of one repository.
type Record struct {
	Repository string          `json:"repository"`
	Digest     verifier.Digest `json:"digest"`
	FetchedAt  time.Time       `json:"fetchedAt"`
	// Attestations are unproven: whoever uses them checks the signatures.
	Attestations []verifier.Attestation `json:"attestations,omitempty"`
	// Failures are the sources that could not be asked, in words. Empty means that Attestations is complete: an image
	// without any is then known to have none.
	Failures []string `json:"failures,omitempty"`
}

// recordFolder is the folder of records under the state folder.
const recordFolder = "attestations"

// recordPath is a record's path under the state folder. A hash, because repository names have slashes and are longer
// than file names may be; two levels, because folders with tens of thousands of files are slow to list.
func recordPath(repository string, d verifier.Digest) string {
	sum := sha256.Sum256([]byte(repository + "@" + string(d)))
	name := hex.EncodeToString(sum[:])
	return filepath.Join(recordFolder, name[:2], name+".json")
}
