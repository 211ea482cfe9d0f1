package statement

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/kritis-node/kritis-node/verifier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func statementJSON(payload string, signatures int) string {
	s := strings.Repeat(fmt.Sprintf(`{"publicKeyId":"k","signature":%q},`, b64("s")), signatures)
	return fmt.Sprintf(`{"serializedPayload":%q,"signatures":[%s]}`, b64(payload), strings.TrimSuffix(s, ","))
}

const bundle = `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","dsseEnvelope":{}}`

func TestParseRefuses(t *testing.T) {
	for content, want := range map[string]string{
		statementJSON("p", 1) + "{}": "more follows",
		statementJSON("p", 0):        "no signatures",
		`{}`:                         "no serializedPayload",
		`{"serializedPayload":"!"}`:  "not the JSON",
		`[]`:                         "not the JSON",
		bundle[:len(bundle)-1] + `,"serializedPayload":"eA=="}`:                    "at once",
		`{"serializedPayload":"eA==","attestation":` + statementJSON("p", 1) + `}`: "two payloads",
	} {
		if _, err := Parse([]byte(content)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", content, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(statementJSON("p", 2)))
	f.Add([]byte(`{"attestation":` + statementJSON(`{"critical":{"type":"cosign container image signature"}}`, 1) + `}`))
	f.Add([]byte(bundle))
	f.Add([]byte(`{"mediaType":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := Parse(data)
		if err != nil {
			return
		}
		if len(a.Payload) == 0 || a.Format == verifier.FormatBundle && !bytes.Equal(a.Payload, data) {
			t.Errorf("%+v", a)
		}
	})
}
