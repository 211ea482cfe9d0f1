package securitycenter

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kritis-node/kritis-node/policyagent/alicloud"
	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
)

const (
	kindAuthority = v1beta1.KindAuthority
	kindPolicy    = v1beta1.KindPolicy
)

// want is an object as it has to be.
type want struct {
	kind, namespace, name string
	cloud                 string // Security Center's name
	spec                  map[string]any
	annotations           map[string]string
	condition             condition
}

// keyNote is what an authority's annotation says of one key. The key itself is in the spec, and counts only if it has the
// sum: what somebody wrote there while no controller looked does not.
type keyNote struct {
	Region       string `json:"region,omitempty"`
	ID           string `json:"id"`
	Version      string `json:"version,omitempty"`
	KeyID        string `json:"keyId"`
	KeyVersion   string `json:"keyVersion,omitempty"`
	ARN          string `json:"arn,omitempty"`
	State        string `json:"state,omitempty"`
	SHA256OfFile string `json:"sha256"`
}

// object returns the want as what server-side apply sends. It names every field of the spec that could loosen, so that
// nobody else's value stays there; repositoryBound, and algorithm beside one key, only make it stricter and are users'.
func (w *want) object(uid string) *unstructured.Unstructured {
	u := newObject(w.kind)
	u.SetNamespace(w.namespace)
	u.SetName(w.name)
	u.SetLabels(map[string]string{Label: LabelValue})
	u.SetAnnotations(w.annotations)
	if uid != "" {
		_ = unstructured.SetNestedField(u.Object, uid, "metadata", "uid") // metadata is a map: it was made here
	}
	u.Object["spec"] = runtime.DeepCopyJSON(w.spec)
	return u
}

// is says whether an object is as wanted.
func (w *want) is(u *unstructured.Unstructured) bool {
	if u.GetLabels()[Label] != LabelValue {
		return false
	}
	has := u.GetAnnotations()
	for k, v := range w.annotations {
		if has[k] != v {
			return false
		}
	}
	spec, _ := u.Object["spec"].(map[string]any)
	for k, v := range w.spec {
		if !reflect.DeepEqual(spec[k], v) {
			return false
		}
	}
	return true
}

func newObject(kind string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(v1beta1.GroupVersion().WithKind(kind))
	return u
}

func (a *authority) want(ns, witness string) (want, error) {
	notes := make([]keyNote, len(a.keys))
	for i, k := range a.keys {
		notes[i] = keyNote{k.ref.Region, k.ref.ID, k.ref.Version, k.ID, k.Version, k.ARN, k.State, sum(k.PEM)}
	}
	text, err := json.Marshal(notes)
	if err != nil {
		return want{}, fmt.Errorf("encoding the keys of witness %s: %w", brief(witness), err)
	}
	spec := map[string]any{"noteReference": "namespaces/" + witness, "publicKeyData": "", "publicKeyId": "", "publicKeys": []any{}}
	switch len(a.keys) {
	case 0:
	case 1:
		spec["publicKeyData"], spec["publicKeyId"] = base64.StdEncoding.EncodeToString([]byte(a.keys[0].PEM)), a.keys[0].ID
	default:
		var all []any
		for _, k := range a.keys {
			all = append(all, map[string]any{"keyId": k.ID, "keyType": v1beta1.KeyTypePKIX, "pkixPublicKey": map[string]any{"publicKeyPem": k.PEM}})
		}
		spec["publicKeys"], spec["algorithm"] = all, ""
	}
	return want{
		kind: kindAuthority, namespace: ns, name: nameOf(witness, a.alternative), cloud: witness, spec: spec, condition: a.condition,
		annotations: map[string]string{annotationName: witness, annotationKeys: string(text)},
	}, nil
}

