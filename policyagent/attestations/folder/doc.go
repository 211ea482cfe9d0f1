// Package folder finds attestations in files: signatures made offline, brought along, or kept in a ConfigMap.
//
// The files of a digest are those directly in the folder whose names begin with sha256-<hex> and end in .json, so
// several can stand side by side: sha256-<hex>.json, sha256-<hex>-qa.json. Two forms are read: that of Grafeas and
// kritis, with or without the wrapper {"attestation": …} of an occurrence,
//
//	{"serializedPayload": "<base64>", "signatures": [{"publicKeyId": "…", "signature": "<base64>"}]}
//
// and a sigstore bundle as `cosign sign --bundle` writes it. The payload of the first may be of kritis' type or of
// cosign's. Names say nothing about repositories; the payloads do.
//
// A folder that does not exist is an error, not "none": it is an unmounted volume more often than a wish. A file that
// cannot be read is an error too, and the others are returned beside it. Files and links that lead out of the folder are
// refused; links within it are followed, because ConfigMaps are made of them.
package folder
