package alicloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// bank gives credentials that live for an hour, numbered, as long as it does not fail.
type bank struct {
	life    time.Duration
	takes   time.Duration
	failing bool
	given   int
	asked   int
}

func (b *bank) fetch(ctx context.Context) (credential, *Error) {
	b.asked++
	select {
	case <-time.After(b.takes):
	case <-ctx.Done():
		return credential{}, sts.unauthenticated(assumeRole, "no answer in time")
	}
	if b.failing {
		return credential{}, sts.unauthenticated(assumeRole, "the token has ended")
	}
	b.given++
	return credential{id: fmt.Sprint(b.given), secret: "s", token: "t", expires: time.Now().Add(b.life)}, nil
}

func kept(t *testing.T, b *bank) *keeper {
	ctx, cancel := context.WithCancel(t.Context())
	k := &keeper{closed: ctx, service: sts, action: assumeRole, fetch: b.fetch}
	t.Cleanup(func() { cancel(); k.wait() })
	return k
}

func TestKeeper(t *testing.T) {
	get := func(t *testing.T, k *keeper, want string) {
		t.Helper()
		c, err := k.get(t.Context())
		synctest.Wait() // a renewal that was begun ends, if it takes no time
		if want == "" && err == nil || want != "" && (err != nil || c.id != want) {
			t.Errorf("got credential %q, %v, want %q", c.id, err, want)
		}
	}
	for name, test := range map[string]func(t *testing.T, b *bank, k *keeper){
		"one renewal for all": func(t *testing.T, b *bank, k *keeper) {
			b.takes = time.Second
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() {
					if c, err := k.get(t.Context()); err != nil || c.id != "1" {
						t.Error(c.id, err)
					}
				})
			}
			all.Wait()
			if b.asked != 1 {
				t.Errorf("asked %d times", b.asked)
			}
		},
		"renewed in time, not before": func(t *testing.T, b *bank, k *keeper) {
			get(t, k, "1")
			time.Sleep(44 * time.Minute) // a fifth and a twentieth before the end are 15 minutes
			get(t, k, "1")
			if b.asked != 1 {
				t.Errorf("asked %d times", b.asked)
			}
			time.Sleep(4 * time.Minute) // a fifth before the end are 12
			get(t, k, "1")              // begins the renewal and does not wait for it
			get(t, k, "2")
		},
		"nobody waits for a renewal that hangs": func(t *testing.T, b *bank, k *keeper) {
			get(t, k, "1")
			b.takes = time.Hour
			time.Sleep(50 * time.Minute)
			begin := time.Now()
			get(t, k, "1")
			if time.Since(begin) > 0 {
				t.Error("it waited")
			}
		},
		"the old one serves while renewals fail": func(t *testing.T, b *bank, k *keeper) {
			get(t, k, "1")
			b.failing = true
			time.Sleep(50 * time.Minute)
			for range 500 {
				get(t, k, "1")
			}
			if b.asked > 3 {
				t.Errorf("asked %d times in one moment", b.asked)
			}
			time.Sleep(9 * time.Minute)
			get(t, k, "1")
			time.Sleep(time.Minute)
			get(t, k, "")
			b.failing = false
			get(t, k, "2")
		},
		"one that was refused is not used again": func(t *testing.T, b *bank, k *keeper) {
			get(t, k, "1")
			old := k.held
			if !k.drop(old) {
				t.Error("no hope")
			}
			get(t, k, "2")
			k.drop(old) // by a call that was slow
			get(t, k, "2")
		},
		"a waiting call ends with its context": func(t *testing.T, b *bank, k *keeper) {
			b.takes = time.Hour
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := k.get(ctx)
			if err == nil || !errors.Is(err, context.DeadlineExceeded) || err.Action != assumeRole {
				t.Error(err)
			}
		},
		"a renewal that hangs ends": func(t *testing.T, b *bank, k *keeper) {
			b.takes = time.Hour
			begin := time.Now()
			get(t, k, "")
			if time.Since(begin) != fetchTimeout {
				t.Errorf("it took %v", time.Since(begin))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &bank{life: time.Hour}
				test(t, b, kept(t, b))
			})
		})
	}
}

// A credential that the service does not accept is renewed, once.
func TestRefusedCredential(t *testing.T) {
	var served int
	metadata := metadataServer(t, func() string { served++; return fmt.Sprintf("STS.id-%d", served) })
	server := newCloud(t, nil)
	accept := "STS.id-2"
	server.respond(answerIf(&accept))
	config := server.config(t)
	config.Credentials = Credentials{Source: SourceECSRole, UnsafeMetadataAddress: metadata}
	c := newClient(t, config)
	if _, err := c.Witnesses(t.Context()); err != nil || served != 2 {
		t.Errorf("%v after %d credentials", err, served)
	}
	accept = "none"
	_, err := c.Witnesses(t.Context())
	wantKind(t, err, Unauthenticated, "DescribeAttestors", "InvalidSecurityToken.Expired")
	if served != 3 {
		t.Errorf("%d credentials were fetched", served)
	}
}

