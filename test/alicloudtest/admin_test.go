package alicloudtest_test

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"go.yaml.in/yaml/v3"

	"github.com/kritis-node/kritis-node/test/alicloudtest"
)

const state = `
users:
- {name: alice, accessKeyId: LTAIalice, accessKeySecret: s3cret, allow: ["kms:*", "cr:*", "yundun-sas:*"]}
roles:
- {name: agent, allow: ["cr:*"], oidcProvider: ack, tokens: {opaque: 2099-01-01T00:00:00Z}}
keys:
- {id: key-one, alias: alias/images, versions: 2}
- {id: key-two, region: cn-beijing, state: Disabled}
witnesses:
- {name: builder, keyId: key-one}
policies:
- {name: prod, enabled: true, required: [builder], scopes: [{clusterId: c1, namespaces: [default]}]}
instances:
- {name: demo, anonymousPush: true}
rules:
- {instance: demo, namespace: team, witness: builder, pss: true, delay: 0s}
metadataRole: agent
`

// admin talks to the emulator as a shell does.
func admin(t *testing.T, e *alicloudtest.Emulator, method, path, body string, into any) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "https://"+e.Host()+"/_emulator/"+path, strings.NewReader(body))
	check(t, err)
	response, err := trusting(t, e).RoundTrip(r)
	check(t, err)
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	check(t, err)
	if into != nil {
		if err := json.Unmarshal(data, into); err != nil {
			t.Fatalf("%s %s: %s", method, path, data)
		}
	}
	return response.StatusCode
}

func TestStateAndShell(t *testing.T) {
	backend := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(backend.Close)
	e, err := alicloudtest.Start(alicloudtest.Options{Registry: backend.URL})
	check(t, err)
	t.Cleanup(func() { check(t, e.Close()) })
	begin, err := alicloudtest.ReadState([]byte(state))
	check(t, err)
	done, err := e.Apply(begin)
	check(t, err)
	if len(done.Keys) != 2 || len(done.Keys[0].Versions) != 2 || done.Keys[1].State != "Disabled" || len(done.Instances) != 1 || len(done.Users) != 1 {
		t.Errorf("applied %+v", done)
	}
	push(t, e, e.RegistryHost()+"/team/app:v1")
	var occurrences []alicloudtest.Occurrence
	if admin(t, e, "GET", "occurrences?instance=demo", "", &occurrences); len(occurrences) != 4 {
		t.Errorf("occurrences %+v, failures %v", occurrences, e.SigningFailures())
	}

	alice := done.Users[0]
	ask := func() error {
		_, err := do(t, as(t, e, alice), request(e, kmsVersion, "DescribeKey", "KeyId", "alias/images"))
		return err
	}
	check(t, ask())
	admin(t, e, "POST", "faults", `{"service":"kms","kind":"InternalError","times":1}`, nil)
	var faults []alicloudtest.Fault
	if admin(t, e, "GET", "faults", "", &faults); len(faults) != 1 || faults[0].Kind != alicloudtest.InternalError {
		t.Errorf("faults %+v", faults)
	}
	expect(t, ask(), 500, "InternalError")
	check(t, ask())
	admin(t, e, "POST", "faults", `{"kind":"Throttle"}`, nil)
	admin(t, e, "DELETE", "faults", "", nil)
	check(t, ask())
	var calls struct {
		Total int
		Calls []alicloudtest.Counted
	}
	if admin(t, e, "GET", "calls?service=kms&keyId=key-one&status=200", "", &calls); calls.Total != 3 || len(calls.Calls) != 1 || calls.Calls[0].Times != 3 {
		t.Errorf("calls %+v", calls)
	}
	if admin(t, e, "DELETE", "calls", "", nil); e.Calls(alicloudtest.Call{}) != 0 {
		t.Error("calls are still counted")
	}
	var key alicloudtest.Key
	if admin(t, e, "POST", "key", `{"id":"alias/images","state":"Disabled","rotate":true}`, &key); key.State != "Disabled" || len(key.Versions) != 3 {
		t.Errorf("key %+v", key)
	}
	if admin(t, e, "GET", "key?id=key-two&region=cn-beijing", "", &key); key.ID != "key-two" {
		t.Errorf("key %+v", key)
	}
	admin(t, e, "POST", "allow", `{"name":"alice","actions":[]}`, nil)
	expect(t, ask(), 403, "Forbidden.NoPermission")
	admin(t, e, "POST", "spelling", `{"on":"enable","policyAsString":true}`, nil)
	admin(t, e, "POST", "allow", `{"name":"alice","actions":["yundun-sas:*"]}`, nil)
	answer, err := do(t, as(t, e, alice), request(e, sasVersion, "DescribeBinarySecurityPolicies"))
	check(t, err)
	contains(t, answer.GetHttpContentString(), `"Status":"enable"`)
	contains(t, answer.GetHttpContentString(), `"Policy":"{`)

	for path, body := range map[string]string{"faults": `{"kind":"Fire"}`, "state": "nobody: x", "nothing": "", "key": `{"id":"x","state":"Disabled"}`, "allow": `{"name":"x"}`} {
		if status := admin(t, e, "POST", path, body, nil); status != 400 {
			t.Errorf("POST %s %s: status %d", path, body, status)
		}
	}
}

func TestClientConfig(t *testing.T) {
	e, alice := start(t, alicloudtest.Options{})
	e.AddRole(alicloudtest.Role{Name: "agent", OIDCProvider: "ack"})
	for source, unsafe := range map[string]any{"AccessKey": nil, "RRSA": nil, "ECSRole": e.MetadataURL()} {
		var config struct {
			Region, Network string
			Credentials     map[string]any
			Endpoints       map[string]string
			CAFile          string `yaml:"caFile"`
		}
		check(t, yaml.Unmarshal([]byte(e.ClientConfig(source)), &config))
		if config.Credentials["source"] != source || config.Credentials["unsafeMetadataAddress"] != unsafe || config.Endpoints["sts"] != e.Host() || config.CAFile != e.CAFile() {
			t.Errorf("%s: %+v", source, config)
		}
	}
	contains(t, strings.Join(alice.Environment(), " "), "ALIBABA_CLOUD_ACCESS_KEY_SECRET="+alice.AccessKeySecret)
	contains(t, strings.Join(e.RRSAEnvironment("agent", "/token"), " "), "ALIBABA_CLOUD_OIDC_PROVIDER_ARN="+e.OIDCProviderARN("ack")+" ALIBABA_CLOUD_OIDC_TOKEN_FILE=/token")
}
