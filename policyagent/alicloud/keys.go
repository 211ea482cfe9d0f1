package alicloud

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// PublicKey returns the public key of a key for signing: spec RSA_2048, usage SIGN/VERIFY. Any other is Unfit. A key that
// is disabled or to be deleted is returned with its State, if KMS still shows it; otherwise the error's Kind is Disabled.
// It takes two calls, or three and more if the reference names no version: then the newest is looked for.
func (c *Client) PublicKey(ctx context.Context, r KeyReference) (PublicKey, error) {
	r, key, err := c.describe(ctx, r)
	if err != nil {
		return PublicKey{}, err
	}
	if r, err = c.versioned(ctx, r); err != nil {
		return PublicKey{}, key.failed(err)
	}
	o, err := c.kms(ctx, r, "GetPublicKey", nil)
	if err != nil {
		return PublicKey{}, key.failed(err)
	}
	text, err := o.text("PublicKey")
	if err == nil {
		key.PEM, err = rsaKey(text)
	}
	if err == nil {
		err = same(o, "KeyVersionId", r.Version)
	}
	if err != nil {
		return PublicKey{}, kms.unfit("GetPublicKey", bounded(err.Error()))
	}
	key.Version = r.Version
	return key, nil
}

// failed says that a key is disabled if that may be why something else failed.
func (k PublicKey) failed(err error) error {
	if e, ok := errors.AsType[*Error](err); ok && e.Kind == Unfit && k.State != "Enabled" {
		other := *e
		other.Kind, other.Text = Disabled, "the key's state is "+k.State+": enable it in KMS, or use another"
		return &other
	}
	return err
}

// describe looks a key up, refuses it if it is not for signing images, and returns the reference with its ID instead of an
// alias.
func (c *Client) describe(ctx context.Context, r KeyReference) (KeyReference, PublicKey, error) {
	const action = "DescribeKey"
	r, err := c.placed(r, action)
	if err != nil {
		return r, PublicKey{}, err
	}
	o, err := c.kms(ctx, KeyReference{Region: r.Region, ID: r.ID}, action, nil)
	if err != nil {
		return r, PublicKey{}, err
	}
	m, found, err := o.child("KeyMetadata")
	if err != nil || !found {
		return r, PublicKey{}, kms.unfit(action, "the answer cannot be understood: it has no KeyMetadata")
	}
	text := func(name string) string {
		s, e := m.text(name)
		if err == nil {
			err = e
		}
		return s
	}
	key := PublicKey{ID: text("KeyId"), ARN: text("Arn"), State: text("KeyState")}
	spec, usage := text("KeySpec"), text("KeyUsage")
	switch {
	case err != nil:
		return r, PublicKey{}, kms.unfit(action, "the answer cannot be understood: "+bounded(err.Error()))
	case spec != "RSA_2048" || usage != "SIGN/VERIFY":
		return r, PublicKey{}, kms.unfit(action, fmt.Sprintf("key %s has spec %s and usage %s: images are signed with RSA_2048 and SIGN/VERIFY; create such a key", r.ID, quoted(spec), quoted(usage)))
	case key.State != "Enabled" && key.State != "Disabled" && key.State != "PendingDeletion":
		return r, PublicKey{}, kms.unfit(action, fmt.Sprintf("key %s is in state %s: wait until it is Enabled, or use another", r.ID, quoted(key.State)))
	case !isKeyID(key.ID):
		return r, PublicKey{}, kms.unfit(action, "the answer cannot be understood: KeyId is "+quoted(key.ID))
	}
	r.ID = key.ID
	return r, key, nil
}

// placed checks a reference and fills its region in.
func (c *Client) placed(r KeyReference, action string) (KeyReference, error) {
	if err := r.check(); err != nil {
		return r, kms.unfit(action, err.Error())
	}
	if r.Region == "" {
		r.Region = c.config.Region
	}
	return r, nil
}