// A call waits for credentials longer than one try takes, if it has the time.
func TestSlowCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, done := bare()
		defer done()
		b := &bank{life: time.Hour, takes: 2 * tryTimeout}
		k := kept(t, b)
		c.credentials = k
		ctx, cancel := context.WithTimeout(t.Context(), 5*tryTimeout)
		defer cancel()
		// Nobody answers in a bubble without a network; that it was asked is enough.
		c.config.Region = "none"
		_, err := c.ask(ctx, call{service: kms, action: "A", region: "none"})
		if b.given != 1 || err == nil || err.Kind != Unfit {
			t.Errorf("%d credentials, %v", b.given, err)
		}
		k.drop(k.held)
		short, cancel := context.WithTimeout(t.Context(), tryTimeout)
		defer cancel()
		_, err = c.ask(short, call{service: kms, action: "A", region: "none"})
		wantKind(t, err, Unavailable, assumeRole, "no credentials in time")
	})
}

// metadataServer is an instance's metadata with a token.
func metadataServer(t *testing.T, id func() string) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token":
			fmt.Fprint(w, "metadata-token")
		case r.Header.Get("X-aliyun-ecs-metadata-token") != "metadata-token":
			t.Errorf("%s without a token", r.URL.Path)
			w.WriteHeader(http.StatusForbidden)
		case r.URL.Path == rolePath:
			fmt.Fprint(w, "node-role\n")
		case r.URL.Path == rolePath+"node-role":
			fmt.Fprintf(w, `{"Code":"Success","AccessKeyId":%q,"AccessKeySecret":%q,"SecurityToken":%q,"Expiration":%q}`,
				id(), testSecret, testToken, time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05Z"))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// The metadata service is never asked without a token, not even when it gives none.
func TestMetadataNeedsToken(t *testing.T) {
	for name, token := range map[string]http.HandlerFunc{
		"none":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"refused":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"empty":    func(http.ResponseWriter, *http.Request) {},
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/other", http.StatusFound) },
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPut || r.URL.Path != "/latest/api/token" {
					t.Errorf("%s %s", r.Method, r.URL.Path)
				}
				token(w, r)
			}))
			t.Cleanup(server.Close)
			c := newClient(t, Config{Region: "cn-hangzhou", Credentials: Credentials{Source: SourceECSRole, UnsafeMetadataAddress: server.URL}})
			_, err := c.Witnesses(t.Context())
			wantKind(t, err, Unauthenticated, "metadata", "")
		})
	}
}

// What a Secret's volume shows is read as of one moment, and again at each call.
func TestAccessKeyFolder(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{"1", "2"} {
		if err := os.Mkdir(filepath.Join(dir, n), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, n, "accessKeyId"), "id"+n+"\n")
		write(t, filepath.Join(dir, n, "accessKeySecret"), "secret"+n)
	}
	point := func(to string) {
		t.Helper()
		if err := errors.Join(os.Symlink(to, filepath.Join(dir, "new")), os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "..data"))); err != nil {
			t.Fatal(err)
		}
	}
	a, err := newAccessKey(Credentials{Source: SourceAccessKey, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"1", "2", "1"} {
		point(n)
		if c, err := a.get(t.Context()); err != nil || c.id != "id"+n || c.secret != "secret"+n || c.token != "" {
			t.Errorf("%s: %s/%s, %v", n, c.id, c.secret, err)
		}
	}
	write(t, filepath.Join(dir, "1", "accessKeySecret"), " \n")
	_, failed := a.get(t.Context())
	wantKind(t, failed, Unauthenticated, "AccessKey", "is empty")
	write(t, filepath.Join(dir, "1", "accessKeySecret"), strings.Repeat("x", maxSecretFile+1))
	_, failed = a.get(t.Context())
	wantKind(t, failed, Unauthenticated, "AccessKey", "larger than")
}

// A source whose environment is not set says what is missing before anything is asked.
func TestMissingEnvironment(t *testing.T) {
	for _, name := range []string{"ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "ALIBABA_CLOUD_ROLE_ARN", "ALIBABA_CLOUD_OIDC_PROVIDER_ARN", "ALIBABA_CLOUD_OIDC_TOKEN_FILE"} {
		t.Setenv(name, "")
	}
	for source, text := range map[string]string{SourceAccessKey: "ALIBABA_CLOUD_ACCESS_KEY_ID", SourceRRSA: "ALIBABA_CLOUD_ROLE_ARN"} {
		if _, err := New(Config{Region: "cn-hangzhou", Credentials: Credentials{Source: source}}); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", source, err)
		}
	}
}

// answerIf lists no witnesses to whoever comes with an access key ID, and refuses all others.
func answerIf(id *string) func(w http.ResponseWriter, r *http.Request, q url.Values) {
	return func(w http.ResponseWriter, _ *http.Request, q url.Values) {
		if q.Get("AccessKeyId") == *id {
			_, _ = io.WriteString(w, `{"PageInfo":{"TotalCount":0},"Attestors":[]}`)
			return
		}
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"Code":"InvalidSecurityToken.Expired","Message":"expired","RequestId":"r"}`)
	}
}
