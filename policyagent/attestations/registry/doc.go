// Package registry finds attestations in OCI registries, next to the image that they are about:
//
//   - cosign's classic signatures: the manifest with tag sha256-<hex>.sig, one layer per signature;
//   - sigstore bundles (cosign 3): what the referrers API lists for the digest, or, in registries without that API, the
//     index with tag sha256-<hex>.
//
// A registry that says "not found" has none. Whatever else it says means that nobody could tell: 401, 403, 429 and
// 5xx, timeouts, bytes that are cut short, too many, or not what their digest says. Errors name the host and its answer,
// and pass through redact, so that no password, token or signed URL reaches a log.
//
// # Who is talked to
//
// Images name the registry, so whoever may create a pod chooses the host. Plain HTTP is used only for hosts that are
// configured for it (go-containerregistry alone would try it for localhost and private addresses), and link-local
// addresses and those of the cloud's metadata service are never connected to. Mirrors are tried in order, then the host
// itself, whose answer is the one that counts if no mirror has any attestation. Attestations belong to the repository as
// written, wherever they were found.
//
// # Who gets credentials
//
// Credentials come from a Docker config file, read at each use because cloud credentials last an hour. Those of a
// registry are sent to that host, and, as the Docker token protocol has it, to the token server that it names in its
// challenge (Docker Hub's is auth.docker.io): over HTTPS only, unless that host is configured for plain HTTP, and only to
// those in tokenHosts if that list is set. A redirect to another host, of the registry or of the token server, never
// carries them, and a registry that redirects its whole API elsewhere is not logged in to. Credential helpers are programs and run only if explicitly allowed.
//
// go-containerregistry does the token exchange (transport.NewWithContext). Manifests, referrers and blobs are read
// here: its reader takes 100 MiB of manifest and does not follow the pages of referrers.
package registry
