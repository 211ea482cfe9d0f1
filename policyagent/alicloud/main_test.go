package alicloud

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What no text may hold, in any encoding. The characters are those that encodings change.
const (
	testID     = "LTAI5tTestKeyId+/~*"
	testSecret = "te+st/sec~ret*of=the key"
	testToken  = "te+st/tok~en*of=the session"
)

// cloud is a TLS server that answers as a test says.
type cloud struct {
	*httptest.Server
	host, caFile string

	mu     sync.Mutex
	answer func(w http.ResponseWriter, r *http.Request, q url.Values)
	calls  []url.Values
}

// newCloud answers each action with the JSON that answers has for it.
func newCloud(t *testing.T, answers map[string]string) *cloud {
	c := &cloud{answer: func(w http.ResponseWriter, _ *http.Request, q url.Values) {
		body, ok := answers[q.Get("Action")]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			body = `{"Code":"InvalidAction.NotFound","Message":"no such action","RequestId":"r"}`
		}
		fmt.Fprint(w, body)
	}}
	c.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		c.calls = append(c.calls, r.Form)
		answer := c.answer
		c.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		answer(w, r, r.Form)
	}))
	t.Cleanup(func() { c.CloseClientConnections(); c.Close() })
	c.host = strings.TrimPrefix(c.URL, "https://")
	c.caFile = filepath.Join(t.TempDir(), "ca.pem")
	write(t, c.caFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate().Raw})))
	return c
}

// respond replaces what is answered.
func (c *cloud) respond(answer func(w http.ResponseWriter, r *http.Request, q url.Values)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = answer
}

// count returns how often an action was asked.
func (c *cloud) count(action string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, q := range c.calls {
		if q.Get("Action") == action {
			n++
		}
	}
	return n
}

// signatures returns those of the last requests.
func (c *cloud) signatures() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, q := range c.calls[max(0, len(c.calls)-5):] {
		all = append(all, q.Get("Signature"))
	}
	return all
}

// config is that of a Client that asks this server with an AccessKey in a folder.
func (c *cloud) config(t *testing.T) Config {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "accessKeyId"), testID)
	write(t, filepath.Join(dir, "accessKeySecret"), testSecret+"\n")
	write(t, filepath.Join(dir, "securityToken"), testToken)
	return Config{
		Region: "cn-hangzhou", Credentials: Credentials{Source: SourceAccessKey, Dir: dir}, CAFile: c.caFile,
		Endpoints:      Endpoints{KMS: c.host, SAS: c.host, CR: c.host, STS: c.host},
		CallsPerSecond: CallsPerSecond{KMS: 50, SAS: 100, CR: 100, STS: 100},
	}
}

func newClient(t *testing.T, config Config) *Client {
	t.Helper()
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// within returns a context that ends soon.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func publicPEM(t *testing.T, bits int) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}
