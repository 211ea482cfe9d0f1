// Package live holds tests of the controller, as its own program and with no more rights than it says it needs, against a
// real API server.
package live
