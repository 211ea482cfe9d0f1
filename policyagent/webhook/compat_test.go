package webhook

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/policyagent/attestations/registry"
	"github.com/kritis-node/kritis-node/verifier"
)

// The three checks that every user of kritis runs first, to the letter. The API server puts "admission webhook NAME denied
// the request: " before the message, and kubectl "Error from server: " before that, as long as the status has no reason.
func TestTheThreeChecks(t *testing.T) {
	const alpine = "sha256:ddba4d27a7ffc3f86dd6c2f92041af252a1f23a8e742c90e6e1297bfa1bc0c45"
	const instance = "kritis-demo-registry.cn-hangzhou.cr.aliyuncs.com/kritis-demo/alpine@" + alpine
	c := usual(t)
	c.Sources = []attestations.Source{new(source).attest(instance)}
	c.Resolver = &resolver{means: map[string]registry.Image{
		"docker.io/library/alpine:3.11":      {Digest: alpine},
		"docker.io/library/alpine@" + alpine: {Digest: alpine, Manifests: []registry.Platform{{Name: "linux/amd64", Digest: digest("1")}}},
	}}
	w := made(t, c)
	for image, want := range map[string][]string{
		"alpine:3.11": {
			`image alpine:3.11 is not attested`,
			`kritis: it is named by tag: name it by its digest, here ` + alpine},
		"alpine@" + alpine: {
			`image alpine@sha256:ddba4d27a7ffc3f86dd6c2f92041af252a1f23a8e742c90e6e1297bfa1bc0c45 is not attested`,
			"kritis: authority team, which policy default/only-team requires, has not attested it: sign it with `kritis sign --key FILE IMAGE`"},
		instance: {"allowed"},
	} {
		r := reviewed(t, w, golden(t, "deployment-create", "IMAGE", image))
		if got := append([]string{said(r)}, r.Warnings...); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", image, got, want)
		}
		if !r.Allowed && (r.Result.Reason != "" || r.Result.Code != 403) {
			t.Errorf("%s: %+v", image, r.Result)
		}
	}
	if PodsName != "kritis-validation-hook.grafeas.io" || WorkloadsName != "kritis-validation-hook-deployments.grafeas.io" {
		t.Error("the webhooks have other names")
	}
}

