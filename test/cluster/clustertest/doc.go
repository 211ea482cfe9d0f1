// Package clustertest starts parts of [cluster] for one test: what fails ends the test, what was started is closed after
// it, and what is left behind fails it. The node's logs and the registry's requests are shown for a test that failed.
package clustertest
