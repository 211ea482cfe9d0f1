package kube

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/watch"

	"github.com/kritis-node/kritis-node/policyagent"
	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/verifier"
)

// What API servers send of the three kinds, as kubectl get -o json shows it: both forms of the specs.
var sampleObjects = []string{
	`{"apiVersion":"kritis.grafeas.io/v1beta1","kind":"GenericAttestationPolicy","metadata":{"creationTimestamp":"2026-01-02T03:04:05Z","generation":1,"name":"main","namespace":"prod","resourceVersion":"311","uid":"0b7c8a4e-3f1d-4a51-9a8e-b6c1f7a6f0c1","managedFields":[{"apiVersion":"kritis.grafeas.io/v1beta1","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{}},"manager":"kubectl","operation":"Update"}]},"spec":{"attestationAuthorityNames":["qa"],"admissionAllowlistPatterns":[{"namePattern":"registry.example/tools/*"}],"tagPolicy":"Resolve"}}`,
	`{"apiVersion":"kritis.grafeas.io/v1beta1","kind":"AttestationAuthority","metadata":{"name":"qa","namespace":"prod","resourceVersion":"312"},"spec":{"noteReference":"namespaces/qa","privateKeySecretName":"x","publicKeyData":"LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0KLS0tLS1FTkQgUFVCTElDIEtFWS0tLS0tCg=="}}`,
	`{"apiVersion":"kritis.grafeas.io/v1beta1","kind":"AttestationAuthority","metadata":{"name":"qa","namespace":"prod","resourceVersion":"313"},"spec":{"publicKeyList":[{"keyType":"PKIX_KEY","keyId":"k","pkixPublicKey":{"publicKey":"-----BEGIN PUBLIC KEY-----","signatureAlgorithm":"RSA_PSS_2048_SHA256"}}]}}`,
	`{"apiVersion":"kritis.grafeas.io/v1beta1","kind":"AdmissionAllowlist","metadata":{"name":"emergency","resourceVersion":"314"},"spec":{"patterns":[{"namePattern":"r.example/a*","namespace":"prod","expires":"2026-01-02T03:04:05Z","reason":"incident 7"}]}}`,
	`{"kind":"GenericAttestationPolicy","metadata":{"name":"p"},"spec":{"attestationAuthorityNames":"qa","unknown":{"a":[1,2,{}]}}}`,
	`{"metadata":{"name":"p"},"spec":null}`,
}

// FuzzUnderstand: an object never vanishes. What cannot be read counts as one that names nothing, and that is said, shortly.
func FuzzUnderstand(f *testing.F) {
	for _, o := range sampleObjects {
		f.Add([]byte(o))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, kind := range []string{v1beta1.KindAuthority, v1beta1.KindPolicy, v1beta1.KindAllowlist} {
			all, problems, err := Understand([]Object{{Kind: kind, Namespace: "prod", Name: "main", JSON: data}})
			if err != nil || len(all.Authorities)+len(all.Policies)+len(all.Allowlists) != 1 {
				t.Fatalf("%s: %+v, %v", kind, all, err)
			}
			if len(problems) > 2*maxObjectProblems+verifier.MaxProblems+2 {
				t.Errorf("%s: %d problems", kind, len(problems))
			}
			for _, p := range problems {
				if p.Code == "" || len(p.Text) > 2*maxProblemText {
					t.Errorf("%s: %+v", kind, p)
				}
			}
			var o struct{ Spec map[string]json.RawMessage }
			if json.Unmarshal(data, &o) != nil && len(problems) == 0 && !json.Valid(data) {
				t.Errorf("%s: no JSON and no problem", kind)
			}
			// Whatever the policy is, its namespace is governed by it.
			document, _ := v1beta1.Document(all)
			set, _ := verifier.Compile(document)
			v := verifier.Rules{Cluster: set}.Decide(verifier.Request{Namespace: "prod", Image: "r.example/a"}, nil, nil)
			if kind == v1beta1.KindPolicy && v.Reason == verifier.NoPolicy {
				t.Errorf("the policy does not govern: %s", data)
			}
			if kind != v1beta1.KindPolicy && v.Reason != verifier.NoPolicy {
				t.Errorf("%s governs: %+v", kind, v)
			}
		}
	})
}

