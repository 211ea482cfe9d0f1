package alicloudtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// maxManifest bounds a manifest that is pushed.
const maxManifest = 4 << 20

// manifestPath finds repository and reference of a manifest; repositories have any number of slashes.
var manifestPath = regexp.MustCompile(`^/v2/(.+)/manifests/([^/]+)$`)

// pushed is a manifest on its way to the registry.
type pushed struct {
	instance   string // its ID
	repository string // without the host
	digest     string
}

type pushedKey struct{}

// newRegistryFront serves the hosts of all instances from one plain registry: it asks for logins, and signs what is pushed.
// The instances share their repositories, which those in the cloud do not.
func (e *Emulator) newRegistryFront() (http.Handler, error) {
	backend, err := url.Parse(e.options.Registry)
	if err != nil || backend.Host == "" {
		return nil, fmt.Errorf("registry %q: want a URL such as http://127.0.0.1:5000", e.options.Registry)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	e.backend = transport
	proxy := &httputil.ReverseProxy{
		Transport: transport, ErrorLog: log.New(io.Discard, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(backend)
			r.Out.Header.Del("Authorization")
		},
		ModifyResponse: func(r *http.Response) error {
			// The registry names itself in absolute locations; clients must come back here.
			if location, err := url.Parse(r.Header.Get("Location")); err == nil && location.Host == backend.Host {
				location.Scheme, location.Host = "", ""
				r.Header.Set("Location", location.String())
			}
			if push, ok := r.Request.Context().Value(pushedKey{}).(pushed); ok && r.StatusCode == http.StatusCreated {
				e.signPushed(push)
			}
			return nil
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { e.serveRegistry(w, r, proxy) }), nil
}

func (e *Emulator) serveRegistry(w http.ResponseWriter, r *http.Request, proxy http.Handler) {
	counted := Call{Service: "registry", Action: r.Method}
	fault := e.nextFault("registry", r.Method)
	if e.failEarly(w, r, fault, "registry", counted) {
		return
	}
	i, refused := e.admit(r)
	if refused != nil {
		counted.Status, counted.Code = refused.Status, refused.Code
		e.count(counted)
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
		if refused.Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Basic realm="emulated container registry"`)
		}
		e.write(w, r, jsonResponse(refused.Status, object{"errors": []object{{"code": refused.Code, "message": refused.Message}}}), fault)
		return
	}
	counted.Region = i.Region
	e.count(counted)
	if found := manifestPath.FindStringSubmatch(r.URL.Path); found != nil && r.Method == http.MethodPut {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxManifest))
		if err != nil {
			http.Error(w, "the manifest cannot be read or is too large", http.StatusBadRequest)
			return
		}
		sum := sha256.Sum256(body)
		r = r.WithContext(context.WithValue(r.Context(), pushedKey{}, pushed{i.ID, found[1], "sha256:" + hex.EncodeToString(sum[:])}))
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	proxy.ServeHTTP(w, r)
}

// admit finds the instance that a request is for, by its host, and checks its login.
func (e *Emulator) admit(r *http.Request) (Instance, *apiError) {
	host := r.Host
	if said := r.URL.Query().Get("ns"); said != "" {
		host = said // containerd says so which registry it asks a mirror for
	}
	bare := host
	if name, _, err := net.SplitHostPort(host); err == nil {
		bare = name
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	at := slices.IndexFunc(e.instances, func(i *instance) bool { return slices.Contains(i.Hosts, host) || slices.Contains(i.Hosts, bare) })
	if at < 0 {
		return Instance{}, failed(http.StatusNotFound, "NAME_UNKNOWN", "no instance answers under %s", host)
	}
	i := e.instances[at]
	user, password, offered := r.BasicAuth()
	if !offered && r.Header.Get("Authorization") == "" {
		if reads := r.Method == http.MethodGet || r.Method == http.MethodHead; i.AnonymousPush || reads && i.AnonymousPull {
			return i.Instance, nil
		}
		return Instance{}, failed(http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	}
	if lasting, known := i.Logins[user]; known && lasting == password {
		return i.Instance, nil
	}
	if expires, known := i.temporary[password]; known && user == temporaryUser && e.now().Before(expires) {
		return i.Instance, nil
	}
	return Instance{}, failed(http.StatusUnauthorized, "UNAUTHORIZED", "authentication failed or expired")
}

// namespaceOf is a repository's namespace: all before the first slash.
func namespaceOf(repository string) string {
	namespace, _, _ := strings.Cut(repository, "/")
	return namespace
}
