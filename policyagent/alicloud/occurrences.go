package alicloud

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

const listOccurrences = "ListMetadataOccurrences"

// occurrenceNames are the names of ListMetadataOccurrences, of which only the RAM action is documented. All are guesses,
// after Grafeas, whose data model ACR follows, and after ACR's other actions. Correct them here when the raw answer of a
// real instance says so (see Client.RawOccurrences).
// https://github.com/grafeas/grafeas/blob/master/proto/v1beta1/attestation.proto
var occurrenceNames = struct {
	// Parameters.
	instance, note, resource, kind, kindAttestation, page string
	// Members. Each is accepted with a small first letter too.
	list, noteName, kindName, resourceObject, resourceURI, resourceURIFlat string
	// wrappers are objects that may stand between an occurrence and its payload, from the outside in.
	wrappers                                    []string
	payload, signatures, publicKeyID, signature string
}{
	instance: "InstanceId", note: "NoteName", resource: "ResourceUri", kind: "Kind", kindAttestation: "ATTESTATION", page: "PageNo",
	list: "Occurrences", noteName: "NoteName", kindName: "Kind", resourceObject: "Resource", resourceURI: "Uri", resourceURIFlat: "ResourceUri",
	wrappers: []string{"Attestation", "Attestation", "GenericSignedAttestation"},
	payload:  "SerializedPayload", signatures: "Signatures", publicKeyID: "PublicKeyId", signature: "Signature",
}

// Occurrences returns the attestations that ACR keeps for a resource, "https://host/namespace/repo@sha256:…", of one note,
// or of all if note is empty. Nothing in them is checked.
//
// Experimental: the action is not documented, and this was never run against the real service. An answer of a shape that
// is not known is an Error of Kind Unfit, not an empty list.
func (c *Client) Occurrences(ctx context.Context, i Instance, note, resourceURI string) ([]Occurrence, error) {
	var all []Occurrence
	err := c.all(ctx, listing{
		call:   occurrencesCall(i, note, resourceURI),
		number: occurrenceNames.page, size: 100,
		page: occurrencePage,
		item: func(o object) (string, error) {
			occurrence, ours, err := occurrence(o)
			if ours {
				all = append(all, occurrence)
			}
			return "", err
		},
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// RawOccurrences returns the first page of the answer that Occurrences would read, as JSON with credentials and account
// numbers taken out, so that it can be shown to others.
func (c *Client) RawOccurrences(ctx context.Context, i Instance, note, resourceURI string) ([]byte, error) {
	what := occurrencesCall(i, note, resourceURI)
	what.parameters[occurrenceNames.page], what.parameters["PageSize"] = "1", "100"
	o, failed := c.ask(ctx, what)
	if failed != nil {
		return nil, failed
	}
	raw, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return nil, cr.unfit(listOccurrences, "the answer cannot be written as JSON")
	}
	if as, err := c.credentials.get(ctx); err == nil {
		raw = []byte(as.redactor()(string(raw)))
	}
	return redactRaw(raw), nil
}

// redactRaw takes out what says by its name that it is a secret, and the numbers of accounts: they stand between colons in
// ARNs, and elsewhere on their own.
func redactRaw(raw []byte) []byte {
	secret := regexp.MustCompile(`(?i)("[^"]*(?:token|secret|password|accesskey)[^"]*"\s*:\s*)("(?:[^"\\]|\\.)*"|[0-9.eE+-]+)`)
	raw = secret.ReplaceAll(raw, []byte(`${1}"REDACTED"`))
	return regexp.MustCompile(`\b[0-9]{16}\b`).ReplaceAll(raw, []byte("REDACTED"))
}

func occurrencesCall(i Instance, note, resourceURI string) call {
	n := occurrenceNames
	return call{cr, listOccurrences, i.Region, map[string]string{n.instance: i.ID, n.note: note, n.resource: resourceURI, n.kind: n.kindAttestation}}
}

// occurrencePage accepts answers without TotalCount: then a page that is not full is the last.
func occurrencePage(o object) ([]json.RawMessage, int, error) {
	total, told, err := o.count("TotalCount")
	if err != nil {
		return nil, 0, err
	}
	items, found, err := o.list(occurrenceNames.list)
	switch {
	case err != nil:
		return nil, 0, err
	case !found && (!told || total > 0):
		return nil, 0, fmt.Errorf("it has no %s", occurrenceNames.list)
	case !told:
		total = -1
	}
	return items, total, nil
}

// occurrence reads one; ours is false if it is of another kind than attestations.
func occurrence(o object) (occ Occurrence, ours bool, err error) {
	n := occurrenceNames
	kind, err := o.text(n.kindName)
	if err != nil {
		return occ, false, err
	}
	if kind != "" && !strings.EqualFold(kind, n.kindAttestation) {
		return occ, false, nil
	}
	if occ.NoteName, err = o.text(n.noteName); err != nil {
		return occ, false, err
	}
	if occ.ResourceURI, err = resourceOf(o); err != nil {
		return occ, false, err
	}
	for _, name := range n.wrappers {
		inner, found, err := o.child(name)
		if err != nil {
			return occ, false, err
		}
		if found {
			o = inner
		}
	}
	if occ.Payload, err = bytesOf(o, n.payload); err != nil {
		return occ, false, err
	}
	signatures, found, err := o.list(n.signatures)
	if err != nil || !found {
		return occ, false, fmt.Errorf("it has no %s", n.signatures)
	}
	for _, raw := range signatures {
		s, err := parseObject(raw)
		if err != nil {
			return occ, false, fmt.Errorf("%s: %w", n.signatures, err)
		}
		var signature OccurrenceSignature
		if signature.KeyID, err = s.text(n.publicKeyID); err != nil {
			return occ, false, err
		}
		if signature.Value, err = bytesOf(s, n.signature); err != nil {
			return occ, false, err
		}
		occ.Signatures = append(occ.Signatures, signature)
	}
	return occ, true, nil
}

func resourceOf(o object) (string, error) {
	if flat, err := o.text(occurrenceNames.resourceURIFlat); err != nil || flat != "" {
		return flat, err
	}
	resource, _, err := o.child(occurrenceNames.resourceObject)
	if err != nil {
		return "", err
	}
	return resource.text(occurrenceNames.resourceURI)
}

// bytesOf reads a member in base64, of either alphabet, padded or not.
func bytesOf(o object, name string) ([]byte, error) {
	s, err := o.text(name)
	if err != nil {
		return nil, err
	}
	s = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/", "\n", "", "\r", "").Replace(s), "=")
	b, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil || len(b) == 0 {
		return nil, fmt.Errorf("%s is not base64", name)
	}
	return b, nil
}
