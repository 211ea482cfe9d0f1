package verifier

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Everything that people read from this package stands here. Texts say what, why, and what to do next, in one line
// and in lower case.

const (
	maxMessage = 1 << 10
	maxImage   = 256
	maxSource  = 256
	maxName    = 128
	maxArg     = 300
	ellipsis   = "…"
)

// What Message begins with. Users of kritis know the first by heart, and scripts look for it.
const (
	messageDenied  = "image %s is not attested"
	messageUnknown = "image %s could not be verified"
	messageAllowed = "image %s may run"
)

// Verdict.Detail.
const (
	detailInternal         = "kritis-node failed inside: see its log, and please report it"
	detailRuntimeHandler   = "runtime handler %q may not run on this node: list it under runtimeHandlers in the node's floor, or take runtimeClassName off the pod"
	detailCheckpoint       = "it is restored from a checkpoint, which need not hold what the image says: start it from its image"
	detailNoSnapshot       = "no policy has arrived on this node yet: start the policy agent here, and see `kritis status`"
	detailNoPolicyDenied   = "namespace %q has no policy and this node demands one: create a GenericAttestationPolicy in it"
	detailInvalidReference = "%s"
	detailTag              = "it is named by tag: name it by its digest, as `kritis resolve` does in manifests"
	detailTagKnown         = "it is named by tag: name it by its digest, here %s"
	detailTagElsewhere     = "on this node no digest of its repository leads to the content that would run: pull the image again"
	detailDigestElsewhere  = "on this node the digest does not lead to the content that would run: pull the image again by this digest"
	detailNameElsewhere    = "%s lists the name, but on this node it belongs to other content than would run: remove the image from the node and pull it again"
	detailRuntimeFailed    = "the runtime could not say what would run: %s: it will be tried again"
	detailSourceFailed     = "not all attestations could be had: %s: it will be tried again, and `kritis status` tells more"
	detailNoPolicyCan      = "policy %s cannot be satisfied: %s"
	detailAuthorityCannot  = "authority %s, which policy %s requires, cannot attest: %s"
	detailNoAttestation    = "authority %s, which policy %s requires, has not attested it: sign it with `kritis sign --key FILE IMAGE`"
	detailNoneCounts       = "no attestation by authority %s, which policy %s requires, counts: %s: sign it with `kritis sign --key FILE IMAGE`"
)

// PolicyResult.Why and AuthorityResult.Why.
const (
	whyTag                = "the policy demands a digest and the image is named by tag"
	whyAllowed            = "its pattern %s allows the name"
	whyPolicyNameless     = "it has no name or no namespace"
	whyPolicyDuplicate    = "it exists twice"
	whyAuthoritiesMany    = "it names more than 1000 authorities"
	whyNoAuthorities      = "it names no authority"
	whyAuthorityMissing   = "it does not exist"
	whyAuthorityDuplicate = "it exists twice"
	whyNoKey              = "it has no usable key"
	whyUnknown            = "nobody could tell: its attestations could not be had"
)

