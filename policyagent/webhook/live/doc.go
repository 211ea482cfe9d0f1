// Package live holds the tests of the webhook behind a real API server, with the program as it is shipped and kubectl as
// users see it. They are apart from the webhook's own because they need root and namespaces.
package live
