package verifier

// Format is the form in which a signed statement is carried.
type Format string

const (
	// FormatKritis is a payload of type "atomic container signature" with detached signatures.
	FormatKritis Format = "kritis"
	// FormatCosign is cosign's classic form: a payload of type "cosign container image signature", one signature.
	FormatCosign Format = "cosign"
	// FormatBundle is a sigstore bundle 0.3 with a DSSE envelope, cosign 3's default.
	FormatBundle Format = "bundle"
)

// Attestation is a signed statement as somebody supplied it. Nothing in it is trusted: it proves itself, or not.
type Attestation struct {
	Format Format `json:"format"`
	// Payload is the signed bytes (kritis, cosign) or the bundle's JSON (bundle).
	Payload []byte `json:"payload"`
	// Signatures are the detached signatures over Payload. Empty for bundles, which carry their own.
	Signatures []Signature `json:"signatures,omitempty"`
	// Source says where this was found, for people: "registry.example/app:sha256-….sig", say.
	Source string `json:"source,omitempty"`
}

// Signature is a detached signature.
type Signature struct {
	// KeyID is what the signer calls the key. It orders attempts, no more.
	KeyID string `json:"keyId,omitempty"`
	Value []byte `json:"value"`
}

// Limits of what is read. One more is refused, and said so.
const (
	// MaxPayload is the size of a payload or bundle in bytes. A cosign payload has some 300.
	MaxPayload = 128 << 10
	// MaxSignatures is the number of signatures of one attestation.
	MaxSignatures = 16
	// MaxAttestations is the number of attestations of one repository and digest.
	MaxAttestations = 256
	// MaxAttempts is the number of failed attempts kept as evidence for one authority.
	MaxAttempts = 16
)
