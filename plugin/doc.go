// Package plugin is the enforcement point: an NRI plugin that has the last word on every container that containerd
// creates on this node.
//
// It is small, runs as root, and talks over UNIX sockets only (isolate.go gives up the network). A container passes
// through it like this:
//
//	handlers.go   the runtime asks: may this container be created, may it start?
//	subject.go    what is asked for (namespace, image as written, image volumes) is read from the request
//	decide.go     the answer: from memory; else from the node's state; else the agent is asked, within a budget
//	identity.go   which content really runs, from the runtime's own stores, never from an annotation
//	audit.go      one line for every decision
//	report.go     what people should hear of, to the policy agent, which tells the cluster
//
// Around it: connection.go registers with the runtime and does so again after every loss, runtime.go knows what
// which runtime can promise, required.go whether the runtime insists on us, state.go and floor.go hold the rules in
// force, server.go answers `kritis status` and `kritis explain`.
//
// What must stay true: an error, a panic, a timeout or anything unknown is a denial; nothing on the create path
// waits longer than the budget; nothing here connects anywhere but to the sockets it was given.
package plugin
