package verifier

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzPayload holds that whatever checkPayload passes says, to a plain JSON parser too, what it was passed for.
func FuzzPayload(f *testing.F) {
	f.Add(payload(typeKritis, appRepo, appDigest))
	f.Add(payload(typeCosign, appRepo, appDigest))
	f.Add(golden(f, "classic.payload.json"))
	f.Add([]byte(`{"critical":{},"critical":{}}`))
	f.Add([]byte(strings.Repeat("[", 100)))
	f.Fuzz(func(t *testing.T, data []byte) {
		if checkPayload(data, typeKritis, appRepo, appDigest) != nil {
			return
		}
		var said struct {
			Critical struct {
				Identity struct {
					Reference string `json:"docker-reference"`
				}
				Image struct {
					Digest string `json:"docker-manifest-digest"`
				}
				Type string
			}
		}
		if err := json.Unmarshal(data, &said); err != nil && !strings.Contains(err.Error(), "cannot unmarshal") {
			t.Errorf("%q passes and is no JSON: %v", data, err)
		}
		// encoding/json takes members in other case for these; such payloads say more than we read and are none of its business.
		if !utf8.Valid(data) || strings.Contains(strings.ToLower(strings.Replace(string(data), "critical", "", 1)), "critical") {
			return
		}
		if said.Critical.Image.Digest != string(appDigest) || said.Critical.Type != typeKritis {
			t.Errorf("%q passes and says %+v", data, said)
		}
	})
}

func FuzzBundle(f *testing.F) {
	f.Add(bundleBy(qaKey(), appDigest).Payload)
	f.Add(bundleBy(qaKey(), otherDigest, appDigest).Payload)
	f.Add(golden(f, "bundle.json"))
	f.Add(golden(f, "sbom.bundle.json"))
	f.Add([]byte(`{"dsseEnvelope":{"signatures":[{}]},"verificationMaterial":{"publicKey":null}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		message, signatures, failed := readBundle(data, appDigest)
		if failed != nil {
			if failed.check == "" || failed.why == "" {
				t.Errorf("%q fails without a reason", data)
			}
			return
		}
		if len(signatures) != 1 || !strings.Contains(string(message), signPredicate[:5]) || !strings.Contains(string(data), "dsseEnvelope") {
			t.Errorf("%q passes", data)
		}
	})
}

// FuzzDecide hands over attestations that nobody signed: none may ever admit, and nothing may panic.
func FuzzDecide(f *testing.F) {
	good := kritisBy(qaKey(), "kms-qa", appDigest)
	bundle := bundleBy(otherKey(), appDigest)
	f.Add(appPinned, "kritis", good.Payload, []byte("signature"), "kms-qa")
	f.Add(appPinned, "kritis", good.Payload, good.Signatures[0].Value[:128], "")
	f.Add(appTagged, "cosign", payload(typeCosign, appRepo, appDigest), make([]byte, 256), "x")
	f.Add(appPinned, "bundle", bundle.Payload, []byte{}, "")
	f.Add(sidecar, "", []byte("{}"), []byte{0}, "kms-qa")
	f.Add("sha256:"+hexA, "kritis", []byte{}, []byte{}, "")
	doc := document()
	doc.Policies[0].TagPolicy = "Resolve"
	rules := Rules{Floor: defaultFloor(), Cluster: compiled(doc)}
	f.Fuzz(func(t *testing.T, image, format string, message, signature []byte, keyID string) {
		a := Attestation{Format: Format(format), Payload: message, Source: keyID}
		if len(signature) > 0 {
			a.Signatures = []Signature{{KeyID: keyID, Value: signature}}
		}
		// Only the fuzzer's own words: the seeds' honest signature is not among them.
		v := rules.Decide(app(image), anywhere{}, fixed{a, a})
		if v.Admits() || v.Outcome == CouldNotTell && len(message) <= MaxPayload {
			t.Errorf("%s: %+v", image, v)
		}
		m := Message(image, v)
		if len(m) > maxMessage || strings.ContainsAny(m, "\n\r\x00\x1b") || !utf8.ValidString(m) || !strings.HasPrefix(m, "image ") {
			t.Errorf("message %q", m)
		}
	})
}

// FuzzCompile hands over policy of any kind. A policy never vanishes: whatever is wrong with it, its namespace is governed, and what
// nobody signed does not run there unless a pattern, or dry run, of that very document says so.
func FuzzCompile(f *testing.F) {
	for _, doc := range []Document{document(), floorDocument(), many(2), {Policies: []PolicySpec{{Namespace: "default", Name: "p"}, {Namespace: "default", Name: "p", TagPolicy: "x", DryRun: true}},
		Allowlist: []AllowSpec{{List: "l", Pattern: "r.example/*", Namespace: "default", Reason: "why", Expires: now}}, DryRun: true}} {
		data, err := json.Marshal(doc)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var doc Document
		if json.Unmarshal(data, &doc) != nil {
			return
		}
		set, problems := Compile(doc)
		told := map[string]int{}
		for _, p := range problems {
			if told[p.Object]++; told[p.Object] > MaxProblems+1 || p.Code == "" || p.Text == "" || strings.ContainsAny(p.Object+p.Field+p.Text, "\n\r\x1b") {
				t.Fatalf("%+v", p)
			}
		}
		for _, p := range doc.Policies {
			v := Rules{Cluster: set}.Decide(Request{Namespace: p.Namespace, Image: appPinned, Now: now}, anywhere{}, fixed{})
			if v.Reason == NoPolicy || v.Outcome == Allowed {
				t.Errorf("policy %+v: %+v", p, v)
			}
			if v.DryRun && !doc.DryRun && !p.DryRun {
				t.Errorf("dry run that nobody wrote: %+v", p)
			}
		}
		// The same words make the same rules, also after a way through the state folder.
		again, err := json.Marshal(doc)
		var back Document
		if err != nil || json.Unmarshal(again, &back) != nil {
			t.Fatalf("%v", err)
		}
		if _, other := Compile(back); len(other) != len(problems) {
			t.Errorf("%d problems, after a way through JSON %d", len(problems), len(other))
		}
		if floor, err := CompileFloor(FloorSpec{Document: doc}); err == nil && floor == nil {
			t.Error("neither floor nor error")
		}
	})
}

// anywhere leads every name to the app, and never to what an allow-list means.
type anywhere struct{}

func (anywhere) Digests(Reference) ([]Digest, error) {
	return []Digest{appDigest, platformDigest}, nil
}
func (anywhere) Named(Reference) (bool, error) { return false, nil }
