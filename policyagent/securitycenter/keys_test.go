package securitycenter

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kritis-node/kritis-node/policyagent/alicloud"
	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
)

// syncFor runs syncs for a while of a synctest bubble.
func syncFor(t *testing.T, e *engine, d time.Duration) {
	t.Helper()
	for range d / e.Interval {
		time.Sleep(e.Interval)
		e.sync(t.Context())
	}
}

func TestKeysAreAskedForRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		c.policy("prod", true, "qa", "team", "other", "third")
		c.policy("more", true, "qa", "team", "fourth")
		e := syncing(c, nil)
		syncFor(t, e, 10*time.Hour)
		ref := alicloud.KeyReference{ID: "key-1", Version: "v1"}
		if len(c.asked) != 1 || c.asked[ref] != 1 {
			t.Errorf("asked %v", c.asked)
		}
		syncFor(t, e, 24*time.Hour)
		if n := c.asked[ref]; n < 3 || n > 4 {
			t.Errorf("asked %d times in 34 hours", n)
		}
	})
}

func TestKeyThatCannotBeHad(t *testing.T) {
	for name, tc := range map[string]struct {
		err    error
		reason string
		text   string
	}{
		"denied":   {denied, ReasonKeyUnavailable, "kms GetPublicKey: the RAM policy refuses it (Forbidden.NoPermission)"},
		"disabled": {&alicloud.Error{Kind: alicloud.Disabled, Service: "kms", Action: "GetPublicKey", Text: "x"}, ReasonKeyDisabled, "kms GetPublicKey: x"},
		"unfit":    {&alicloud.Error{Kind: alicloud.Unfit, Service: "kms", Action: "DescribeKey", Text: "EC_P256"}, ReasonKeyUnfit, "kms DescribeKey: EC_P256"},
		"another":  {errors.New("boom"), ReasonKeyUnavailable, "boom"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCloud()
				c.policy("prod", true, "qa", "team")
				c.keyError = tc.err
				e := syncing(c, nil)
				syncFor(t, e, time.Minute)
				// The policy is there all the same, and denies: its authority has no key.
				if got := show(t, e, "team"); got != "qa= prod:qa" {
					t.Errorf("%q", got)
				}
				got := reason(t, e, "team", kindAuthority, "qa")
				if got.reason != tc.reason || got.message != v1beta1.Message(tc.text)+textNoKey && !strings.Contains(got.message, tc.text+textNoKey) {
					t.Errorf("%+v", got)
				}
				before := c.asked[alicloud.KeyReference{ID: "key-1", Version: "v1"}]
				syncFor(t, e, time.Hour)
				if n := c.asked[alicloud.KeyReference{ID: "key-1", Version: "v1"}] - before; n > 15 || n < 10 {
					t.Errorf("asked %d times within an hour", n)
				}
				c.keyError = nil
				syncFor(t, e, lastRetry+time.Minute)
				if got := show(t, e, "team"); got != "qa=key-1/v1 prod:qa" || reason(t, e, "team", kindAuthority, "qa") != inSync {
					t.Errorf("%q", got)
				}
				// A key that is known stays, whatever KMS says later.
				c.keyError = tc.err
				syncFor(t, e, 15*time.Hour)
				got = reason(t, e, "team", kindAuthority, "qa")
				if show(t, e, "team") != "qa=key-1/v1 prod:qa" || got.reason != tc.reason || !strings.HasSuffix(got.message, textKnownKey) {
					t.Errorf("%q %+v", show(t, e, "team"), got)
				}
			})
		})
	}
}

// A key that KMS tells while it is disabled counts, and its state shows.
func TestDisabledKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		c.policy("prod", true, "qa", "team")
		e := syncing(c, nil)
		syncFor(t, e, time.Minute)
		ref := alicloud.KeyReference{ID: "key-1", Version: "v1"}
		k := c.keys[ref]
		k.State = "Disabled"
		c.keys[ref] = k
		syncFor(t, e, 15*time.Hour)
		if got := reason(t, e, "team", kindAuthority, "qa"); got.reason != ReasonKeyDisabled || show(t, e, "team") != "qa=key-1/v1 prod:qa" {
			t.Errorf("%+v", got)
		}
		s, _ := read(objects(t, e, "team"))
		again := syncing(c, nil)
		again.start(t.Context(), s, nil)
		again.sync(t.Context())
		if got := reason(t, again, "team", kindAuthority, "qa"); got.reason != ReasonKeyDisabled {
			t.Errorf("forgotten by a restart: %+v", got)
		}
	})
}

