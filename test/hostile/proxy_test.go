package hostile

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// proxy stands before the site's registry and treats the runtime and everybody else (who looks for attestations) differently. It
// passes everything on until it is told otherwise.
type proxy struct {
	host string
	pass http.Handler
	// toVerifier and toRuntime answer instead; nil pass on.
	toVerifier, toRuntime atomic.Pointer[http.HandlerFunc]
}

// startProxy starts it for the length of the test.
func startProxy(t *testing.T, registry string) *proxy {
	t.Helper()
	pass := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: registry})
	pass.Transport = &http.Transport{DisableKeepAlives: true}
	p := &proxy{pass: pass}
	p.host = serve(t, func(w http.ResponseWriter, r *http.Request) {
		instead := p.toVerifier.Load()
		if strings.HasPrefix(r.UserAgent(), "containerd/") {
			instead = p.toRuntime.Load()
		}
		if instead == nil {
			pass.ServeHTTP(w, r)
			return
		}
		(*instead)(w, r)
	})
	return p
}

// serve serves HTTP for the length of the test and returns the address.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler}}
	server.Start()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return listener.Addr().String()
}
