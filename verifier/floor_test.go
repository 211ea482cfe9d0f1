package verifier

import "testing"

func TestCompileFloorRefuses(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*FloorSpec)
		want   string
	}{
		{"key", func(f *FloorSpec) { f.Authorities[0].Keys[0].PEM = publicPEM(rsa4096()) },
			"AttestationAuthority prod: keys[0].pem: a key of kind RSA-4096 needs its algorithm named, such as RSA_PKCS1_SHA_256\n" +
				"GenericAttestationPolicy def*/node: authorityNames[0]: authority prod attests nothing, so nothing satisfies the policy: see its own condition"},
		{"authority with namespace", func(f *FloorSpec) {
			f.Authorities = append(f.Authorities, AuthoritySpec{Namespace: "x", Name: "y", Keys: f.Authorities[0].Keys})
		}, "AttestationAuthority x/y: an authority of the floor has a name and no namespace"},
		{"policy without authority", func(f *FloorSpec) { f.Policies[0].AuthorityNames = nil },
			"GenericAttestationPolicy def*/node: authorityNames: it names no authority, so nothing satisfies it: name one"},
		{"policy twice", func(f *FloorSpec) { f.Policies = append(f.Policies, f.Policies[0]) },
			"GenericAttestationPolicy def*/node: it exists twice, so neither counts: remove one"},
		{"namespace pattern", func(f *FloorSpec) { f.Policies[0].Namespace = "prod-?" },
			"GenericAttestationPolicy prod-?/node: namespace: it is not a namespace, nor a pattern of one with *"},
		{"namespace pattern of a list", func(f *FloorSpec) { f.Allowlist = []AllowSpec{{List: "l", Pattern: "a", Namespace: "[a-z]"}} },
			"AdmissionAllowlist l: patterns[0].namespace: it is not a namespace, nor a pattern of one with *"},
		{"pattern", func(f *FloorSpec) { f.Allowlist = []AllowSpec{{List: "l", Pattern: "a b"}} },
			"AdmissionAllowlist l: patterns[0]: the pattern has characters that no image's name can have: only * has a meaning of its own"},
		{"tag policy", func(f *FloorSpec) { f.Policies[0].TagPolicy = "x" },
			"GenericAttestationPolicy def*/node: tagPolicy: the tag policy is neither Reject nor Resolve, so images named by tag are rejected"},
		{"exempt and more", func(f *FloorSpec) {
			f.BootstrapExempt = []string{"kube-system", "", "Kube"}
			f.Policies[0].AuthorityNames = []string{"gone"}
		}, "GenericAttestationPolicy def*/node: authorityNames[0]: authority gone does not exist, so nothing satisfies the policy: create it, or remove its name\n" +
			"bootstrapExempt[1]: it is not a namespace, nor a pattern of one with *\n" +
			"bootstrapExempt[2]: it is not a namespace, nor a pattern of one with *"},
	} {
		t.Run(test.name, func(t *testing.T) {
			spec := FloorSpec{Document: floorDocument()}
			test.change(&spec)
			floor, err := CompileFloor(spec)
			if err == nil || err.Error() != test.want || floor != nil {
				t.Errorf("got %v, %v\nwant %s", floor, err, test.want)
			}
		})
	}
}

// Floors do not follow the spec that they were made of.
func TestCompiledFloorIsACopy(t *testing.T) {
	spec := FloorSpec{RuntimeHandlers: []string{"runc"}, BootstrapExempt: []string{"a"}}
	floor := floorOf(t, spec)
	spec.RuntimeHandlers[0], spec.BootstrapExempt[0] = "kata", "b"
	v := Rules{Floor: floor}.Decide(Request{Namespace: "a", RuntimeHandler: "runc"}, nil, nil)
	if v.Outcome != Allowed || v.Reason != Bootstrapping {
		t.Errorf("got %+v", v)
	}
}
