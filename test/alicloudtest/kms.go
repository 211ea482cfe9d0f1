package alicloudtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"
)

// States of a key.
const (
	Enabled         = "Enabled"
	Disabled        = "Disabled"
	PendingDeletion = "PendingDeletion"
)

// Usages of a key.
const (
	SignVerify     = "SIGN/VERIFY"
	EncryptDecrypt = "ENCRYPT/DECRYPT"
)

// maxKeys bounds the keys, maxVersions the versions of one.
const (
	maxKeys     = 10_000
	maxVersions = 1_000
)

// NewKey is what [Emulator.CreateKey] makes.
type NewKey struct {
	// ID is the key's ID; empty: one that looks like the cloud's ("key-…").
	ID string `yaml:"id"`
	// Region is where the key is; empty: the emulator's.
	Region string `yaml:"region"`
	// Spec is RSA_2048 (if empty), RSA_3072, RSA_4096, EC_P256, Aliyun_AES_256; Usage SIGN/VERIFY if empty.
	Spec  string `yaml:"spec"`
	Usage string `yaml:"usage"`
	// Alias is a name for it, "alias/…"; empty: none.
	Alias string `yaml:"alias"`
}

// Key is a key as it is now.
type Key struct {
	ID, Region, Spec, Usage, State, ARN string
	Versions                            []KeyVersion // the oldest first
}

// KeyVersion is a version of a key.
type KeyVersion struct {
	ID      string
	Created time.Time
	// PEM is the public key in PKIX; empty if the key is symmetric.
	PEM string
}

// key is the state of a key.
type key struct {
	Key
	created, deleted time.Time
	description      string
	aliases          []string
	private          []crypto.Signer // by version, nil if the key is symmetric
}

// keyPlace is a key's place in the state.
func keyPlace(region, id string) string { return region + " " + id }

// CreateKey makes a key with one version.
func (e *Emulator) CreateKey(want NewKey) (Key, error) {
	if want.ID == "" {
		want.ID = "key-hzz" + strings.ToLower(newText(18))
	}
	if want.Region == "" {
		want.Region = e.options.Region
	}
	if want.Spec == "" {
		want.Spec = "RSA_2048"
	}
	if want.Usage == "" {
		want.Usage = SignVerify
	}
	private, err := generate(want.Spec) // outside of the lock: it takes long
	if err != nil {
		return Key{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, exists := e.keys[keyPlace(want.Region, want.ID)]; exists {
		return Key{}, fmt.Errorf("there is a key %s in %s already", want.ID, want.Region)
	}
	if len(e.keys) >= maxKeys {
		return Key{}, fmt.Errorf("there are %d keys already", maxKeys)
	}
	made := &key{created: e.now().UTC(), Key: Key{
		ID: want.ID, Region: want.Region, Spec: want.Spec, Usage: want.Usage, State: Enabled,
		ARN: "acs:kms:" + want.Region + ":" + e.options.Account + ":key/" + want.ID,
	}}
	if err := made.add(private, made.created); err != nil {
		return Key{}, err
	}
	if want.Alias != "" {
		if refused := e.addAlias(made, want.Alias); refused != nil {
			return Key{}, refused
		}
	}
	e.keys[keyPlace(want.Region, want.ID)] = made
	return made.snapshot(), nil
}

// AddKeyVersion rotates a key: it makes a new version, and returns it.
func (e *Emulator) AddKeyVersion(region, id string) (KeyVersion, error) {
	e.mu.Lock()
	known, refused := e.findKey(region, id)
	e.mu.Unlock()
	if refused != nil {
		return KeyVersion{}, refused
	}
	private, err := generate(known.Spec)
	if err != nil {
		return KeyVersion{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := known.add(private, e.now().UTC()); err != nil {
		return KeyVersion{}, err
	}
	return known.Versions[len(known.Versions)-1], nil
}

// SetKeyState makes a key Enabled, Disabled or PendingDeletion.
func (e *Emulator) SetKeyState(region, id, state string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	known, refused := e.findKey(region, id)
	if refused != nil {
		return refused
	}
	if !slices.Contains([]string{Enabled, Disabled, PendingDeletion}, state) {
		return fmt.Errorf("no key is ever %q", state)
	}
	known.State = state
	return nil
}

// Key is a key as it is now, by ID, alias or ARN; an empty region is the emulator's.
func (e *Emulator) Key(region, id string) (Key, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	known, refused := e.findKey(region, id)
	if refused != nil {
		return Key{}, refused
	}
	return known.snapshot(), nil
}

func (k *key) snapshot() Key {
	now := k.Key
	now.Versions = slices.Clone(k.Versions)
	return now
}

// add adds a version. Creation dates have seconds only, so versions are at least one apart: their order must be told by them.
func (k *key) add(private crypto.Signer, created time.Time) error {
	if len(k.Versions) >= maxVersions {
		return fmt.Errorf("key %s has %d versions already", k.ID, maxVersions)
	}
	created = created.Truncate(time.Second)
	if n := len(k.Versions); n > 0 && !created.After(k.Versions[n-1].Created) {
		created = k.Versions[n-1].Created.Add(time.Second)
	}
	version := KeyVersion{ID: newUUID(), Created: created}
	if private != nil {
		der, err := x509.MarshalPKIXPublicKey(private.Public())
		if err != nil {
			return err
		}
		version.PEM = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	k.Versions = append(k.Versions, version)
	k.private = append(k.private, private)
	return nil
}

// generate makes a private key; nil for a symmetric one.
func generate(spec string) (crypto.Signer, error) {
	switch spec {
	case "RSA_2048":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "RSA_3072":
		return rsa.GenerateKey(rand.Reader, 3072)
	case "RSA_4096":
		return rsa.GenerateKey(rand.Reader, 4096)
	case "EC_P256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "Aliyun_AES_256":
		return nil, nil
	}
	return nil, fmt.Errorf("key spec %q is not emulated", spec)
}

// findKey finds a key of a region by ID, alias or ARN. The caller holds e.mu.
func (e *Emulator) findKey(region, id string) (*key, *apiError) {
	if region == "" {
		region = e.options.Region
	}
	if rest, isARN := strings.CutPrefix(id, "acs:kms:"); isARN {
		parts := strings.SplitN(rest, ":", 3)
		if len(parts) != 3 || parts[0] != region || parts[1] != e.options.Account {
			return nil, failed(404, "Forbidden.KeyNotFound", "The specified Key is not found.")
		}
		id = strings.TrimPrefix(parts[2], "key/")
	}
	if strings.HasPrefix(id, "alias/") {
		for _, known := range e.keys {
			if known.Region == region && slices.Contains(known.aliases, id) {
				return known, nil
			}
		}
		return nil, failed(404, "Forbidden.AliasNotFound", "The specified Alias is not found.")
	}
	if known := e.keys[keyPlace(region, id)]; known != nil {
		return known, nil
	}
	return nil, failed(404, "Forbidden.KeyNotFound", "The specified Key is not found.")
}

func (e *Emulator) addAlias(k *key, alias string) *apiError {
	if !strings.HasPrefix(alias, "alias/") || len(alias) < 7 {
		return failed(400, "InvalidParameter", "The specified parameter AliasName is not valid.")
	}
	if _, refused := e.findKey(k.Region, alias); refused == nil {
		return failed(409, "Rejected.AlreadyExists", "The specified Alias already exists.")
	}
	k.aliases = append(k.aliases, alias)
	return nil
}