// A witness that names no version means the newest. KMS has to say twice that this is another one.
func TestNewestVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		ref := alicloud.KeyReference{ID: "key-1"}
		c.witnesses["qa"] = alicloud.Witness{Name: "qa", KeyID: "key-1"}
		c.keys[ref] = alicloud.PublicKey{ID: "key-1", Version: "v1", PEM: "first"}
		c.policy("prod", true, "qa", "team")
		e := syncing(c, nil)
		syncFor(t, e, time.Minute)
		if got := show(t, e, "team"); got != "qa=key-1/v1 prod:qa" {
			t.Fatalf("%q", got)
		}
		c.keys[ref] = alicloud.PublicKey{ID: "key-1", Version: "v2", PEM: "second"}
		for c.asked[ref] == 1 {
			syncFor(t, e, e.Interval)
		}
		if got := show(t, e, "team"); got != "qa=key-1/v1 prod:qa" {
			t.Errorf("one answer is enough: %q", got)
		}
		syncFor(t, e, e.Interval)
		if got := show(t, e, "team"); got != "qa=key-1/v2 prod:qa" || c.asked[ref] != 3 {
			t.Errorf("%q, asked %v", got, c.asked)
		}
	})
}

func TestKeyVersions(t *testing.T) {
	keep := func(cfg *Config) { cfg.KeepOldVersions = true }
	twice := func(t *testing.T, e *engine) {
		e.sync(t.Context())
		e.sync(t.Context())
	}
	c := newCloud()
	c.policy("prod", true, "qa", "team")
	e := syncing(c, keep)
	twice(t, e)
	c.witness("qa", "key-1", "v2")
	twice(t, e)
	if got := show(t, e, "team"); got != "qa=key-1/v2,key-1/v1 prod:qa" {
		t.Errorf("%q", got)
	}
	c.witness("qa", "key-1", "v1")
	twice(t, e)
	if got := show(t, e, "team"); got != "qa=key-1/v1,key-1/v2 prod:qa" {
		t.Errorf("%q", got)
	}
	// Both count for who reads the object, and no other form does.
	d, problems := v1beta1.Document(v1beta1.Objects{Authorities: []v1beta1.AttestationAuthority{authorityOf(t, e)}})
	if keys := d.Authorities[0].Keys; len(problems) > 0 || len(keys) != 2 || keys[0].PEM != "PEM of key-1 v1" || keys[1].PEM != "PEM of key-1 v2" {
		t.Errorf("%v %v", problems, keys)
	}
	// A restart keeps them, and one that wants the named only drops the other.
	s, _ := read(objects(t, e, "team"))
	named := syncing(c, nil)
	named.start(t.Context(), s, nil)
	if got := show(t, named, "team"); got != "qa=key-1/v1,key-1/v2 prod:qa" {
		t.Errorf("%q", got)
	}
	named.sync(t.Context())
	if got := show(t, named, "team"); got != "qa=key-1/v1 prod:qa" {
		t.Errorf("%q", got)
	}
	d, problems = v1beta1.Document(v1beta1.Objects{Authorities: []v1beta1.AttestationAuthority{authorityOf(t, named)}})
	if keys := d.Authorities[0].Keys; len(problems) > 0 || len(keys) != 1 || keys[0].ID != "key-1" || keys[0].PEM != "PEM of key-1 v1" || d.Authorities[0].NoteReference != "namespaces/qa" {
		t.Errorf("%v %v", problems, keys)
	}
	// Another key is not a version.
	c.witness("qa", "key-7", "v1")
	twice(t, e)
	if got := show(t, e, "team"); got != "qa=key-7/v1 prod:qa" {
		t.Errorf("%q", got)
	}
}

func TestKeyReference(t *testing.T) {
	for name, tc := range map[string]struct {
		witness alicloud.Witness
		want    alicloud.KeyReference
	}{
		"an ID":           {alicloud.Witness{KeyID: "key-hzz1", KeyRegion: "cn-beijing", KeyVersion: "v"}, alicloud.KeyReference{Region: "cn-beijing", ID: "key-hzz1", Version: "v"}},
		"an ARN":          {alicloud.Witness{KeyID: "acs:kms:cn-hongkong:123456:key/key-hzz1", KeyRegion: "cn-beijing"}, alicloud.KeyReference{Region: "cn-hongkong", ID: "key-hzz1"}},
		"neither version": {alicloud.Witness{KeyID: "key-hzz1"}, alicloud.KeyReference{ID: "key-hzz1"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := keyReference(tc.witness)
			check(t, err)
			if got != tc.want {
				t.Errorf("%+v", got)
			}
		})
	}
	c := newCloud()
	c.witnesses["qa"] = alicloud.Witness{Name: "qa", KeyID: "a b"}
	c.policy("prod", true, "qa", "team")
	e := syncing(c, nil)
	e.sync(t.Context())
	if got := reason(t, e, "team", kindAuthority, "qa"); got.reason != ReasonKeyUnfit || show(t, e, "team") != "qa= prod:qa" {
		t.Errorf("%+v", got)
	}
}
