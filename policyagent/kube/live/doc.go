// Package live holds the tests of kube and of the CRDs against a real API server. They are apart from kube's own because
// they need root and namespaces, which the others do without.
package live
