package hostile

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// What the plugin says of an image that it knows to lack an attestation, and of one that it could not judge.
const (
	notAttested = " is not attested"
	notVerified = " could not be verified"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func expectStarts(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("it should start, and did not: %v", err)
	}
}

// expectError expects that the container did not start, and that the runtime's error has the words.
func expectError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Error("it started, and should not")
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q is missing in: %v", w, err)
		}
	}
}

// expectDenied expects that the plugin denied the image, and said why in these words.
func expectDenied(t *testing.T, err error, words ...string) {
	t.Helper()
	expectError(t, err, append([]string{notAttested}, words...)...)
}

// expectUnverified expects that the plugin kept the image out because nobody could tell.
func expectUnverified(t *testing.T, err error, words ...string) {
	t.Helper()
	expectError(t, err, append([]string{notVerified}, words...)...)
}

// expectRefused expects that the plugin kept the image out, for one reason or the other.
func expectRefused(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Error("it started, and should not")
	} else if text := err.Error(); !strings.Contains(text, notAttested) && !strings.Contains(text, notVerified) {
		t.Errorf("somebody else than the plugin refused it: %v", err)
	}
}

// expectNoPlugin expects that the runtime itself refused, because the plugin is gone, or went while it was asked.
func expectNoPlugin(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Error("it started, and should not")
	} else if text := err.Error(); !strings.Contains(text, "required plugin") && !strings.Contains(text, "validator plugin") {
		t.Errorf("it is not for lack of the plugin: %v", err)
	}
}

// awaitStarts tries again and again, as a kubelet does, until the image starts.
func (s *site) awaitStarts(t *testing.T, namespace, reference string) {
	t.Helper()
	check(t, cluster.Await(t.Context(), reference+" to start", func(context.Context) error {
		return s.run(t, namespace, reference)
	}))
}

// awaitRefused tries until new rules have reached the node.
func (s *site) awaitRefused(t *testing.T, namespace, reference string) {
	t.Helper()
	check(t, cluster.Await(t.Context(), reference+" to be refused", func(context.Context) error {
		if s.run(t, namespace, reference) == nil {
			return fmt.Errorf("it starts in %s", namespace)
		}
		return nil
	}))
}
