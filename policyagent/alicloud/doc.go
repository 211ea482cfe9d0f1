// Package alicloud asks Alibaba Cloud: KMS for public keys and signatures, Security Center for witnesses and policies,
// Container Registry for attestations and temporary credentials.
//
// It wraps alibaba-cloud-sdk-go, whose types stay inside: the SDK knows no contexts, its clients must not be shared between
// goroutines, and its defaults are plain HTTP and whichever credentials it finds. Here a Client is safe for concurrent use,
// every call ends with its context, everything goes over HTTPS, and credentials come from the one source that was named.
// Calls that were throttled or that met a server's fault are tried again within the context's deadline.
//
// Errors say which action of which service failed and what to do; they never hold a secret. See Error.
package alicloud
