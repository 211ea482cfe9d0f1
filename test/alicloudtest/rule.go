package alicloudtest

// SignatureRule signs what is pushed.
type SignatureRule struct{}
