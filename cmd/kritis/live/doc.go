// Package live tests the commands for a workstation against a real API server and a node whose plugin denies.
package live
