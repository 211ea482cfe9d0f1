// Package statement reads signed statements in the raw forms that they travel in, outside registries: that of Grafeas and
// kritis, with or without the wrapper {"attestation": …} of an occurrence,
//
//	{"serializedPayload": "<base64>", "signatures": [{"publicKeyId": "…", "signature": "<base64>"}]}
//
// and a sigstore bundle as `cosign sign --bundle` writes it. The payload of the first may be of kritis' type or of
// cosign's. It proves nothing: verifier reads the payload again, and strictly.
package statement
