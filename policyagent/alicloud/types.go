package alicloud

import (
	"fmt"
	"time"
)

// Witness is a Security Center attestor: a name for a KMS key.
type Witness struct {
	Name string
	// KeyID is a key ID, an alias or an ARN; KeyRegion is empty if the service named none.
	KeyID, KeyRegion string
	// KeyVersion is empty if the witness names none.
	KeyVersion string
	Remark     string
}

// SecurityPolicy is a Security Center policy: which witnesses must attest what runs where.
type SecurityPolicy struct {
	Name string
	// Enabled is the policy's switch. Both documented spellings of on are on; anything that is not a documented off or on
	// makes the listing fail.
	Enabled   bool
	Witnesses []string
	Scopes    []ClusterScope
	Remark    string
}

// ClusterScope is where a policy applies.
type ClusterScope struct {
	ClusterID  string
	Namespaces []string
}

// KeyReference names a KMS key.
type KeyReference struct {
	// Region is where the key is; empty: the Client's own region.
	Region string
	// ID is a key ID ("key-…" or a UUID) or an alias ("alias/…"), never an ARN: ParseKeyReference takes those apart.
	ID string
	// Version is a key version's ID; empty: the newest.
	Version string
}

// PublicKey is one version of an asymmetric KMS key for signing.
type PublicKey struct {
	// ID is what KMS calls the key, whatever alias it was asked by; Version is the version's ID.
	ID, Version string
	// ARN is empty if KMS told none.
	ARN string
	// PEM is the key in PKIX.
	PEM string
	// State is KMS' KeyState: "Enabled", "Disabled", "PendingDeletion".
	State string
}

// Instance is an ACR Enterprise Edition instance.
type Instance struct {
	ID, Name, Region string
}

// Occurrence is an attestation as ACR carries it: kritis' payload and signatures. Nothing in it is trusted.
type Occurrence struct {
	NoteName, ResourceURI string
	Payload               []byte
	Signatures            []OccurrenceSignature
}

// OccurrenceSignature is a detached signature over an Occurrence's payload.
type OccurrenceSignature struct {
	KeyID string
	Value []byte
}

// Login is a temporary login at an ACR instance.
type Login struct {
	User, Password string
	Expires        time.Time
}

// Kind says what an Error means for whoever has to act. The zero value is Unavailable: nothing was learned.
type Kind int

const (
	// Unavailable means no answer, a fault of the service, or throttled until the context ended. Another try may help.
	Unavailable Kind = iota
	// Denied means that the RAM policy does not allow the action.
	Denied
	// Unauthenticated means that the credentials are wrong, expired or could not be had.
	Unauthenticated
	// NotFound means that there is no such key, instance or object.
	NotFound
	// Disabled means that the key exists and may not be used.
	Disabled
	// Unfit means that what was found cannot be used: a key of another kind, an answer of an unknown shape.
	Unfit
)

// Error is what every call returns that failed.
type Error struct {
	Kind Kind
	// Service and Action say what was asked: "kms", "GetPublicKey".
	Service, Action string
	// Code is the service's own, such as Forbidden.NoPermission; empty if it did not answer. RequestID is for its support.
	Code, RequestID string
	// Text is one line in lower case: what went wrong and what to do. It holds no secret.
	Text string
	// cause is the context's error if that ended the call, else nil.
	cause error
}

// Unwrap returns the context's error if that ended the call.
func (e *Error) Unwrap() error { return e.cause }

// Error returns one line.
func (e *Error) Error() string {
	s := e.Service + " " + e.Action + ": " + e.Text
	if e.Code != "" {
		s += fmt.Sprintf(" (%s, request %s)", e.Code, e.RequestID)
	}
	return s
}
