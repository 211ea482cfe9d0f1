// Package stack puts the product on a node of test/cluster: a registry, containerd, the policy agent and the plugin,
// all real, with keys and signatures made by real signers. The end-to-end tests, the demo and the benchmarks share it.
//
//	stack.go    start and stop the parts
//	policy.go   keys and policies
//	images.go   push, sign, run
//	status.go   ask the plugin how it does
package stack
