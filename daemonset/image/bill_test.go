package image

import (
	"bytes"
	"encoding/base64"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// What is attached is found where the registry has an API for that and where it has none, once, however often it is attached.
func TestBillIsAttached(t *testing.T) {
	for name, referrers := range map[string]bool{"referrers API": true, "fallback tag": false} {
		t.Run(name, func(t *testing.T) { testAttached(t, referrers) })
	}
}

func testAttached(t *testing.T, referrers bool) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(referrers)))
	defer server.Close()
	to, err := name.NewTag(strings.TrimPrefix(server.URL, "http://") + "/kritis-node:v1")
	if err != nil {
		t.Fatal(err)
	}
	options := []remote.Option{remote.WithContext(t.Context()), remote.WithTransport(&http.Transport{DisableKeepAlives: true})}
	index := makeIndex(t, Info{Version: "v1"})
	if err := remote.WriteIndex(to, index, options...); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := AttachBill(to.Context(), index, []byte("bill"), options...); err != nil {
			t.Fatal(err)
		}
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	found, err := remote.Referrers(to.Digest(digest.String()), options...)
	if err != nil {
		t.Fatal(err)
	}
	list, err := found.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Manifests) != 1 {
		t.Fatalf("referrers: %+v", list.Manifests)
	}
	got, err := remote.Get(to.Digest(list.Manifests[0].Digest.String()), options...)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := v1.ParseManifest(bytes.NewReader(got.Manifest))
	if err != nil {
		t.Fatal(err)
	}
	if manifest.ArtifactType != BillType || manifest.Subject.Digest != digest || len(manifest.Layers) != 1 || manifest.Layers[0].MediaType != BillType ||
		manifest.Config.MediaType != nothingType || manifest.Config.Size != int64(len(nothing)) {
		t.Errorf("%+v", manifest)
	}
}

// roots stands for the module of the root certificates: a test program does not know it.
var roots = &debug.Module{Path: "example.com/roots", Version: "v1.0.0", Sum: "h1:" + base64.StdEncoding.EncodeToString(make([]byte, 32))}

// A bill tells all or nothing: a file that is no program of Go's has no list of modules.
func TestBillNeedsPrograms(t *testing.T) {
	if _, err := Bill(Info{Version: "v1"}, roots, map[string][]string{"amd64": programs(t)}); err == nil {
		t.Error("a bill of what nobody knows")
	}
	local := *roots
	local.Sum = ""
	if _, err := Bill(Info{Version: "v1"}, &local, nil); err == nil {
		t.Error("a bill with a module of which nobody can tell the content")
	}
}

// The same programs give the same bytes, in whichever order they come.
func TestBillIsReproducible(t *testing.T) {
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	programs := map[string][]string{"amd64": {own}, "arm64": {own}, "riscv64": {own}}
	var bills [5][]byte
	for i := range bills {
		if bills[i], err = Bill(Info{Version: "v1"}, roots, programs); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(bills[i], bills[0]) {
			t.Fatal("two bills differ")
		}
	}
}
