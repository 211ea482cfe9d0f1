package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kritis-node/kritis-node/policyagent/alicloud"
	"github.com/kritis-node/kritis-node/policyagent/signing"
	"github.com/kritis-node/kritis-node/verifier"
)

// kmsScheme begins the name of a key in Alibaba Cloud KMS: alikms://key-…, alikms://alias/…, alikms://acs:kms:….
const kmsScheme = "alikms://"

// cloudFlags say how Alibaba Cloud is reached.
type cloudFlags struct{ file string }

func (c *cloudFlags) add(f *pflag.FlagSet) {
	f.StringVar(&c.file, "alicloud-config", "", "YAML `file` that says how Alibaba Cloud is reached: region, credentials' source, endpoints")
}

// client returns a client. Close it.
func (c *cloudFlags) client() (*alicloud.Client, error) {
	if c.file == "" {
		return nil, errors.New("how Alibaba Cloud is reached is not known: name a file with --alicloud-config that holds region and credentials")
	}
	cfg, err := alicloud.ReadConfig(c.file)
	if err != nil {
		return nil, err
	}
	return alicloud.New(cfg)
}

// keyFlags name a key to sign with.
type keyFlags struct {
	name, algorithm string
	cloud           cloudFlags
}

func (k *keyFlags) add(f *pflag.FlagSet) {
	f.StringVar(&k.name, "key", "", "private key `file`, PEM, unencrypted; or "+kmsScheme+"KEY[?version=ID] for a key in Alibaba Cloud KMS, by ID, alias or ARN")
	f.StringVar(&k.algorithm, "algorithm", "", "`algorithm` that KMS signs by: "+verifier.RSAPKCS1SHA256+" (default) or "+verifier.RSAPSSSHA256)
	k.cloud.add(f)
}

// open returns the key, and what ends its use.
func (k *keyFlags) open(ctx context.Context) (*signing.Key, func(), error) {
	name, inKMS := strings.CutPrefix(k.name, kmsScheme)
	if !inKMS {
		if k.algorithm != "" {
			return nil, nil, fmt.Errorf("--algorithm is for keys in KMS (%s…): a key file says which it signs by", kmsScheme)
		}
		key, err := signing.ReadKeyFile(k.name)
		return key, func() {}, err
	}
	ref, err := alicloud.ParseKeyReference(name)
	if err != nil {
		return nil, nil, err
	}
	client, err := k.cloud.client()
	if err != nil {
		return nil, nil, err
	}
	public, err := client.PublicKey(ctx, ref)
	if err != nil {
		client.Close()
		return nil, nil, err
	}
	ref.Version = public.Version
	algorithm := cmp.Or(k.algorithm, verifier.RSAPKCS1SHA256)
	key, err := signing.NewKey(public.PEM, algorithm, func(ctx context.Context, sha256 []byte) ([]byte, error) {
		return client.Sign(ctx, ref, algorithm, sha256)
	})
	if err != nil {
		client.Close()
		return nil, nil, fmt.Errorf("key %s: %w", ref.ID, err)
	}
	return key, client.Close, nil
}
