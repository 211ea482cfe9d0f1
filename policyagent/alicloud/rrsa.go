package alicloud

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const assumeRole = "AssumeRoleWithOIDC"

// role exchanges an OIDC token for a role's credentials. The SDK's own provider knows no context, no certificate
// authority of ours and no endpoint, and does not read the session's name from the environment.
// https://www.alibabacloud.com/help/en/ram/developer-reference/api-sts-2015-04-01-assumerolewithoidc
type role struct {
	client                            *Client
	arn, provider, tokenFile, session string
}

// roleFromEnvironment reads what ACK's pod identity webhook sets.
func roleFromEnvironment() (*role, error) {
	r := &role{
		arn: os.Getenv("ALIBABA_CLOUD_ROLE_ARN"), provider: os.Getenv("ALIBABA_CLOUD_OIDC_PROVIDER_ARN"),
		tokenFile: os.Getenv("ALIBABA_CLOUD_OIDC_TOKEN_FILE"), session: os.Getenv("ALIBABA_CLOUD_ROLE_SESSION_NAME"),
	}
	for _, v := range []struct{ name, value string }{
		{"ALIBABA_CLOUD_ROLE_ARN", r.arn}, {"ALIBABA_CLOUD_OIDC_PROVIDER_ARN", r.provider}, {"ALIBABA_CLOUD_OIDC_TOKEN_FILE", r.tokenFile},
	} {
		if v.value == "" {
			return nil, fmt.Errorf("source RRSA: %s is not set: set it, or let ack-pod-identity-webhook do that", v.name)
		}
	}
	if r.session == "" {
		r.session = "kritis-node"
	}
	return r, nil
}

func (r *role) fetch(ctx context.Context) (credential, *Error) {
	var got credential
	err := r.client.persist(ctx, sts, assumeRole, func(ctx context.Context) *failure {
		var f *failure
		got, f = r.try(ctx)
		return f
	})
	return got, asUnauthenticated(err)
}

func (r *role) try(ctx context.Context) (credential, *failure) {
	// Anew each time: the kubelet renews it.
	data, err := readBounded(r.tokenFile, maxSecretFile)
	if err != nil {
		return credential{}, &failure{err: sts.unauthenticated(assumeRole, bounded("read the OIDC token: "+err.Error()))}
	}
	token := strings.TrimSpace(string(data))
	host, ok := r.client.config.host(sts, r.client.config.Region)
	if !ok {
		return credential{}, &failure{err: sts.unauthenticated(assumeRole, "the region is not the name of a region")}
	}
	query := url.Values{
		"Action": {assumeRole}, "Version": {sts.version}, "Format": {"JSON"},
		"Timestamp": {time.Now().UTC().Format("2006-01-02T15:04:05Z")}, "SignatureNonce": {rand.Text()},
	}
	form := url.Values{
		"RoleArn": {r.arn}, "OIDCProviderArn": {r.provider}, "OIDCToken": {token}, "RoleSessionName": {r.session}, "DurationSeconds": {"3600"},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+host+"/?"+query.Encode(), strings.NewReader(form.Encode()))
	if err != nil {
		return credential{}, &failure{err: sts.unauthenticated(assumeRole, "the request could not be built: check endpoints.sts")}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	redact := credential{token: token}.redactor()
	a, err := exchange(ctx, r.client.transport, req)
	if err != nil {
		return credential{}, sts.unreachable(ctx, assumeRole, err, redact)
	}
	o, f := sts.read(assumeRole, a, redact)
	if f != nil {
		return credential{}, f
	}
	inner, _, err := o.child("Credentials")
	if err != nil {
		return credential{}, &failure{err: sts.unauthenticated(assumeRole, "the answer holds no complete credentials")}
	}
	c, e := expiring(sts, assumeRole, inner)
	if e != nil {
		return credential{}, &failure{err: e}
	}
	return c, nil
}

// asUnauthenticated turns any failure to get credentials into one of that kind: without them nothing can be asked. That
// the context ended is no such failure.
func asUnauthenticated(err *Error) *Error {
	if err == nil || err.Kind == Unauthenticated {
		return err
	}
	other := *err
	other.Kind = Unauthenticated
	return &other
}
