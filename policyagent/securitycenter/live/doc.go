// Package live holds tests of Security Center's objects: kritis-controller as its own program, with no more rights than it
// says it needs, between a real API server and the emulator of Alibaba Cloud.
package live
