package securitycenter

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// Label is on every object that this package makes, with LabelValue.
const (
	Label      = "kritis.grafeas.io/managed-by"
	LabelValue = "security-center"
)

// Annotations of those objects. What a restart needs to know stands in them.
const (
	// annotationName is what Security Center calls the witness or policy.
	annotationName = "kritis.grafeas.io/security-center-name"
	// annotationKeys are an authority's keys as JSON, the one that the witness names first: see keyNote.
	annotationKeys = "kritis.grafeas.io/security-center-keys"
	// annotationWitnesses are a policy's witnesses as JSON.
	annotationWitnesses = "kritis.grafeas.io/security-center-witnesses"
)

// FieldManager is this package's name as an owner of fields.
const FieldManager = "kritis-securitycenter"

// maxPlain bounds a name that is taken as it is: the alternative, which is longer, must be a name too.
const maxPlain = 200

var (
	subdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	unusual   = regexp.MustCompile(`[^a-z0-9]+`)
	namespace = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
)

// plainName is the name of the object for a witness or a policy: its own if an object can have it.
func plainName(cloud string) string {
	if len(cloud) <= maxPlain && subdomain.MatchString(cloud) {
		return cloud
	}
	readable := unusual.ReplaceAllString(strings.ToLower(cloud), "-")
	return strings.Trim(readable[:min(len(readable), 50)]+"-"+shortHash(cloud), "-")
}

// alternativeName is the name if a user's object has the plain one.
func alternativeName(cloud string) string { return plainName(cloud) + "-sc-" + shortHash(cloud) }

func nameOf(cloud string, alternative bool) string {
	if alternative {
		return alternativeName(cloud)
	}
	return plainName(cloud)
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}
