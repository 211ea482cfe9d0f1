package verifier

import (
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestMessage(t *testing.T) {
	const kritis = "image alpine:3.11 is not attested"
	for _, test := range []struct {
		name, image string
		v           Verdict
		want        string
	}{
		{"denied", "alpine:3.11", Verdict{}, kritis},
		{"denied with detail", "alpine:3.11", Verdict{Detail: detailTag}, kritis + ": it is named by tag: name it by its digest, as `kritis resolve` does in manifests"},
		{"denied, dry run", "alpine:3.11", Verdict{DryRun: true}, kritis},
		{"could not tell", "alpine:3.11", Verdict{Outcome: CouldNotTell, Detail: "x"}, "image alpine:3.11 could not be verified: x"},
		{"allowed", "alpine:3.11", Verdict{Outcome: Allowed}, "image alpine:3.11 may run"},
		{"unknown outcome", "alpine:3.11", Verdict{Outcome: 99}, kritis},
		{"no image", "", Verdict{}, "image  is not attested"},
		{"control characters", "a\n\x1b[2J\x00b", Verdict{}, `image a\n\x1b[2J\x00b is not attested`},
		{"look-alikes", "ngіnx", Verdict{}, `image ng\u0456nx is not attested`},
		{"no UTF-8", "a\xff", Verdict{}, `image a\ufffd is not attested`},
		{"detail of several lines", "a", Verdict{Detail: "x\ny\u202ez"}, `image a is not attested: x\ny\u202ez`},
		{"256 bytes", strings.Repeat("a", 256), Verdict{}, "image " + strings.Repeat("a", 256) + " is not attested"},
		{"257 bytes", strings.Repeat("a", 257), Verdict{}, "image " + strings.Repeat("a", 253) + "… is not attested"},
		{"a megabyte", strings.Repeat("a", 1<<20), Verdict{}, "image " + strings.Repeat("a", 253) + "… is not attested"},
		{"1 KiB", "a", Verdict{Detail: strings.Repeat("d", 1024-len("image a is not attested: "))}, "image a is not attested: " + strings.Repeat("d", 1024-len("image a is not attested: "))},
		{"1 KiB and one", "a", Verdict{Detail: strings.Repeat("d", 1025-len("image a is not attested: "))}, "image a is not attested: " + strings.Repeat("d", 1021-len("image a is not attested: ")) + "…"},
		{"cut between characters", "a", Verdict{Detail: strings.Repeat("é", 1024)}, "image a is not attested: " + strings.Repeat("é", 498) + "…"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Message(test.image, test.v); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

var update = flag.Bool("update", false, "write testdata/texts.golden anew")

// Every text of the package, to the letter, and all of them in message.go.
func TestTexts(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "message.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var texts strings.Builder
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
			if value, ok := spec.Values[0].(*ast.BasicLit); ok && value.Kind == token.STRING {
				text, err := strconv.Unquote(value.Value)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&texts, "%s: %s\n", spec.Names[0].Name, text)
				if strings.ContainsAny(text, "\n\t") || strings.HasSuffix(text, ".") {
					t.Errorf("%s is not one line without a full stop", spec.Names[0].Name)
				}
			}
		}
		return true
	})
	const golden = "testdata/texts.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(texts.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if texts.String() != string(want) {
		t.Errorf("texts differ from %s: read them, then go test ./verifier -run TestTexts -update\n%s", golden, texts.String())
	}
}

// What attackers write into errors and attestations neither moves a cursor nor floods a log.
func TestForeignTextIsTamed(t *testing.T) {
	text := why(detailSourceFailed, strings.Repeat("\x1b[31m\n", 1000))
	if strings.ContainsAny(text, "\x1b\n") || len(text) > 500 || !utf8.ValidString(text) {
		t.Errorf("got %q", text)
	}
	check, reason := attempt(t, kritisOver(qaKey(), "", payload("\x1b"+strings.Repeat("é", 1000), appRepo, appDigest)))
	if check != "type" || strings.Contains(reason, "\x1b") || len(reason) > 500 || !utf8.ValidString(reason) {
		t.Errorf("got %q", reason)
	}
}

// Neither keys nor signatures reach a text.
func TestTextsHoldNoKeyMaterial(t *testing.T) {
	secret := pemText("PRIVATE KEY", pkcs8(qaKey()))
	body := strings.Split(secret, "\n")[3]
	doc := document()
	doc.Authorities[0].Keys[0].PEM = secret
	_, problems := Compile(doc)
	v := decideApp(doc, map[Digest][]Attestation{appDigest: {kritisBy(prodKey(), "", appDigest)}}, appDigest)
	b, err := json.Marshal([]any{problems, v})
	if err != nil {
		t.Fatal(err)
	}
	if len(problems) == 0 || strings.Contains(string(b), body) || strings.Contains(string(b), "BEGIN") {
		t.Errorf("got %s", b)
	}
}

func TestOutcomeText(t *testing.T) {
	for _, o := range []Outcome{Denied, CouldNotTell, Allowed} {
		b, err := json.Marshal(Verdict{Outcome: o})
		var v Verdict
		if err != nil || json.Unmarshal(b, &v) != nil || v.Outcome != o {
			t.Errorf("%v: %s reads as %v (%v)", o, b, v.Outcome, err)
		}
	}
	v := Verdict{Outcome: Allowed}
	if err := json.Unmarshal([]byte(`{"outcome":"ALLOWED"}`), &v); err == nil || v.Outcome != Denied || err.Error() != `"ALLOWED" is not an outcome` {
		t.Errorf("got %v, %v", v.Outcome, err)
	}
}