// versioned returns the reference with the newest version if it has none. The key's ID must be in it, not an alias.
func (c *Client) versioned(ctx context.Context, r KeyReference) (KeyReference, error) {
	if r.Version != "" {
		return r, nil
	}
	versions, err := c.versions(ctx, r)
	if err != nil {
		return r, err
	}
	// Dates have seconds. To guess would mean to believe in a key by chance.
	if len(versions) > 1 && versions[0].created.Equal(versions[1].created) {
		return r, kms.unfit(listVersions, "key "+r.ID+" has two newest versions, of the same second: name one")
	}
	r.Version = versions[0].id
	return r, nil
}

// KeyVersions returns the IDs of all versions of a key for signing images, the newest first; the reference's own is not looked at.
func (c *Client) KeyVersions(ctx context.Context, r KeyReference) ([]string, error) {
	r, key, err := c.describe(ctx, r)
	if err != nil {
		return nil, err
	}
	versions, err := c.versions(ctx, r)
	if err != nil {
		return nil, key.failed(err)
	}
	ids := make([]string, len(versions))
	for i, v := range versions {
		ids[i] = v.id
	}
	return ids, nil
}

const listVersions = "ListKeyVersions"

type keyVersion struct {
	id      string
	created time.Time
}

// versions returns all versions, at least one, the newest first.
func (c *Client) versions(ctx context.Context, r KeyReference) ([]keyVersion, error) {
	var all []keyVersion
	err := c.all(ctx, listing{
		call:   call{kms, listVersions, r.Region, map[string]string{"KeyId": r.ID}},
		number: "PageNumber", size: 100,
		page: func(o object) ([]json.RawMessage, int, error) {
			versions, found, err := o.child("KeyVersions")
			if err != nil || !found {
				return nil, 0, errors.New("it has no KeyVersions")
			}
			return itemsOf(versions, o, "KeyVersion")
		},
		item: func(o object) (string, error) {
			v, err := readKeyVersion(o)
			all = append(all, v)
			return v.id, err
		},
	})
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, kms.unfit(listVersions, "key "+r.ID+" has no version")
	}
	slices.SortStableFunc(all, func(a, b keyVersion) int { return b.created.Compare(a.created) })
	return all, nil
}

func readKeyVersion(o object) (keyVersion, error) {
	id, err := o.text("KeyVersionId")
	if err != nil {
		return keyVersion{}, err
	}
	if !isVersion(id) {
		return keyVersion{}, fmt.Errorf("KeyVersionId is %s", quoted(id))
	}
	created, err := o.text("CreationDate")
	if err != nil {
		return keyVersion{}, err
	}
	at, err := time.Parse(time.RFC3339, created)
	if err != nil {
		return keyVersion{}, fmt.Errorf("CreationDate is %s", quoted(created))
	}
	return keyVersion{id, at}, nil
}

// kms asks KMS about a key.
func (c *Client) kms(ctx context.Context, r KeyReference, action string, more map[string]string) (object, error) {
	parameters := map[string]string{"KeyId": r.ID, "KeyVersionId": r.Version}
	for k, v := range more {
		parameters[k] = v
	}
	o, err := c.ask(ctx, call{kms, action, r.Region, parameters})
	if err != nil {
		return nil, err
	}
	return o, nil
}

// same refuses an answer about something else. Answers need not say what they are about.
func same(o object, name, want string) error {
	got, err := o.text(name)
	if err == nil && got != "" && want != "" && got != want {
		err = fmt.Errorf("the answer is about %s %s, asked was %s", name, quoted(got), quoted(want))
	}
	return err
}

// rsaKey returns a key in PEM, written anew, if it is RSA of 2048 bits.
func rsaKey(text string) (string, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return "", fmt.Errorf("the answer holds no key in PEM")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return "", fmt.Errorf("the answer holds no public key")
	}
	if k, ok := key.(*rsa.PublicKey); !ok || k.N.BitLen() != 2048 {
		return "", fmt.Errorf("the answer holds a key that is not RSA of 2048 bits")
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: block.Bytes})), nil
}