// FuzzStream reads what an API server sends to a watch. Events are whole, or the stream ends with an error.
func FuzzStream(f *testing.F) {
	for _, kind := range []string{"ADDED", "MODIFIED", "DELETED"} {
		f.Add([]byte(`{"type":"` + kind + `","object":` + sampleObjects[0] + "}\n"))
	}
	f.Add([]byte(`{"type":"BOOKMARK","object":{"kind":"GenericAttestationPolicy","apiVersion":"kritis.grafeas.io/v1beta1","metadata":{"resourceVersion":"12746","annotations":{"k8s.io/initial-events-end":"true"}}}}` + "\n"))
	f.Add([]byte(`{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version: 1 (2)","reason":"Expired","code":410}}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &resource{group: v1beta1.Group, version: v1beta1.Version, name: "genericattestationpolicies", kind: v1beta1.KindPolicy,
			limits: limits{10, 1 << 20}, decode: decodeSpec[v1beta1.PolicySpec](v1beta1.KindPolicy)}
		r.store = newStore(r.limits, func() {})
		s := newStream(r, io.NopCloser(bytes.NewReader(data)), func() {})
		defer s.Close()
		for events := 0; ; events++ {
			kind, o, err := s.Decode()
			if err != nil {
				return
			}
			if events > len(data) {
				t.Fatal("it does not end")
			}
			switch kind {
			case watch.Added, watch.Modified, watch.Deleted:
				got, ok := o.(*object)
				if !ok || got.Name == "" || got.ResourceVersion == "" || got.value == nil || got.size > len(data) {
					t.Errorf("%s %+v", kind, o)
				}
			case watch.Bookmark:
				if o.(*object).ResourceVersion == "" {
					t.Error("a bookmark of nothing")
				}
			case watch.Error:
			default:
				t.Errorf("%q", kind)
			}
		}
	})
}

// FuzzDecodePod: what is fetched in advance for a pod is bounded, and a pod that cannot be read asks for nothing.
func FuzzDecodePod(f *testing.F) {
	f.Add([]byte(`{"kind":"Pod","metadata":{"name":"a","namespace":"prod"},"spec":{"imagePullSecrets":[{"name":"login"}],"initContainers":[{"image":"r.example/i"}],"containers":[{"image":"r.example/a@sha256:x"},{"image":"r.example/a@sha256:x"}],"ephemeralContainers":[{"image":"e"}],"volumes":[{"name":"v","image":{"reference":"r.example/v","pullPolicy":"Always"}}]}}`))
	var images, secrets []string
	for i := range maxImages + 1 {
		images, secrets = append(images, fmt.Sprintf(`{"image":"r.example/%d"}`, i)), append(secrets, fmt.Sprintf(`{"name":"s%d"}`, i))
	}
	f.Add([]byte(`{"spec":{"imagePullSecrets":[` + strings.Join(secrets, ",") + `],"containers":[` + strings.Join(images, ",") + `]}}`))
	f.Add([]byte(`{"spec":{"containers":[null,{"image":""},{"image":7}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		pod := decodePod(identity{Namespace: "prod", Name: "a"}, data).(policyagent.Pod)
		if pod.Namespace != "prod" || len(pod.Images) > maxImages || len(pod.PullSecrets) > maxPullSecrets || !json.Valid(data) && len(pod.Images)+len(pod.PullSecrets) > 0 {
			t.Errorf("%+v", pod)
		}
		if size := len(strings.Join(pod.Images, "")) + len(strings.Join(pod.PullSecrets, "")); size > 3*len(data) {
			t.Errorf("%d bytes of %d", size, len(data))
		}
	})
}

// FuzzDecodeSecret: what is no pull secret gives no login, and nothing of a secret's content is in an error.
func FuzzDecodeSecret(f *testing.F) {
	f.Add([]byte(`{"kind":"Secret","apiVersion":"v1","metadata":{"name":"login","namespace":"prod"},"data":{".dockerconfigjson":"eyJhdXRocyI6eyJyLmV4YW1wbGUiOnsidXNlcm5hbWUiOiJ1IiwicGFzc3dvcmQiOiJwIiwiYXV0aCI6ImRUcHcifX19"},"type":"kubernetes.io/dockerconfigjson"}`))
	f.Add([]byte(`{"kind":"Secret","type":"kubernetes.io/dockercfg","data":{".dockercfg":"eyJyLmV4YW1wbGUiOnsiYXV0aCI6ImRUcHcifX0="}}`))
	f.Add([]byte(`{"kind":"Secret","type":"kubernetes.io/dockercfg","data":{".dockercfg":"c2VjcmV0"}}`))
	f.Add([]byte(`{"kind":"Secret","type":"Opaque","data":{"a":"c2VjcmV0"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		config, err := decodeSecret(data)
		if err != nil && (config != nil || strings.ContainsAny(err.Error(), "\n\r") || len(err.Error()) > 200) {
			t.Errorf("%q, %q", config, err)
		}
		if len(config) > 6*len(data)+16 {
			t.Errorf("%d bytes of %d", len(config), len(data))
		}
	})
}