// Attempt.Why.
const (
	whyPayloadSize        = "it is larger than 128 KiB"
	whySignatureCount     = "it carries more than 16 signatures"
	whyCosignSignatures   = "it carries more than one signature"
	whyBundleSignatures   = "a bundle carries its own signature and came with others"
	whyUnsigned           = "it carries no signature"
	whyFormat             = "its format is not known"
	whyJSON               = "it is not one JSON text in UTF-8"
	whyDuplicate          = "its JSON has a member twice"
	whyDepth              = "its JSON nests too deep"
	whyNoCritical         = "its critical members are not exactly identity, image and type"
	whyType               = "its type is %q"
	whyRepositoryForm     = "its docker-reference is not a bare repository"
	whyRepository         = "it approves repository %s"
	whyDigestForm         = "its digest is not sha256 in lower-case hexadecimal"
	whyDigest             = "it approves digest %s"
	whyBundle             = "it is not a sigstore bundle with a public key"
	whyMediaType          = "its media type is %q, not that of a sigstore bundle 0.3"
	whyMessageSignature   = "it signs a file, not an image"
	whyCertificate        = "it was signed with a certificate, and authorities have keys"
	whyEnvelope           = "its DSSE envelope is malformed"
	whyEnvelopeSignatures = "its DSSE envelope does not carry exactly one signature"
	whyPayloadType        = "its payload type is %q, not in-toto"
	whyBase64             = "its base64 is not the standard one"
	whyStatement          = "it is not an in-toto statement with a subject"
	whyStatementType      = "its statement type is %q, not in-toto v1"
	whyPredicate          = "its predicate %q states something else than an approval"
	whySubjects           = "its statement has more than 64 subjects"
	whyBound              = "it names no repository, and the authority demands that"
	whyKey                = "it was signed with key %q, which is not the authority's"
	whySignature          = "its signature fits none of the authority's keys"
	whyExhausted          = "its signature was not tried: there were too many before it"
)

// Why not everything was looked at.
const (
	errDigestsMany       = "the content has more than %d digests in its repository"
	errAttestationsMany  = "there are more than %d attestations of one digest, and none of the first is valid"
	errPayloadTotal      = "the attestations are larger than %d bytes together, and none of the first is valid"
	errAttestationUnread = "one of its attestations was not read, because %s, and none of the others is valid"
	errVerificationsMany = "there are more than %d signatures to check, and none of the first is valid"
)

// Outcomes, references and patterns.
const (
	errOutcome          = "%q is not an outcome"
	errDigest           = "the digest is not sha256: and 64 lower-case hexadecimal digits"
	errReferenceEmpty   = "the image has no name"
	errReferenceLong    = "the image's name is longer than %d bytes"
	errReferenceASCII   = "the image's name has characters that no name can have (space, control or non-ASCII)"
	errReferenceID      = "it is an image ID, which says nothing of where the image comes from: name the image by repository and digest"
	errReferenceCase    = "the image's host or repository has upper-case letters: write it in lower case"
	errReferenceForm    = "it is not an image's name of the form host/repository@sha256:digest"
	errRepositoryForm   = "it is not a repository without tag and digest"
	errPatternEmpty     = "the pattern is empty: remove it, or write a name"
	errPatternLong      = "the pattern is longer than %d bytes"
	errPatternChars     = "the pattern has characters that no image's name can have: only * has a meaning of its own"
	errNamespacePattern = "it is not a namespace, nor a pattern of one with *"
)

// Keys.
const (
	errSignature         = "the signature is not valid for this key"
	errKeyLong           = "the key is longer than %d bytes: give one public key"
	errKeyPEM            = `it is not a public key in PEM: it must begin with "-----BEGIN PUBLIC KEY-----"`
	errKeyPrivate        = "it is a private key: take it out of here at once, replace it, and give the public key of the new one"
	errKeyPGP            = "it is a PGP key, which is not supported: sign with an RSA-2048 key and give its public key in PEM"
	errKeyCertificate    = "it is a certificate: give the public key in it (`openssl x509 -pubkey -noout`)"
	errKeyPKCS1          = "it is a PKCS #1 key: convert it (`openssl rsa -RSAPublicKey_in -pubout`)"
	errKeyTrailing       = "there is something beside the one public key: give every key its own entry, without headers or comments"
	errKeyUnknown        = "it is not a public key of a known kind: RSA-2048 is"
	errKeyEncoding       = "its encoding is not the canonical DER of a public key: export it anew"
	errKeyType           = "its kind is not supported: use RSA-2048"
	errKeyCurve          = "curve %s is not supported: use RSA-2048, or EC P-256"
	errKeySize           = "an RSA key of %d bits is not supported: use 2048 bits, or 3072 or 4096 with an algorithm named"
	errKeyExponent       = "its exponent is not an odd number from 65537 on: make a new key"
	errKeyModulus        = "its modulus is not that of an RSA key: make a new key"
	errKeyNeedsAlgorithm = "a key of kind %s needs its algorithm named, such as %s"
	errAlgorithmKey      = "algorithm %s does not fit: this is not a key for it, but %s"
	errAlgorithmsMany    = "there are more than %d algorithms"
	errAlgorithmEmpty    = "an algorithm without a name: remove it"
	errAlgorithmRefused  = "algorithm %s is not supported: use one with SHA-256"
	errAlgorithmUnknown  = "algorithm %q is not known: RSA_PKCS1_SHA_256, RSA_PSS_SHA_256 and ECDSA_SHA_256 are"
)

