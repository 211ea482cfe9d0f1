// Package image makes the container image of the project: a static program for each of its processes, the roots of public
// certificate authorities, and nothing else. It needs neither a container engine nor a base image.
//
// The same sources, by the same Go, give the same digest: nothing of the machine or of the day is in it. Programs come from
// `go build` with trimmed paths, files have one fixed time, and the roots are those of a module that go.mod pins.
//
//	programs.go  build the programs for a platform
//	image.go     put programs and roots into an image, images into an index
//	layer.go     pack files
//	roots.go     certificate authorities
//	bill.go      list what is in the image: programs, modules, checksums
//	attach.go    push that list beside the image
//	archive.go   write an OCI layout that `ctr images import` and others take
//
// The Dockerfile beside it makes the same image where there is an engine. `make image` runs makeimage.
package image
