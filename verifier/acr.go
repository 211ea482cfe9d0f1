package verifier

import "strings"

// The two hosts of an instance of Alibaba Cloud Container Registry, Enterprise Edition:
// <instance>-registry.<region>.cr.aliyuncs.com from everywhere, <instance>-registry-vpc.<region>.… from inside its VPC.
const (
	acrDomain  = ".cr.aliyuncs.com"
	acrPublic  = "-registry"
	acrPrivate = "-registry-vpc"
)

// sameRepository says whether two normalised repositories are one. An image is signed under one host of its instance, and
// pulled from whichever is near; nobody can have one of the two hosts without the other.
func sameRepository(a, b string) bool { return a == b || acrRepository(a) == acrRepository(b) }

// acrRepository returns a repository under the instance's public host, any other as it is.
func acrRepository(repository string) string {
	host, path, _ := strings.Cut(repository, "/")
	place, ok := strings.CutSuffix(host, acrDomain)
	if !ok {
		return repository
	}
	instance, region, ok := strings.Cut(place, ".")
	if !ok || region == "" || strings.Contains(region, ".") {
		return repository
	}
	name, ok := strings.CutSuffix(instance, acrPrivate)
	if !ok || name == "" {
		return repository
	}
	return name + acrPublic + "." + region + acrDomain + "/" + path
}
