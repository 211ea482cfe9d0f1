package registry

import (
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/verifier"
)

func FuzzParseDockerConfig(f *testing.F) {
	f.Add([]byte(`{"auths":{"a.example":{"auth":"dTpw"},"https://index.docker.io/v1/":{"identitytoken":"x"}},"credsStore":"s","credHelpers":{"b.example":"h"}}`))
	f.Add([]byte(`{"auths":null}`))
	f.Add([]byte(`{"auths":{"a.example/team/":{"username":"u"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		config, err := parseDockerConfig(data)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q", err)
			}
			return
		}
		for key := range config.Auths {
			host, path := splitKey(key)
			config.lookup(host, path)
		}
	})
}

func FuzzParseHosts(f *testing.F) {
	f.Add([]byte("hosts:\n- host: registry.example:5000\n  plainHTTP: true\n  mirrors: [mirror.example/x]\n"))
	f.Add([]byte("hosts: [{host: a, clientCert: c, clientKey: k, caFile: x, tokenHosts: [b]}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		hosts, err := parseHosts(data)
		if err != nil {
			return
		}
		for _, h := range hosts {
			if checkHost(h.Host) != nil {
				t.Errorf("accepted %q", h.Host)
			}
		}
	})
}

func FuzzManifests(f *testing.F) {
	f.Add(classicManifest(f, []byte("payload"), "a", "b"))
	f.Add(bundleManifest(f, []byte("bundle"), signPredicate))
	f.Add(index(f, descriptor(ociManifest, []byte("x"), nil)))
	f.Add([]byte(`{"layers":[null],"manifests":[null]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if layers, err := signatureLayers(data); err == nil && len(layers) > verifier.MaxAttestations {
			t.Errorf("%d layers", len(layers))
		}
		if l, err := bundleLayer(data, imageDigest); err == nil && l != nil && l.MediaType != bundleType {
			t.Errorf("%+v", l)
		}
		if m, err := parseIndex(data); err == nil {
			if bundles, _ := candidates(m.Manifests); len(bundles) > verifier.MaxAttestations {
				t.Errorf("%d bundles", len(bundles))
			}
		}
	})
}
