package alicloud

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

// Algorithms of KMS for RSA_2048. https://www.alibabacloud.com/help/en/kms/key-management-service/developer-reference/asymmetric-digital-signature
const (
	RSAPSSSHA256   = "RSA_PSS_SHA_256"
	RSAPKCS1SHA256 = "RSA_PKCS1_SHA_256"
)

// signatureSize is that of RSA_2048 in bytes.
const signatureSize = 256

// Sign returns KMS' signature over a SHA-256 hash. Without a version the newest signs.
func (c *Client) Sign(ctx context.Context, r KeyReference, algorithm string, sha256 []byte) ([]byte, error) {
	const action = "AsymmetricSign"
	r, err := c.forSignature(ctx, r, action, algorithm, sha256)
	if err != nil {
		return nil, err
	}
	o, err := c.kms(ctx, r, action, map[string]string{"Algorithm": algorithm, "Digest": base64.StdEncoding.EncodeToString(sha256)})
	if err != nil {
		return nil, err
	}
	if err := same(o, "KeyVersionId", r.Version); err != nil {
		return nil, kms.unfit(action, bounded(err.Error()))
	}
	text, err := o.text("Value")
	if err != nil {
		return nil, kms.unfit(action, "the answer cannot be understood: "+bounded(err.Error()))
	}
	value, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(value) != signatureSize {
		return nil, kms.unfit(action, fmt.Sprintf("the answer is not a signature of %d bytes in base64", signatureSize))
	}
	return value, nil
}

// Verify returns whether KMS accepts a signature over a SHA-256 hash. What is not as long as a signature of RSA_2048 is
// none, and KMS is not asked.
func (c *Client) Verify(ctx context.Context, r KeyReference, algorithm string, sha256, signature []byte) (bool, error) {
	const action = "AsymmetricVerify"
	if len(signature) != signatureSize {
		return false, nil
	}
	r, err := c.forSignature(ctx, r, action, algorithm, sha256)
	if err != nil {
		return false, err
	}
	o, err := c.kms(ctx, r, action, map[string]string{
		"Algorithm": algorithm, "Digest": base64.StdEncoding.EncodeToString(sha256), "Value": base64.StdEncoding.EncodeToString(signature),
	})
	if err != nil {
		return false, err
	}
	if err := same(o, "KeyVersionId", r.Version); err != nil {
		return false, kms.unfit(action, bounded(err.Error()))
	}
	good, found, err := o.flag("Value")
	if err != nil || !found {
		return false, kms.unfit(action, "the answer cannot be understood: Value is not true or false")
	}
	return good, nil
}

// forSignature checks what a signature is asked of and looks a version up if none is named: KMS demands one.
func (c *Client) forSignature(ctx context.Context, r KeyReference, action, algorithm string, hash []byte) (KeyReference, error) {
	if algorithm != RSAPSSSHA256 && algorithm != RSAPKCS1SHA256 {
		return r, kms.unfit(action, fmt.Sprintf("algorithm %s: use %s or %s", quoted(algorithm), RSAPSSSHA256, RSAPKCS1SHA256))
	}
	if len(hash) != sha256.Size {
		return r, kms.unfit(action, fmt.Sprintf("the hash has %d bytes, SHA-256 has %d", len(hash), sha256.Size))
	}
	if r.Version != "" {
		return c.placed(r, action)
	}
	r, _, err := c.describe(ctx, r)
	if err != nil {
		return r, err
	}
	return c.versioned(ctx, r)
}
