package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion returns the group and version of the kinds.
func GroupVersion() schema.GroupVersion { return schema.GroupVersion{Group: Group, Version: Version} }

// AddToScheme makes the kinds known to a scheme, for clients and the controller.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion(),
		&AttestationAuthority{}, &AttestationAuthorityList{},
		&GenericAttestationPolicy{}, &GenericAttestationPolicyList{},
		&AdmissionAllowlist{}, &AdmissionAllowlistList{},
		&Attestation{}, &AttestationList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion())
	return nil
}
