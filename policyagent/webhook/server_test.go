package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/verifier"
)

// running is a webhook that runs, and a client that trusts its certificate.
type running struct {
	*Webhook
	t      testing.TB
	client *http.Client
	stop   context.CancelFunc
	done   chan error
}

func run(t testing.TB, c Config, trusted ...*x509.Certificate) *running {
	t.Helper()
	w, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{Webhook: w, t: t, stop: stop, done: make(chan error, 1)}
	go func() { r.done <- w.Run(ctx) }()
	pool := x509.NewCertPool()
	for _, c := range trusted {
		pool.AddCert(c)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "kritis.test"}, ForceAttemptHTTP2: true}
	r.client = &http.Client{Transport: transport}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		select {
		case err, ok := <-r.done:
			if ok && err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the webhook does not end")
		}
	})
	return r
}

// runUsual runs the usual configuration.
func runUsual(t testing.TB, change func(*Config)) *running {
	c := usual(t)
	if change != nil {
		change(&c)
	}
	pem, err := os.ReadFile(c.CertFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, c, pair.Leaf)
}

// reply is an answer over the network.
type reply struct {
	code, protocol int
	media, body    string
}

// post sends a review over the network.
func (r *running) post(path string, body []byte) (reply, error) {
	reviews, _ := r.Addresses()
	resp, err := r.client.Post("https://"+reviews.String()+path, "application/json", bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.ProtoMajor, resp.Header.Get("Content-Type"), string(text)}, err
}

