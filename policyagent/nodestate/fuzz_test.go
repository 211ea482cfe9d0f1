package nodestate

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzParseAnswer is the client's side of the socket: what is no answer of this version is an error of one line, and never a success
// with something left out.
func FuzzParseAnswer(f *testing.F) {
	for _, body := range []any{FetchResponse{}, FetchResponse{Failures: []string{"registry: no answer in time"}}, errorResponse{Error: "64 requests are being served already"}, reportResponse{}} {
		data, err := json.Marshal(body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(http.StatusOK, data)
		f.Add(http.StatusServiceUnavailable, data)
	}
	f.Add(http.StatusOK, []byte(`{"failures":[]} {}`))
	f.Add(http.StatusBadRequest, []byte("<html>"))
	f.Fuzz(func(t *testing.T, status int, data []byte) {
		c := NewClient("/run/agent.sock")
		defer c.Close()
		var answer FetchResponse
		err := c.parseAnswer(status, data, &answer)
		if err != nil {
			if len(err.Error()) > 2<<10 {
				t.Errorf("%d bytes of error", len(err.Error()))
			}
			return
		}
		if status != http.StatusOK {
			t.Errorf("status %d is a success", status)
		}
		again, err := json.Marshal(answer)
		var back FetchResponse
		if err != nil || unmarshalStrict(again, &back) != nil || !cmp.Equal(answer.Failures, back.Failures) && len(answer.Failures)+len(back.Failures) > 0 {
			t.Errorf("%+v came back as %+v", answer, back)
		}
		if failures := boundFailures(answer.Failures); len(failures) > MaxFailures || len(strings.Join(failures, "")) > MaxFailures*(MaxFailure+8) {
			t.Errorf("%d failures are kept", len(failures))
		}
	})
}
