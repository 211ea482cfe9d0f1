// Package nodestate is the interface between the policy agent and the plugin on one node: files, and one socket.
//
// The files carry the state. The agent is their only writer, the plugin, `kritis status` and `kritis explain` read:
//
//	policy.json                            the policy snapshot               (Policy)
//	attestations/<2 hex>/<64 hex>.json     what is known about one image     (Record)
//	agent.json                             how the agent is doing            (Status)
//	agent.lock                             held by the one agent that writes
//
// Every file is an envelope: a header line of JSON with kind, version, size and SHA-256 of what follows, then a JSON
// body. It is written under a temporary name, synced and renamed, and the folder is synced: a reader sees the old file or
// the new one, and what a power cut left of either is reported as ErrCorrupt, never taken for something else. Readers
// keep no state: each call reads the disk, so a file that was replaced is seen at once.
//
// The files must survive a reboot, because the plugin decides before any network exists. The checksum guards against
// accidents only. Against people the folder's owner and mode guard it: root's (or one's own), writable by nobody else.
// Attestations need not be trusted at all; they prove themselves by their signatures.
//
// The socket says "please fetch now": HTTP/1.1 with JSON bodies over a UNIX socket that only its owner may open. A
// Client asks, Serve answers by a Fetcher, which the agent implements. An answer means that the files are written. The
// plugin also tells over it how it does and what it refused (Report); nothing depends on whether that arrives.
//
// The parts: envelope.go, policy.go and record.go and status.go (what is stored), reader.go, writer.go, atomic.go,
// message.go and report.go (what is said on the socket), client.go, listen.go, server.go.
package nodestate
