// Package supply tests what users get from this project besides its behaviour: that it contains no code with known holes,
// that the list of what it contains is true, that anybody can build the same bytes, and that all of this can be verified
// from the image alone.
//
//	vulncheck          looks the programs' modules up in Go's vulnerability database; `make vulncheck`
//	vulncheck_test.go  it tells known holes, none, and could-not-tell apart
//	release_test.go    `make image` in two places, at two times; its bill of materials, in a file and in a registry
//	verify_test.go     its signature, with the commands of docs/supply-chain.md
//	reproducible       `make reproducible`: two builds that share nothing but the sources
package supply
