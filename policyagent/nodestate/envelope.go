package nodestate

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Errors that callers tell apart. Everything that goes wrong while reading wraps one of them, or the error of the
// operating system.
var (
	// ErrNotFound: nobody has written this yet.
	ErrNotFound = errors.New("not found")
	// ErrCorrupt: the file is not what its writer wrote.
	ErrCorrupt = errors.New("corrupt")
	// ErrNewer: the file was written by a newer version of the policy agent than this reader knows.
	ErrNewer = errors.New("written by a newer version")
)

// Limits of the body of each kind of file, in bytes. One byte more is neither written nor read.
const (
	MaxPolicySize = 32 << 20
	MaxRecordSize = 8 << 20
	MaxStatusSize = 1 << 20

	// maxHeader bounds the header line with its newline. Ours has some 130 bytes; the rest is for later versions.
	maxHeader = 512
)

// version is that of header and bodies. A reader accepts this one only: a body that says more than its reader
// understands could say "but not in this namespace".
const version = 1

const (
	kindPolicy = "policy"
	kindRecord = "attestations"
	kindStatus = "agent"
)

type header struct {
	Kritis  string `json:"kritis"`
	Version int    `json:"version"`
	SHA256  string `json:"sha256"`
	Size    int    `json:"size"`
}

// encode returns the file for a body.
func encode(kind string, body any, limit int) ([]byte, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encoding the %s: %w", kind, err)
	}
	if len(b) > limit {
		return nil, fmt.Errorf("the %s has %d bytes and may have %d: make it smaller", kind, len(b), limit)
	}
	sum := sha256.Sum256(b)
	h, err := json.Marshal(header{Kritis: kind, Version: version, SHA256: hex.EncodeToString(sum[:]), Size: len(b)})
	if err != nil {
		return nil, fmt.Errorf("encoding the header of the %s: %w", kind, err)
	}
	return append(append(h, '\n'), b...), nil
}

// decode is the inverse of encode. Its errors wrap ErrCorrupt or ErrNewer and do not name the file.
func decode(file []byte, kind string, limit int, into any) error {
	line, body, ok := bytes.Cut(file, []byte{'\n'})
	if !ok || len(line) >= maxHeader {
		return fmt.Errorf("%w: it has no header line", ErrCorrupt)
	}
	// Members that this version does not know are accepted in the header, or a newer version could not be told from
	// a broken file.
	var h header
	if err := json.Unmarshal(line, &h); err != nil {
		return fmt.Errorf("%w: its header is not the JSON object of a header", ErrCorrupt)
	}
	switch {
	case h.Kritis != kind:
		return fmt.Errorf("%w: it holds %q where %q belongs", ErrCorrupt, clip(h.Kritis, 32), kind)
	case h.Version > version:
		return fmt.Errorf("%w: it has version %d, this program knows version %d", ErrNewer, h.Version, version)
	case h.Version != version:
		return fmt.Errorf("%w: it has version %d, which never existed", ErrCorrupt, h.Version)
	case len(body) > limit:
		return fmt.Errorf("%w: it has %d bytes and may have %d", ErrCorrupt, len(body), limit)
	case h.Size != len(body):
		return fmt.Errorf("%w: its header announces %d bytes, %d are there", ErrCorrupt, h.Size, len(body))
	}
	if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != h.SHA256 {
		return fmt.Errorf("%w: its checksum does not match", ErrCorrupt)
	}
	if err := unmarshalStrict(body, into); err != nil {
		// The checksum holds, so these are the bytes that somebody meant to write.
		return fmt.Errorf("%w: %w", ErrNewer, err)
	}
	return nil
}

// unmarshalStrict decodes exactly one JSON value, all of whose members are known.
func unmarshalStrict(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more follows after the JSON value")
	}
	return nil
}

// clip shortens foreign text for an error message.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}