// What is said in all other cases, to the letter.
func TestWords(t *testing.T) {
	down := errors.New("registry.example: 503 Service Unavailable")
	for name, tc := range map[string]struct {
		change func(*Config)
		golden string
		images []string
		want   []string
	}{
		"tag, registry down": {
			func(c *Config) { c.Resolver = &resolver{err: down} }, "pod-create", []string{"IMAGE", taggedImage},
			[]string{"image " + taggedImage + " is not attested", "kritis: it is named by tag: name it by its digest, as `kritis resolve` does in manifests"}},
		"source down": {
			func(c *Config) { c.Sources, c.Resolver = []attestations.Source{&source{err: down}}, nil }, "pod-create", []string{"IMAGE", signedImage},
			[]string{"image " + signedImage + " could not be verified", "kritis: not all attestations could be had: test source: registry.example: 503 Service Unavailable: try again"}},
		"registry does not say what is under the digest": {
			func(c *Config) { c.Resolver = &resolver{err: down} }, "pod-create", []string{"IMAGE", unsignedImage},
			[]string{"image " + unsignedImage + " could not be verified", "kritis: the registry did not say what it is now: registry.example: 503 Service Unavailable: try again"}},
		"policies unknown": {
			func(c *Config) { c.Rules = &fixed{err: errors.New("policy folder /p: it has no file")} }, "pod-create", []string{"IMAGE", signedImage},
			[]string{"image " + signedImage + " could not be verified", "kritis: the policies are not known: policy folder /p: it has no file: try again, and see the log of kritis webhook"}},
		"dry run": {
			func(c *Config) { d := document(); d.DryRun = true; c.Rules = new(fixed).set(d) }, "pod-create", []string{"IMAGE", "alpine:3"},
			[]string{"allowed", "kritis: dry run: image alpine:3 is not attested; without dry run this is denied: it is named by tag: name it by its digest, as `kritis resolve` does in manifests"}},
		"no name": {
			nil, "pod-create", []string{"IMAGE", "Über/alles:1"},
			[]string{`image \u00dcber/alles:1 is not attested`, "kritis: the image's name has characters that no name can have (space, control or non-ASCII)"}},
		"several fail": {
			nil, "pod-full-create", []string{"INIT", signedImage, "SIDECAR", "a:1", "IMAGE", signedImage, "SECOND", "b:1", "VOLUME", "c:1"},
			[]string{"image a:1 is not attested", "kritis: it is named by tag: name it by its digest, as `kritis resolve` does in manifests",
				"kritis: image b:1 is not attested either: it is named by tag: name it by its digest, as `kritis resolve` does in manifests",
				"kritis: image c:1 is not attested either: it is named by tag: name it by its digest, as `kritis resolve` does in manifests"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := usual(t)
			if tc.change != nil {
				tc.change(&c)
			}
			r := reviewed(t, made(t, c), golden(t, tc.golden, tc.images...))
			if got := append([]string{said(r)}, r.Warnings...); !slices.Equal(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

// The verifier and the webhook must say the same of the same.
func TestMessagesAreTheVerifiers(t *testing.T) {
	for _, image := range []string{"alpine:3.11", signedImage, "a\u202eb", "x\x00", "r.example/" + strings.Repeat("ä", 3)} {
		for _, o := range []verifier.Outcome{verifier.Denied, verifier.CouldNotTell} {
			if got, want := message(image, o), verifier.Message(image, verifier.Verdict{Outcome: o}); got != want {
				t.Errorf("%q, the verifier says %q", got, want)
			}
		}
	}
}

// No name that a registry can have is cut; what is longer is, and what is not printable written out.
func TestImagesAsWritten(t *testing.T) {
	honest := strings.Repeat("a", 255) + ":" + strings.Repeat("b", 128) + "@" + string(digest("c"))
	if got := asWritten(honest); got != honest {
		t.Errorf("cut to %q", got)
	}
	if got := asWritten(strings.Repeat("x", maxShown)); len(got) != maxShown || strings.Contains(got, ellipsis) {
		t.Errorf("%d bytes", len(got))
	}
	for _, long := range []string{strings.Repeat("x", maxShown+1), strings.Repeat("\x00", 1<<20)} {
		if got := asWritten(long); len(got) > maxShown || !strings.HasSuffix(got, ellipsis) {
			t.Errorf("%d bytes of %d", len(got), len(long))
		}
	}
}

func TestWarningsStayWithinTheAPIServersLimits(t *testing.T) {
	for name, s := range map[string]string{
		"words":    strings.Repeat("word ", 1000),
		"one word": strings.Repeat("x", 5000),
		"umlauts":  strings.Repeat("ä", 3000),
		"controls": strings.Repeat("\n\x1b", 3000),
		"short":    "short",
		"exact":    strings.Repeat("x", maxWarning),
	} {
		var w warnings
		total := 0
		for range 20 {
			w.add(s)
		}
		for _, warning := range w {
			total += len(warning)
			if len(warning) > maxWarning || strings.ContainsAny(warning, "\n\x1b") || !strings.ContainsAny(warning, "wxäs\\") {
				t.Errorf("%s: %q", name, warning)
			}
		}
		if len(w) > maxWarnings || total > 4096 {
			t.Errorf("%s: %d warnings of %d bytes", name, len(w), total)
		}
	}
	var w warnings
	w.add(strings.Repeat("x", 200) + " " + strings.Repeat("y", 200) + " sign it")
	if len(w) != 2 || !strings.HasSuffix(w[1], "sign it") {
		t.Errorf("%q", w)
	}
}

// A denial with as many failures as there can be stays within the limits, and says how many there are.
func TestManyFailures(t *testing.T) {
	w := made(t, usual(t))
	var containers []string
	for i := range 50 {
		containers = append(containers, strings.Repeat("very-long/", 20)+"app-"+string(rune('a'+i%26))+string(rune('a'+i/26))+":v1")
	}
	r := reviewed(t, w, podOf(containers...))
	if !strings.HasPrefix(said(r), "image very-long/") || len(r.Warnings) < 5 || !strings.HasSuffix(r.Warnings[len(r.Warnings)-1], "more images fail") {
		t.Errorf("%s: %q", said(r), r.Warnings)
	}
}