// get reads from the port beside.
func (r *running) get(path string) (int, string) {
	r.t.Helper()
	_, status := r.Addresses()
	resp, err := http.Get("http://" + status.String() + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for range 1000 {
		if f() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal(what)
}

func TestServes(t *testing.T) {
	r := runUsual(t, nil)
	for _, path := range []string{PodsPath + "?timeout=10s", WorkloadsPath} {
		for image, want := range map[string]string{signedImage: `"allowed":true`, unsignedImage: `"message":"image ` + unsignedImage + ` is not attested","code":403`} {
			a, err := r.post(path, golden(t, "pod-create", "IMAGE", image))
			if err != nil || a.code != 200 || a.protocol != 2 || a.media != "application/json" || !strings.Contains(a.body, want) {
				t.Errorf("%s %s: %v %+v", path, image, err, a)
			}
		}
	}
	if a, err := r.post("/", golden(t, "pod-create", "IMAGE", signedImage)); err != nil || a.code != 404 {
		t.Errorf("/: %v", err)
	}
	for path, want := range map[string]string{
		"/healthz": "ok", "/readyz": "ok",
		"/metrics": `kritis_webhook_reviews_total{kind="Pod",operation="CREATE",outcome="denied",reason="NotAttested"} 2`,
	} {
		if code, body := r.get(path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}

// The labels of the metrics are a closed set, whatever is asked.
func TestMetrics(t *testing.T) {
	c := usual(t)
	c.Templates = custom(t)
	w := made(t, c)
	for _, name := range goldenNames(t) {
		reviewed(t, w, golden(t, name, "IMAGE", signedImage, "RUNNING", runningImage, "INIT", signedImage, "SIDECAR", signedImage, "SECOND", signedImage, "VOLUME", signedImage))
	}
	for i := range 100 {
		ask(t, w, edit(t, golden(t, "pod-create", "IMAGE", signedImage), func(r, _, _ map[string]any) {
			r["kind"] = map[string]any{"group": fmt.Sprint("g", i), "version": "v1", "kind": fmt.Sprint("K", i)}
			r["operation"] = []string{"CREATE", "x"}[i%2]
		}))
	}
	families, err := w.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	kinds, others := map[string]bool{}, 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "kind" {
					kinds[l.GetValue()] = true
					if l.GetValue() == kindOther {
						others += m.GetCounter().GetValue()
					}
				}
				if strings.Contains(l.GetValue(), "example") || strings.Contains(l.GetValue(), "app") && !strings.Contains(l.GetValue(), ".apps") {
					t.Errorf("%s has label %s=%s", f.GetName(), l.GetName(), l.GetValue())
				}
			}
		}
	}
	if len(kinds) != len(w.kinds)+1 || others != 101 { // the scale is one of them
		t.Errorf("%v, %v others", kinds, others)
	}
}

// It is ready once it knows the policies, and not any more when it drains.
func TestReadiness(t *testing.T) {
	rules := &fixed{err: fmt.Errorf("they have not been\nread")}
	r := runUsual(t, func(c *Config) { c.Rules = rules })
	if code, body := r.get("/readyz"); code != 503 || body != "they have not been; read\n" {
		t.Errorf("%d %s", code, body)
	}
	if code, _ := r.get("/healthz"); code != 200 {
		t.Errorf("health %d", code)
	}
	rules.set(document())
	if code, _ := r.get("/readyz"); code != 200 {
		t.Errorf("%d", code)
	}
}

// Asked to end, it answers on until nobody sends reviews any more, finishes those under way, and ends.
func TestDrain(t *testing.T) {
	s := &source{block: make(chan struct{})}
	s.attest(runningImage)
	quick := new(source).attest(signedImage)
	r := runUsual(t, func(c *Config) {
		c.DrainDelay, c.Sources, c.Resolver = 500*time.Millisecond, []attestations.Source{blockFor{s, runningImage}, quick}, nil
	})
	underWay := make(chan string, 1)
	go func() {
		a, err := r.post(PodsPath, golden(t, "pod-create", "IMAGE", runningImage))
		if err != nil {
			a.body = err.Error()
		}
		underWay <- a.body
	}()
	eventually(t, "the review has not begun", func() bool { return s.count(runningImage) > 0 })
	r.stop()
	eventually(t, "it is still ready", func() bool {
		code, body := r.get("/readyz")
		return code == 503 && body == "kritis webhook is draining\n"
	})
	time.Sleep(100 * time.Millisecond)
	r.client.CloseIdleConnections()
	fresh := *r
	fresh.client = &http.Client{Transport: r.client.Transport.(*http.Transport).Clone()} // an API server that has not asked yet
	defer fresh.client.CloseIdleConnections()
	if a, err := fresh.post(PodsPath, golden(t, "pod-create", "IMAGE", signedImage)); err != nil || !strings.Contains(a.body, `"allowed":true`) {
		t.Errorf("while it drains: %v %+v", err, a)
	}
	time.Sleep(time.Second) // the delay is over, and one review is still under way
	select {
	case err := <-r.done:
		t.Fatalf("ended under a review: %v", err)
	default:
	}
	close(s.block)
	if body := <-underWay; !strings.Contains(body, `"allowed":true`) {
		t.Errorf("the review under way: %s", body)
	}
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	close(r.done)
	if _, err := r.post(PodsPath, golden(t, "pod-create", "IMAGE", signedImage)); err == nil {
		t.Error("it still answers")
	}
}

// blockFor blocks for one image only.
type blockFor struct {
	*source
	image string
}

func (b blockFor) Attestations(ctx context.Context, repository string, d verifier.Digest) ([]verifier.Attestation, error) {
	if repository+"@"+string(d) != b.image {
		return nil, nil
	}
	return b.source.Attestations(ctx, repository, d)
}

// A certificate that is replaced is in use soon after; a pair that does not fit is not.
func TestCertificateReload(t *testing.T) {
	t.Parallel() // it waits
	dir := t.TempDir()
	certFile, keyFile, first := writeCertificate(t, dir, 1)
	log := &lines{}
	c := usual(t)
	c.CertFile, c.KeyFile, c.Logger = certFile, keyFile, slog.New(slog.NewTextHandler(log, nil))
	r := run(t, c, first)
	serial := func() string {
		reviews, _ := r.Addresses()
		conn, err := tls.Dial("tcp", reviews.String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	if s := serial(); s != "1" {
		t.Fatal(s)
	}
	otherCert, otherKey, _ := writeCertificate(t, t.TempDir(), 2)
	replace := func(from, to string) {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to+".new", data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(to+".new", to); err != nil {
			t.Fatal(err)
		}
	}
	replace(otherCert, certFile)
	eventually(t, "nobody complains about a certificate without its key", func() bool { return strings.Contains(log.String(), "the last good one stays in use") })
	if s := serial(); s != "1" {
		t.Errorf("serves %s", s)
	}
	replace(otherKey, keyFile)
	eventually(t, "the new certificate is not in use", func() bool { return serial() == "2" })
	if err := os.WriteFile(certFile, bytes.Repeat([]byte("x"), maxPEM+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.cert.reload(); err == nil || !strings.Contains(err.Error(), "has more than 1048576 bytes") {
		t.Error(err)
	}
	if s := serial(); s != "2" {
		t.Errorf("serves %s", s)
	}
}
