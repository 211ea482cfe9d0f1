package alicloud

import (
	"fmt"
	"strings"
)

// ParseKeyReference reads "key-…", a UUID, "alias/…" or "acs:kms:REGION:ACCOUNT:key/ID" (or ":alias/NAME"), each with
// "?version=ID" or without. The account of an ARN is not kept: the key must be of the credentials' account, or shared with it.
func ParseKeyReference(s string) (KeyReference, error) {
	id, version, versioned := strings.Cut(s, "?version=")
	r := KeyReference{ID: id, Version: version}
	if rest, ok := strings.CutPrefix(id, "acs:kms:"); ok {
		parts := strings.SplitN(rest, ":", 3)
		if len(parts) != 3 {
			return KeyReference{}, fmt.Errorf("key %s: an ARN looks like acs:kms:REGION:ACCOUNT:key/ID", quoted(s))
		}
		r.Region, r.ID = parts[0], parts[2]
		if !isRegion(r.Region) {
			return KeyReference{}, fmt.Errorf("key %s: %s is not the name of a region", quoted(s), quoted(r.Region))
		}
		if key, ok := strings.CutPrefix(r.ID, "key/"); ok {
			r.ID = key
		} else if !strings.HasPrefix(r.ID, "alias/") {
			r.ID = ""
		}
	}
	if versioned && version == "" {
		return KeyReference{}, fmt.Errorf("key %s: the version is empty: name one, or leave ?version= out", quoted(s))
	}
	if err := r.check(); err != nil {
		return KeyReference{}, fmt.Errorf("key %s: %w", quoted(s), err)
	}
	return r, nil
}

// check refuses what cannot name a key.
func (r KeyReference) check() error {
	switch {
	case !isKeyID(r.ID):
		return fmt.Errorf("%s is no key ID (key-… or a UUID), alias (alias/…) or ARN", quoted(r.ID))
	case r.Version != "" && !isVersion(r.Version):
		return fmt.Errorf("%s is no version's ID", quoted(r.Version))
	case r.Region != "" && !isRegion(r.Region):
		return fmt.Errorf("%s is not the name of a region", quoted(r.Region))
	}
	return nil
}
