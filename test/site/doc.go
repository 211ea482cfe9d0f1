// Package site is a real Kubernetes with the product installed as users install it: image, Helm chart, a registry to push to.
// Tests, demonstrations and benchmarks that need the whole use it.
//
//	func TestMain(m *testing.M) {
//		cluster.Isolate(site.Needs()...)
//		os.Exit(m.Run())
//	}
//
//	s, err := site.Start(ctx, site.Options{})
//	err = s.Install(ctx, site.Values{"webhook": site.Values{"replicas": 1}})
//	err = s.Require(ctx, "default")
//	image, err := s.Push(ctx, "team/app")
//	err = s.Sign(ctx, image)
//	stdout, stderr, code, err := s.Kubectl(ctx, "run", "app", "--image="+image)
//
// Nodes are machines with the usual paths: /var/lib/kritis on a node is s.Nodes()[0].Path("/var/lib/kritis"). There is no DNS
// in the cluster.
package site
