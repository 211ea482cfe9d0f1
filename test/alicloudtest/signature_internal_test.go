package alicloudtest

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // what the RPC style signs with
	"encoding/base64"
	"testing"
)

// published is the example of the documentation ("Request syntax and signature method V2 for RPC APIs"), with testsecret.
func published() map[string]string {
	return map[string]string{
		"Timestamp": "2016-02-23T12:46:24Z", "Format": "XML", "AccessKeyId": "testid", "Action": "DescribeRegions", "SignatureMethod": "HMAC-SHA1",
		"SignatureNonce": "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf", "Version": "2014-05-26", "SignatureVersion": "1.0",
	}
}

func TestPublishedSignature(t *testing.T) {
	const toSign = "GET&%2F&AccessKeyId%3Dtestid%26Action%3DDescribeRegions%26Format%3DXML%26SignatureMethod%3DHMAC-SHA1%26SignatureNonce%3D3ee8c1b8-83d3-44af-a94f-" +
		"4e0ad82fd6cf%26SignatureVersion%3D1.0%26Timestamp%3D2016-02-23T12%253A46%253A24Z%26Version%3D2014-05-26"
	if got := stringToSign("GET", published()); got != toSign {
		t.Errorf("string to sign\n%s\nwant\n%s", got, toSign)
	}
	if got := signature("GET", published(), "testsecret"); got != "OLeaidS1JvxuMvnyHOwuJ+uX5qY=" {
		t.Errorf("signature %s", got)
	}
}

// TestSignatureOfEveryCharacter is computed by hand: what the documentation says of characters.
func TestSignatureOfEveryCharacter(t *testing.T) {
	const toSign = "POST&%2F&A%3D~%2520%252A%252B%2525%2526%253D%252F%26AB%3D%26Z%3D%25E4%25BD%25A0-_."
	parameters := map[string]string{"Z": "你-_.", "AB": "", "A": "~ *+%&=/", "Signature": "left out"}
	if got := stringToSign("POST", parameters); got != toSign {
		t.Errorf("string to sign\n%s\nwant\n%s", got, toSign)
	}
	mac := hmac.New(sha1.New, []byte("secret&"))
	mac.Write([]byte(toSign))
	if got, want := signature("POST", parameters, "secret"), base64.StdEncoding.EncodeToString(mac.Sum(nil)); got != want {
		t.Errorf("signature %s, want %s", got, want)
	}
}
