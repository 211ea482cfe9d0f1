package hostile

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/stack"
)

// TestRegistryAnswers lets the registry answer everything but the truth. (That it refuses or hangs is in test/e2e's TestOutage.)
// What is unknown stays out, what is known starts, and when the registry is well again the attested image starts.
func TestRegistryAnswers(t *testing.T) {
	t.Parallel()
	var p *proxy
	s := startSite(t, stack.Options{}, func(s *site) []string {
		p = startProxy(t, s.Registry.Host())
		check(t, s.TrustAt(p.host, p.host))
		return nil
	})
	through := func(reference string) string { return strings.Replace(reference, s.Registry.Host(), p.host, 1) }
	push := func(sign bool) string {
		reference := through(s.push(t, "answers/app"))
		if sign { // the attestation names the repository by the name that the node knows
			check(t, s.Sign(t.Context(), s.team, reference))
		}
		return reference
	}
	known := push(true)
	expectStarts(t, s.run(t, prod, known))
	type unknown struct{ signed, unsigned string }
	var after []unknown
	for _, row := range []struct {
		name   string
		answer http.HandlerFunc
		// complete: it is an answer, and says that there is no attestation.
		complete bool
	}{
		{"garbage", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "\x00<html>not a registry</html>") }, false},
		{"429 for minutes", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "600")
			w.WriteHeader(http.StatusTooManyRequests)
		}, false},
		{"500", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, false},
		{"401 that asks for nothing", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, false},
		{"404 for everything", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" {
				w.WriteHeader(http.StatusNotFound)
			}
		}, true},
		{"200 with an empty list", emptyList, true},
		{"list cut short", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" {
				w.Header().Set("Content-Length", "100000")
				emptyList(w, r)
			}
		}, false},
		{"page that leads to itself", func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/referrers/") {
				w.Header().Set("Link", fmt.Sprintf("<%s>; rel=\"next\"", r.URL.RequestURI()))
			}
			emptyList(w, r)
		}, false},
		{"redirect to itself", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.RequestURI(), http.StatusTemporaryRedirect)
		}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			u := unknown{push(true), push(false)}
			after = append(after, u)
			s.pull(t, u.signed)
			s.pull(t, u.unsigned)
			p.toVerifier.Store(&row.answer)
			defer p.toVerifier.Store(nil)
			for _, image := range []string{u.signed, u.unsigned} {
				if err := s.run(t, prod, image); row.complete {
					expectDenied(t, err)
				} else {
					expectUnverified(t, err)
				}
			}
			expectStarts(t, s.run(t, prod, known))
		})
	}
	for _, u := range after {
		s.awaitStarts(t, prod, u.signed)
		expectDenied(t, s.run(t, prod, u.unsigned))
	}
}

// emptyList knows of no attestation in any form.
func emptyList(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v2/" {
		return
	}
	if !strings.Contains(r.URL.Path, "/referrers/") {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
	fmt.Fprint(w, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
}