// Problem.Text, apart from the errors above.
const (
	textNameMissing       = "it has no name or no namespace: give it both"
	textFloorAuthority    = "an authority of the floor has a name and no namespace"
	textDuplicate         = "it exists twice, so neither counts: remove one"
	textKeyLimit          = "it has more than 16 keys: the further ones do not count"
	textKeyMissing        = "it has no key, so it attests nothing: add its public key"
	textTagPolicy         = "the tag policy is neither Reject nor Resolve, so images named by tag are rejected"
	textNoAuthorities     = "it names no authority, so nothing satisfies it: name one"
	textAuthoritiesMany   = "it names more than 1000 authorities, so nothing satisfies it: split it, or name fewer"
	textMoreProblems      = "it has more problems than these: correct these first"
	textAuthorityMissing  = "authority %s does not exist, so nothing satisfies the policy: create it, or remove its name"
	textAuthorityUnusable = "authority %s attests nothing, so nothing satisfies the policy: see its own condition"
)

// Message returns what the runtime, and so the user, reads about a verdict: one line, at most 1 KiB. What dry run makes
// of the verdict is not in it.
func Message(image string, v Verdict) string {
	form := messageDenied
	switch v.Outcome {
	case Allowed:
		form = messageAllowed
	case CouldNotTell:
		form = messageUnknown
	}
	m := fmt.Sprintf(form, cut(ascii(image), maxImage))
	if v.Detail != "" {
		m += ": " + printable(v.Detail)
	}
	return cut(m, maxMessage)
}

// notAttestedDetail tells of the first policy what is missing: further ones are alternatives.
func notAttestedDetail(policies []PolicyResult) string {
	for _, p := range policies {
		name := objectName("", p.Namespace, p.Name)
		if p.Why != "" {
			return why(detailNoPolicyCan, name, p.Why)
		}
		for _, a := range p.Authorities {
			switch {
			case a.Attested:
			case a.Why != "":
				return why(detailAuthorityCannot, a.Name, name, a.Why)
			case len(a.Attempts) > 0:
				return why(detailNoneCounts, a.Name, name, a.Attempts[0].Why)
			default:
				return why(detailNoAttestation, a.Name, name)
			}
		}
	}
	return ""
}

// why fills a text. What comes from outside is made printable and short.
func why(form string, args ...string) string {
	short := make([]any, len(args))
	for i, a := range args {
		short[i] = brief(a, maxArg)
	}
	return fmt.Sprintf(form, short...)
}

func brief(s string, limit int) string { return cut(printable(cut(s, limit)), limit) }

// printable writes out whatever could move a cursor, hide text or turn its direction.
func printable(s string) string {
	return escape(s, strconv.IsPrint)
}

// ascii writes out look-alikes too: an image's name has no other characters.
func ascii(s string) string {
	return escape(s[:min(len(s), MaxReference)], func(r rune) bool { return r > ' ' && r < 0x7f })
}

func escape(s string, keep func(rune) bool) string {
	var b strings.Builder
	for _, r := range s {
		// Bytes that are no UTF-8 come as the replacement character.
		if keep(r) && r != utf8.RuneError {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
	}
	return b.String()
}

// cut shortens a text to so many bytes, the ellipsis included, without halving a character.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	end := limit - len(ellipsis)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + ellipsis
}
