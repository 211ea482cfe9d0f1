package controller

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"
)

const day = 24 * time.Hour

func testChain(t *testing.T, i *issuer, now time.Time) chain {
	t.Helper()
	c, why, err := i.renew(chain{}, now)
	check(t, err)
	if !strings.HasPrefix(why, "authority: ") {
		t.Fatalf("nothing is good enough: %q", why)
	}
	return c
}

func TestRenew(t *testing.T) {
	now := time.Now()
	i := newIssuer("hook.ns.svc")
	good, other := testChain(t, i, now), testChain(t, newIssuer("hook.elsewhere.svc"), now)
	for name, c := range map[string]struct {
		old  chain
		at   time.Duration
		why  string // beginning
		same bool   // authority
	}{
		"good":                       {good, 0, "", true},
		"good for a while":           {good, serverLifetime - renewBefore - time.Minute, "", true},
		"certificate near its end":   {good, serverLifetime - renewBefore + time.Minute, "certificate: ", true},
		"authority near its end":     {good, caLifetime - renewBefore + time.Minute, "authority: ", false},
		"past everything":            {good, caLifetime + day, "authority: ", false},
		"another service":            {other, 0, "certificate: ", true},
		"no certificate":             {chain{caCert: good.caCert, caKey: good.caKey}, 0, "certificate: ", true},
		"no key of the authority":    {chain{caCert: good.caCert, cert: good.cert, key: good.key}, 0, "authority: ", false},
		"another's key":              {chain{good.caCert, other.caKey, good.cert, good.key}, 0, "authority: ", false},
		"another's certificate":      {chain{good.caCert, good.caKey, other.cert, other.key}, 0, "certificate: ", true},
		"key of another":             {chain{good.caCert, good.caKey, good.cert, other.key}, 0, "certificate: ", true},
		"garbage":                    {chain{[]byte("x"), []byte("x"), []byte("x"), []byte("x")}, 0, "authority: ", false},
		"a certificate as authority": {chain{good.cert, good.key, good.cert, good.key}, 0, "authority: ", false},
	} {
		t.Run(name, func(t *testing.T) {
			at := now.Add(c.at)
			next, why, err := i.renew(c.old, at)
			check(t, err)
			if !strings.HasPrefix(why, c.why) || (c.why == "") != (why == "") {
				t.Fatalf("why: %q", why)
			}
			if bytes.Equal(next.caCert, c.old.caCert) != c.same {
				t.Errorf("the authority is the same: %v", !c.same)
			}
			if c.why == "" {
				return
			}
			if _, again, err := i.renew(next, at); again != "" || err != nil {
				t.Errorf("what was made is not good: %s, %v", again, err)
			}
			cert, err := first(next.cert)
			check(t, err)
			if got := cert.NotAfter.Sub(at); got > serverLifetime || got < serverLifetime-time.Minute || cert.IsCA {
				t.Errorf("good for %s", got)
			}
		})
	}
}

// An authority whose key is of another kind than those made here is an error that says what to do, not a panic.
func TestAuthorityOfAnotherKind(t *testing.T) {
	c := testChain(t, newIssuer("hook.ns.svc"), time.Now())
	block, _ := pem.Decode(c.caKey)
	parsed, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	check(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(parsed)
	check(t, err)
	c.caKey, c.cert = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
	if _, _, err := newIssuer("hook.ns.svc").renew(c, time.Now()); err == nil || !strings.Contains(err.Error(), "delete the Secret") {
		t.Error(err)
	}
}

func TestTrust(t *testing.T) {
	now := time.Now()
	i := newIssuer("hook.ns.svc")
	old, older, oldest, present := testChain(t, i, now), testChain(t, i, now), testChain(t, i, now), testChain(t, i, now)
	ended := testChain(t, i, now.Add(-caLifetime-day))
	foreign := newIssuer("x")
	foreign.maker.CAName = "somebody"
	stranger, err := foreign.maker.CreateCACert(now.Add(-time.Hour), now.Add(day))
	check(t, err)
	join := func(all ...[]byte) []byte { return bytes.Join(all, nil) }
	for name, c := range map[string]struct {
		before [][]byte
		at     time.Duration
		want   []byte
		until  bool
	}{
		"nothing before":  {nil, 0, present.caCert, false},
		"itself":          {[][]byte{present.caCert, present.caCert}, 0, present.caCert, false},
		"one before":      {[][]byte{old.caCert}, 0, join(present.caCert, old.caCert), true},
		"twice the same":  {[][]byte{old.caCert, old.caCert}, 0, join(present.caCert, old.caCert), true},
		"in one bundle":   {[][]byte{join(present.caCert, old.caCert, older.caCert)}, 0, join(present.caCert, old.caCert, older.caCert), true},
		"too many":        {[][]byte{join(old.caCert, older.caCert, oldest.caCert)}, 0, join(present.caCert, old.caCert, older.caCert), true},
		"just in time":    {[][]byte{old.caCert}, overlap - 2*time.Second, join(present.caCert, old.caCert), true},
		"after a while":   {[][]byte{old.caCert}, overlap, present.caCert, false},
		"ended":           {[][]byte{ended.caCert}, 0, present.caCert, false},
		"somebody else's": {[][]byte{stranger.CertPEM}, 0, present.caCert, false},
		"garbage":         {[][]byte{[]byte("x"), []byte("-----BEGIN CERTIFICATE-----\neA==\n-----END CERTIFICATE-----\n"), old.caCert}, 0, join(present.caCert, old.caCert), true},
		"behind too much": {[][]byte{join(bytes.Repeat([]byte("\n"), maxBundle), old.caCert)}, 0, present.caCert, false},
	} {
		got, until, err := trust(present.caCert, c.before, now.Add(c.at))
		check(t, err)
		if !bytes.Equal(got, c.want) || until.IsZero() == c.until || c.until && !until.After(now.Add(c.at)) {
			t.Errorf("%s: %d certificates, until %v", name, bytes.Count(got, []byte("BEGIN")), until)
		}
	}
	if _, _, err := trust([]byte("x"), nil, now); err == nil {
		t.Error("nothing is trusted, and that is no error")
	}
}
