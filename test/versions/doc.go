// Package versions tries what the product promises on every line of containerd that there is a promise for, from the
// newest to one that cannot keep most of them: what a runtime cannot do is shown as well, so that nobody believes it.
//
//	promises.go        the runtimes, the promises, and which keeps which; docs/versions.md has the same table
//	versions_test.go   one node for each runtime, on which each promise is tried
//	faults_test.go     what is done to the plugin
package versions
