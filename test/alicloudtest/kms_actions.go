package alicloudtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"time"
)

// throttle is the documented quota of KMS: three actions share it, for an account and region.
func (e *Emulator) throttle(c *call) *apiError {
	if c.service != kms || e.options.KMSQuota < 0 || !slices.Contains([]string{"DescribeKey", "ListKeyVersions", "GetPublicKey"}, c.action) {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.now()
	asked := slices.DeleteFunc(e.kmsAsked[c.region], func(at time.Time) bool { return now.Sub(at) >= time.Second })
	if len(asked) < e.options.KMSQuota {
		e.kmsAsked[c.region] = append(asked, now)
		return nil
	}
	e.kmsAsked[c.region] = asked
	return failed(429, "Rejected.Throttling", "QPS Limit Exceeded")
}

// withKey runs an action on the key that a request names.
func withKey(c *call, do func(*key) (object, *apiError)) (object, *apiError) {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	known, refused := c.e.findKey(c.region, c.param("KeyId"))
	if refused != nil {
		return nil, refused
	}
	return do(known)
}

func (k *key) metadata(account string) object {
	deleted := ""
	if !k.deleted.IsZero() {
		deleted = k.deleted.Format(stamp)
	}
	return object{
		"KeyId": k.ID, "Arn": k.ARN, "KeySpec": k.Spec, "KeyUsage": k.Usage, "KeyState": k.State, "CreationDate": k.created.Format(stamp),
		"Creator": account, "DeleteDate": deleted, "Description": k.description, "Origin": "Aliyun_KMS", "ProtectionLevel": "SOFTWARE",
		"AutomaticRotation": "Disabled", "DeletionProtection": "Disabled", "PrimaryKeyVersion": "",
	}
}

func createKey(c *call) (object, *apiError) {
	want := NewKey{Region: c.region, Spec: c.param("KeySpec"), Usage: c.param("KeyUsage")}
	if want.Spec == "" {
		want.Spec = "Aliyun_AES_256"
	}
	if want.Usage == "" {
		want.Usage = EncryptDecrypt
	}
	if want.Usage != SignVerify && want.Usage != EncryptDecrypt || want.Spec == "EC_P256" && want.Usage != SignVerify ||
		want.Spec == "Aliyun_AES_256" && want.Usage != EncryptDecrypt {
		return nil, failed(400, "InvalidParameter", "The specified parameter KeyUsage is not valid.")
	}
	made, err := c.e.CreateKey(want)
	if err != nil {
		return nil, failed(400, "InvalidParameter", "The specified parameter KeySpec is not valid: %v", err)
	}
	c.parameters["KeyId"] = made.ID
	return withKey(c, func(k *key) (object, *apiError) {
		k.description = c.param("Description")
		return object{"KeyMetadata": k.metadata(c.e.options.Account)}, nil
	})
}

func describeKey(c *call) (object, *apiError) {
	return withKey(c, func(k *key) (object, *apiError) { return object{"KeyMetadata": k.metadata(c.e.options.Account)}, nil })
}

func createKeyVersion(c *call) (object, *apiError) {
	if _, refused := withKey(c, func(k *key) (object, *apiError) { return nil, k.usable() }); refused != nil {
		return nil, refused
	}
	made, err := c.e.AddKeyVersion(c.region, c.param("KeyId"))
	if err != nil {
		return nil, failed(409, "Rejected.LimitExceeded", "%v", err)
	}
	return withKey(c, func(k *key) (object, *apiError) { return object{"KeyVersion": k.version(made)}, nil })
}

func (k *key) version(v KeyVersion) object {
	return object{"KeyId": k.ID, "KeyVersionId": v.ID, "CreationDate": v.Created.Format(stamp)}
}

func listKeyVersions(c *call) (object, *apiError) {
	number, refused := c.number("PageNumber", 1, 1<<30)
	if refused != nil {
		return nil, refused
	}
	size, refused := c.number("PageSize", 10, 100)
	if refused != nil {
		return nil, refused
	}
	return withKey(c, func(k *key) (object, *apiError) {
		listed := []object{}
		cut, total := page(c, k.Versions, number, size)
		for _, v := range cut {
			listed = append(listed, k.version(v))
		}
		return object{"KeyVersions": object{"KeyVersion": listed}, "TotalCount": total, "PageNumber": number, "PageSize": size}, nil
	})
}

func createAlias(c *call) (object, *apiError) {
	return withKey(c, func(k *key) (object, *apiError) { return object{}, c.e.addAlias(k, c.param("AliasName")) })
}

func changeState(state string) handler {
	return func(c *call) (object, *apiError) {
		return withKey(c, func(k *key) (object, *apiError) {
			k.State, k.deleted = state, time.Time{}
			return object{}, nil
		})
	}
}

func scheduleKeyDeletion(c *call) (object, *apiError) {
	days, refused := c.number("PendingWindowInDays", 0, 366)
	if refused != nil || days < 7 {
		return nil, failed(400, "InvalidParameter", "The specified parameter PendingWindowInDays is not valid.")
	}
	return withKey(c, func(k *key) (object, *apiError) {
		k.State, k.deleted = PendingDeletion, c.e.now().UTC().AddDate(0, 0, days)
		return object{}, nil
	})
}

// usable refuses keys that are not enabled.
func (k *key) usable() *apiError {
	switch k.State {
	case Disabled:
		return failed(409, "Rejected.Disabled", "The request was rejected because the specified Key is disabled.")
	case PendingDeletion:
		return failed(409, "Rejected.PendingDeletion", "The request was rejected because the specified Key is pending deletion.")
	}
	return nil
}

// numbered finds a version.
func (k *key) numbered(id string) (int, *apiError) {
	if k.private[0] == nil {
		return 0, failed(400, "UnsupportedOperation", "This action is not supported by the key spec.")
	}
	i := slices.IndexFunc(k.Versions, func(v KeyVersion) bool { return v.ID == id })
	if i < 0 {
		return 0, failed(404, "Forbidden.KeyVersionNotFound", "The specified Key version is not found.")
	}
	return i, nil
}

func getPublicKey(c *call) (object, *apiError) {
	return withKey(c, func(k *key) (object, *apiError) {
		if refused := k.usable(); refused != nil && !c.e.options.DisabledKeysTell {
			return nil, refused
		}
		i, refused := k.numbered(c.param("KeyVersionId"))
		if refused != nil {
			return nil, refused
		}
		return object{"KeyId": k.ID, "KeyVersionId": k.Versions[i].ID, "PublicKey": k.Versions[i].PEM}, nil
	})
}

// forSigning checks what AsymmetricSign and AsymmetricVerify have in common, and returns the version's private key and the hash.
func (k *key) forSigning(c *call) (crypto.Signer, []byte, *apiError) {
	if refused := k.usable(); refused != nil {
		return nil, nil, refused
	}
	i, refused := k.numbered(c.param("KeyVersionId"))
	if refused != nil {
		return nil, nil, refused
	}
	fits := []string{"RSA_PSS_SHA_256", "RSA_PKCS1_SHA_256"}
	if k.Spec == "EC_P256" {
		fits = []string{"ECDSA_SHA_256"}
	}
	if k.Usage != SignVerify || !slices.Contains(fits, c.param("Algorithm")) {
		return nil, nil, failed(400, "UnsupportedOperation", "This action is not supported by the usage of the key, or the algorithm not by its spec.")
	}
	hash, err := base64.StdEncoding.DecodeString(c.param("Digest"))
	if err != nil || len(hash) != sha256.Size {
		return nil, nil, failed(400, "InvalidParameter", "The specified parameter Digest is not valid.")
	}
	return k.private[i], hash, nil
}

// sign signs a SHA-256 hash. The salt of PSS is as long as the hash.
func sign(private crypto.Signer, algorithm string, hash []byte) ([]byte, error) {
	if algorithm == "RSA_PSS_SHA_256" {
		return private.Sign(rand.Reader, hash, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	}
	return private.Sign(rand.Reader, hash, crypto.SHA256)
}

func asymmetricSign(c *call) (object, *apiError) {
	return withKey(c, func(k *key) (object, *apiError) {
		private, hash, refused := k.forSigning(c)
		if refused != nil {
			return nil, refused
		}
		value, err := sign(private, c.param("Algorithm"), hash)
		if err != nil {
			return nil, failed(500, "InternalFailure", "%v", err)
		}
		return object{"KeyId": k.ID, "KeyVersionId": c.param("KeyVersionId"), "Value": base64.StdEncoding.EncodeToString(value)}, nil
	})
}

func asymmetricVerify(c *call) (object, *apiError) {
	return withKey(c, func(k *key) (object, *apiError) {
		private, hash, refused := k.forSigning(c)
		if refused != nil {
			return nil, refused
		}
		value, err := base64.StdEncoding.DecodeString(c.param("Value"))
		if err != nil {
			return nil, failed(400, "InvalidParameter", "The specified parameter Value is not valid.")
		}
		good := false
		switch public := private.Public().(type) {
		case *ecdsa.PublicKey:
			good = ecdsa.VerifyASN1(public, hash, value)
		case *rsa.PublicKey:
			if c.param("Algorithm") == "RSA_PSS_SHA_256" {
				good = rsa.VerifyPSS(public, crypto.SHA256, hash, value, nil) == nil
			} else {
				good = rsa.VerifyPKCS1v15(public, crypto.SHA256, hash, value) == nil
			}
		}
		return object{"KeyId": k.ID, "KeyVersionId": c.param("KeyVersionId"), "Value": good}, nil
	})
}
