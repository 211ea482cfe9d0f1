package verifier

import (
	"errors"
	"fmt"
	"slices"
)

// maxAlgorithms is more than there are names.
const maxAlgorithms = 16

// rsaNames are the names of RSA algorithms over SHA-256: those of KMS fit every size, those of upstream kritis
// (Binary Authorization's PkixPublicKey.SignatureAlgorithm) fix it.
// https://cloud.google.com/binary-authorization/docs/reference/rest/v1/PkixPublicKey
var rsaNames = map[string]struct {
	algorithm string
	bits      int
}{
	RSAPKCS1SHA256:               {RSAPKCS1SHA256, 0},
	"RSA_SIGN_PKCS1_2048_SHA256": {RSAPKCS1SHA256, 2048},
	"RSA_SIGN_PKCS1_3072_SHA256": {RSAPKCS1SHA256, 3072},
	"RSA_SIGN_PKCS1_4096_SHA256": {RSAPKCS1SHA256, 4096},
	RSAPSSSHA256:                 {RSAPSSSHA256, 0},
	"RSA_PSS_2048_SHA256":        {RSAPSSSHA256, 2048},
	"RSA_SIGN_PSS_2048_SHA256":   {RSAPSSSHA256, 2048},
	"RSA_PSS_3072_SHA256":        {RSAPSSSHA256, 3072},
	"RSA_SIGN_PSS_3072_SHA256":   {RSAPSSSHA256, 3072},
	"RSA_PSS_4096_SHA256":        {RSAPSSSHA256, 4096},
	"RSA_SIGN_PSS_4096_SHA256":   {RSAPSSSHA256, 4096},
}

// ecNames are the names of ECDSA over P-256 and SHA-256.
var ecNames = []string{ECDSASHA256, "ECDSA_P256_SHA256", "EC_SIGN_P256_SHA256"}

// refusedNames exist and are not for us: other hashes, other curves, or no statement at all.
var refusedNames = []string{
	"RSA_PSS_4096_SHA512", "RSA_SIGN_PSS_4096_SHA512", "RSA_SIGN_PKCS1_4096_SHA512",
	"ECDSA_P384_SHA384", "EC_SIGN_P384_SHA384", "ECDSA_P521_SHA512", "EC_SIGN_P521_SHA512",
	"SIGNATURE_ALGORITHM_UNSPECIFIED",
}

// rsaAlgorithms turns the names written for an RSA key into algorithms. One name that does not fit refuses the key:
// its owner meant something else than what would happen.
func rsaAlgorithms(names []string, bits int) ([]string, error) {
	if len(names) == 0 {
		if bits != 2048 {
			return nil, fmt.Errorf(errKeyNeedsAlgorithm, fmt.Sprintf("RSA-%d", bits), RSAPKCS1SHA256)
		}
		return []string{RSAPKCS1SHA256, RSAPSSSHA256}, nil
	}
	return readAlgorithms(names, func(name string) (string, error) {
		known, ok := rsaNames[name]
		switch {
		case !ok && slices.Contains(ecNames, name):
			return "", fmt.Errorf(errAlgorithmKey, name, "an RSA key")
		case !ok:
			return "", unknownAlgorithm(name)
		case known.bits != 0 && known.bits != bits:
			return "", fmt.Errorf(errAlgorithmKey, name, fmt.Sprintf("an RSA key of %d bits", bits))
		}
		return known.algorithm, nil
	})
}

// ecAlgorithms does the same for a P-256 key.
func ecAlgorithms(names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, fmt.Errorf(errKeyNeedsAlgorithm, "EC P-256", ECDSASHA256)
	}
	return readAlgorithms(names, func(name string) (string, error) {
		if slices.Contains(ecNames, name) {
			return ECDSASHA256, nil
		}
		if _, ok := rsaNames[name]; ok {
			return "", fmt.Errorf(errAlgorithmKey, name, "an EC P-256 key")
		}
		return "", unknownAlgorithm(name)
	})
}

func readAlgorithms(names []string, read func(string) (string, error)) ([]string, error) {
	if len(names) > maxAlgorithms {
		return nil, fmt.Errorf(errAlgorithmsMany, maxAlgorithms)
	}
	var algorithms []string
	for _, name := range names {
		algorithm, err := read(name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(algorithms, algorithm) {
			algorithms = append(algorithms, algorithm)
		}
	}
	return algorithms, nil
}

func unknownAlgorithm(name string) error {
	switch {
	case name == "":
		return errors.New(errAlgorithmEmpty)
	case slices.Contains(refusedNames, name):
		return fmt.Errorf(errAlgorithmRefused, name)
	default:
		return fmt.Errorf(errAlgorithmUnknown, brief(name, maxName))
	}
}
