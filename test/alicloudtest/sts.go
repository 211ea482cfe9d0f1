package alicloudtest

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"
)

// sessionName is the documented form: 2 to 64 characters.
var sessionName = regexp.MustCompile(`^[a-zA-Z0-9.@_-]{2,64}$`)

// assumeRoleWithOIDC exchanges a token of an OIDC provider for temporary credentials. It is not signed.
func assumeRoleWithOIDC(c *call) (object, *apiError) {
	if !sessionName.MatchString(c.param("RoleSessionName")) {
		return nil, failed(400, "InvalidParameter.RoleSessionName", "The parameter RoleSessionName is wrongly formed.")
	}
	duration, refused := c.number("DurationSeconds", 3600, 43200)
	if refused != nil || duration < 900 {
		return nil, failed(400, "InvalidParameter.DurationSeconds", "The Min/Max value of DurationSeconds is 15min/1hr.")
	}
	life := time.Duration(duration) * time.Second
	if c.e.options.CredentialLife > 0 {
		life = c.e.options.CredentialLife
	}
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	name, isRole := strings.CutPrefix(c.param("RoleArn"), c.e.RoleARN(""))
	role, exists := c.e.roles[name]
	if !isRole || !exists {
		return nil, failed(404, "EntityNotExist.Role", "The role not exists: %s.", c.param("RoleArn"))
	}
	if role.OIDCProvider == "" || c.param("OIDCProviderArn") != c.e.OIDCProviderARN(role.OIDCProvider) {
		return nil, failed(401, "AuthenticationFail.NoPermission", "No such OIDC Provider registered.")
	}
	if refused := role.checkToken(c.param("OIDCToken"), c.e.now()); refused != nil {
		return nil, refused
	}
	given, err := c.e.issueCredentials(role.Name, life)
	if err != nil {
		return nil, failed(500, "InternalError", "%v", err)
	}
	return object{
		"Credentials": object{"AccessKeyId": given.AccessKeyID, "AccessKeySecret": given.AccessKeySecret, "SecurityToken": given.SecurityToken,
			"Expiration": given.Expires.Format(stamp)},
		"AssumedRoleUser": object{"Arn": c.param("RoleArn") + "/" + c.param("RoleSessionName"),
			"AssumedRoleId": "300000000000000000:" + c.param("RoleSessionName")},
		"OIDCTokenInfo": object{"Subject": "emulated", "Issuer": "emulated", "ClientIds": "sts.aliyuncs.com"},
	}, nil
}

// checkToken checks what a workload shows.
func (r Role) checkToken(token string, now time.Time) *apiError {
	expired := failed(401, "AuthenticationFail.OIDCToken.Expired", "This JsonWebToken is expired.")
	if token == "" {
		return failed(401, "AuthenticationFail.OIDCToken.Invalid", "The OIDCToken can not empty.")
	}
	if expires, known := r.Tokens[token]; known {
		if !expires.IsZero() && !now.Before(expires) {
			return expired
		}
		return nil
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return failed(401, "AuthenticationFail.OIDCToken.Invalid", "The number of Jwt field should be divided into 3 parts with '.' .")
	}
	decoded, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return failed(401, "AuthenticationFail.OIDCToken.Invalid", "Cannot decode base64 encoded response(format invalided).")
	}
	var claims struct {
		Issuer   string   `json:"iss"`
		Subject  string   `json:"sub"`
		Audience audience `json:"aud"`
		Expires  float64  `json:"exp"`
	}
	if err := json.Unmarshal(decoded, &claims); err != nil {
		return failed(401, "AuthenticationFail.OIDCToken.Invalid", "The Jwt content is invalid that cannot be recognized.")
	}
	fits := func(want, is string) bool { return want == "" || want == is }
	switch {
	case r.JWT == nil:
		return failed(401, "AuthenticationFail.OIDCToken.InvalidSignature", "OIDC token validate failed: invalid signature.")
	case !now.Before(time.Unix(int64(claims.Expires), 0)):
		return expired
	case r.JWT.Audience != "" && !slices.Contains(claims.Audience, r.JWT.Audience):
		return failed(401, "AuthenticationFail.OIDCToken.AudienceNotMatch", "Invalid audience.")
	case !fits(r.JWT.Issuer, claims.Issuer) || !fits(r.JWT.Subject, claims.Subject):
		return failed(401, "AuthenticationFail.NoPermission", "There is no permission")
	}
	return nil
}

// audience is one string or a list of them.
type audience []string

func (a *audience) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(a))
}