func (p *policy) want(ns, name string, authorities map[string]*authority) (want, error) {
	names := []any{}
	for _, w := range p.witnesses {
		a := authorities[w]
		names = append(names, nameOf(w, a != nil && a.alternative))
	}
	text, err := json.Marshal(p.witnesses)
	if err != nil {
		return want{}, fmt.Errorf("encoding the witnesses of policy %s: %w", brief(name), err)
	}
	return want{
		kind: kindPolicy, namespace: ns, name: nameOf(name, p.alternative), cloud: name, condition: p.condition,
		spec: map[string]any{
			"attestationAuthorityNames": names, "admissionAllowlistPatterns": []any{}, "tagPolicy": v1beta1.TagPolicyReject, "dryRun": false,
		},
		annotations: map[string]string{annotationName: name, annotationWitnesses: string(text)},
	}, nil
}

// wants returns what there has to be in a namespace, authorities first.
func (sp *space) wants(ns string) ([]want, error) {
	var all []want
	for _, w := range slices.Sorted(maps.Keys(sp.authorities)) {
		o, err := sp.authorities[w].want(ns, w)
		if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	for _, p := range slices.Sorted(maps.Keys(sp.policies)) {
		o, err := sp.policies[p].want(ns, p, sp.authorities)
		if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, nil
}

// marked says whether an object is ours by what stands in it.
func marked(u *unstructured.Unstructured) bool {
	return u.GetLabels()[Label] == LabelValue || u.GetAnnotations()[annotationName] != ""
}

// read takes what objects of ours say into a state. Where there are two for one thing, the second is surplus.
func read(items []unstructured.Unstructured) (state, []removed) {
	s, surplus := state{}, []removed(nil)
	seen := map[removed]bool{}
	for i := range items {
		u := &items[i]
		cloud := u.GetAnnotations()[annotationName]
		if cloud == "" {
			cloud = u.GetName()
		}
		alternative := u.GetName() == alternativeName(cloud)
		if !marked(u) || !alternative && u.GetName() != plainName(cloud) {
			continue // a copy that somebody made, say
		}
		this := removed{u.GetNamespace(), u.GetKind(), cloud}
		if seen[this] {
			surplus = append(surplus, removed{u.GetNamespace(), u.GetKind(), u.GetName()})
			continue
		}
		seen[this] = true
		switch sp := s.space(u.GetNamespace()); u.GetKind() {
		case kindAuthority:
			sp.authorities[cloud] = &authority{alternative: alternative, keys: readKeys(u)}
		case kindPolicy:
			var witnesses []string
			_ = json.Unmarshal([]byte(u.GetAnnotations()[annotationWitnesses]), &witnesses) // none: it denies until a listing tells
			sp.policies[cloud] = &policy{alternative: alternative, witnesses: slices.Compact(slices.Sorted(slices.Values(witnesses)))}
		}
	}
	return s, surplus
}

func readKeys(u *unstructured.Unstructured) []key {
	var notes []keyNote
	var spec struct {
		Spec v1beta1.AuthoritySpec `json:"spec"`
	}
	if json.Unmarshal([]byte(u.GetAnnotations()[annotationKeys]), &notes) != nil ||
		runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &spec) != nil {
		return nil
	}
	bySum := map[string]string{}
	if pem, err := base64.StdEncoding.DecodeString(spec.Spec.PublicKeyData); err == nil {
		bySum[sum(string(pem))] = string(pem)
	}
	for _, k := range spec.Spec.PublicKeys {
		if k.PKIXPublicKey != nil {
			bySum[sum(k.PKIXPublicKey.PublicKeyPEM)] = k.PKIXPublicKey.PublicKeyPEM
		}
	}
	var keys []key
	for _, n := range notes {
		if pem, ok := bySum[n.SHA256OfFile]; ok && pem != "" {
			keys = append(keys, key{
				alicloud.KeyReference{Region: n.Region, ID: n.ID, Version: n.Version},
				alicloud.PublicKey{ID: n.KeyID, Version: n.KeyVersion, ARN: n.ARN, PEM: pem, State: n.State},
			})
		}
	}
	return keys
}

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// readCondition returns an object's condition InSync, nil if it has none.
func readCondition(u *unstructured.Unstructured) *metav1.Condition {
	var o struct {
		Status v1beta1.PolicyStatus `json:"status"`
	}
	if runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &o) != nil {
		return nil
	}
	for i := range o.Status.Conditions {
		if o.Status.Conditions[i].Type == ConditionInSync {
			return &o.Status.Conditions[i]
		}
	}
	return nil
}
