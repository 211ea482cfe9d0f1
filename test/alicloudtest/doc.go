// Package alicloudtest emulates the parts of Alibaba Cloud that the product talks to, for tests and for trying it out
// without an account: KMS, Security Center, Container Registry, STS, the metadata of an instance, and a registry that
// signs what is pushed. README.md says, action by action, what is documented and what is our guess.
//
// It shares no code with the product: it is a second reading of the same facts.
//
//	options.go       what Start takes
//	emulator.go      start, close, addresses
//	certificate.go   its own certificate authority
//	rpc.go           requests of the RPC style: read, authenticate, allow, answer
//	action.go        the table of actions: parameters and RAM names
//	signature.go     the signature, timestamps, nonces
//	answer.go        errors and answers as the services write them
//	identity.go      users, roles, temporary credentials
//	kms.go           keys
//	kms_actions.go   KMS
//	sas.go           Security Center
//	cr.go            Container Registry: instances, occurrences, logins
//	sts.go           AssumeRoleWithOIDC
//	metadata.go      instance metadata
//	registry.go      the registry of the instances
//	rule.go          signature rules
//	fault.go         faults on demand
//	calls.go         counters
//	state.go         a state to begin with, as YAML
//	admin.go         /_emulator/, for a shell
package alicloudtest
