package alicloudtest_test

import (
	"crypto/x509"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
	sdkerrors "github.com/aliyun/alibaba-cloud-sdk-go/sdk/errors"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/responses"
	"go.uber.org/goleak"

	"github.com/kritis-node/kritis-node/test/alicloudtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// everything is what the user of most tests may do.
func everything() []string { return []string{"kms:*", "yundun-sas:*", "cr:*"} }

// start starts an emulator with a user who may do everything.
func start(t *testing.T, options alicloudtest.Options) (*alicloudtest.Emulator, alicloudtest.User) {
	t.Helper()
	e, err := alicloudtest.Start(options)
	check(t, err)
	t.Cleanup(func() { check(t, e.Close()) })
	return e, e.AddUser(alicloudtest.User{Name: "alice", Allow: everything()})
}

// trusting returns a transport that trusts the emulator's authority.
func trusting(t *testing.T, e *alicloudtest.Emulator) *http.Transport {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(e.CA()) {
		t.Fatal("the authority is no PEM")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig.RootCAs = roots
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// client is Alibaba Cloud's own SDK, which nobody here wrote.
func client(t *testing.T, e *alicloudtest.Emulator, id, secret, token string) *sdk.Client {
	t.Helper()
	made, err := sdk.NewClientWithOptions(e.Region(), sdk.NewConfig().WithScheme("HTTPS").WithAutoRetry(false), credentials.NewStsTokenCredential(id, secret, token))
	check(t, err)
	made.SetTransport(trusting(t, e))
	return made
}

// as is the client of a user.
func as(t *testing.T, e *alicloudtest.Emulator, user alicloudtest.User) *sdk.Client {
	t.Helper()
	return client(t, e, user.AccessKeyID, user.AccessKeySecret, "")
}

// request makes a request by name.
func request(e *alicloudtest.Emulator, version, action string, pairs ...string) *requests.CommonRequest {
	r := requests.NewCommonRequest()
	r.Method, r.Scheme, r.Domain, r.Version, r.ApiName = "POST", "https", e.Host(), version, action
	for i := 0; i < len(pairs); i += 2 {
		r.QueryParams[pairs[i]] = pairs[i+1]
	}
	return r
}

// Versions of the services.
const (
	sasVersion = "2018-12-03"
	kmsVersion = "2016-01-20"
	crVersion  = "2018-12-01"
)

// do sends a request.
func do(t *testing.T, c *sdk.Client, r *requests.CommonRequest) (*responses.CommonResponse, error) {
	t.Helper()
	return c.ProcessCommonRequest(r)
}

// expect checks that an error is a service's, with a code and a status.
func expect(t *testing.T, err error, status int, code string) {
	t.Helper()
	var refused *sdkerrors.ServerError
	if !errors.As(err, &refused) {
		t.Fatalf("want %d %s, got %v", status, code, err)
	}
	if refused.ErrorCode() != code || refused.HttpStatus() != status {
		t.Errorf("want %d %s, got %d %s: %s", status, code, refused.HttpStatus(), refused.ErrorCode(), refused.Message())
	}
	if refused.RequestId() == "" || refused.HostId() == "" || refused.Recommend() == "" {
		t.Errorf("the error lacks members: %v", refused)
	}
}

// clock is a clock that stands until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

// newClock stands at a whole second: the cloud writes times no finer.
func newClock() *clock { return &clock{now: time.Now().Truncate(time.Second)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func itoa(n int) string { return strconv.Itoa(n) }

func contains(t *testing.T, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("%q is not in %q", part, text)
	}
}
