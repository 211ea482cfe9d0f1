package verifier

import (
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

// Limits of references. Longer ones are refused before anything parses them.
const (
	// MaxReference is the length in bytes of an image as written.
	MaxReference = 4 << 10

	digestPrefix = "sha256:"
	digestHexLen = 64
)

// Digest is "sha256:" and 64 lower-case hexadecimal digits. Values come from ParseDigest.
type Digest string

// ParseDigest accepts SHA-256 in its one canonical spelling and nothing else: two spellings of one digest would be
// two answers to "is it the same".
func ParseDigest(s string) (Digest, error) {
	hex, ok := strings.CutPrefix(s, digestPrefix)
	if !ok || !isLowerHex(hex) {
		return "", errors.New(errDigest)
	}
	return Digest(s), nil
}

// Hex returns the digits without the algorithm.
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), digestPrefix) }

// Reference is an image's name as the runtime understands it.
type Reference struct {
	// Written is the name as the user wrote it. Allow-list patterns and messages use it.
	Written string
	// Repository is normalised: "nginx" is "docker.io/library/nginx".
	Repository string
	// Tag is "latest" if neither tag nor digest was written, as the runtime has it. Empty: only a digest was.
	Tag string
	// Digest is empty for images named by tag. If it is set the runtime ignores the tag.
	Digest Digest
}

// Name returns the name under which containerd keeps the image: repository@digest, or repository:tag.
func (r Reference) Name() string {
	if r.Digest != "" {
		return r.Repository + "@" + string(r.Digest)
	}
	return r.Repository + ":" + r.Tag
}

// ParseReference reads an image's name the way containerd and kubelet do, and is stricter where they would let two
// spellings of one name through: hosts in upper case, digests other than SHA-256. Image IDs are not names.
func ParseReference(s string) (Reference, error) {
	if err := precheckReference(s); err != nil {
		return Reference{}, err
	}
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return Reference{}, errors.New(errReferenceForm)
	}
	r := Reference{Written: s, Repository: named.Name()}
	if tagged, ok := named.(reference.Tagged); ok {
		r.Tag = tagged.Tag()
	}
	if digested, ok := named.(reference.Digested); ok {
		if r.Digest, err = ParseDigest(string(digested.Digest())); err != nil {
			return Reference{}, err
		}
	}
	if r.Tag == "" && r.Digest == "" {
		r.Tag = "latest"
	}
	return r, nil
}

// precheckReference names what is wrong where the grammar alone would only say "invalid".
func precheckReference(s string) error {
	if s == "" {
		return errors.New(errReferenceEmpty)
	}
	if len(s) > MaxReference {
		return fmt.Errorf(errReferenceLong, MaxReference)
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return errors.New(errReferenceASCII)
		}
	}
	if id := strings.TrimPrefix(s, digestPrefix); len(id) == digestHexLen && isLowerHex(strings.ToLower(id)) {
		return errors.New(errReferenceID)
	}
	name, digest, digested := strings.Cut(s, "@")
	if digested {
		if _, err := ParseDigest(digest); err != nil {
			return err
		}
	}
	// A colon after the last slash begins the tag, where upper case is welcome.
	if tag := strings.LastIndexByte(name, ':'); tag > strings.LastIndexByte(name, '/') {
		name = name[:tag]
	}
	if strings.ToLower(name) != name {
		return errors.New(errReferenceCase)
	}
	return nil
}

// parseRepository reads a repository without tag or digest, as attestations name it.
func parseRepository(s string) (string, error) {
	if err := precheckReference(s); err != nil {
		return "", err
	}
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil || !reference.IsNameOnly(named) {
		return "", errors.New(errRepositoryForm)
	}
	return named.Name(), nil
}

func isLowerHex(s string) bool {
	if len(s) != digestHexLen {
		return false
	}
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return true
}
