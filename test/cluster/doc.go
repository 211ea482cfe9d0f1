// Package cluster starts and stops real parts for tests, demonstrations and benchmarks: containerd with runc and NRI,
// registries, images. Nothing is faked, and nothing here knows what is being tested.
//
// A program that wants a node calls [Isolate] before anything else. It goes on as a process in PID, mount and network
// namespaces of its own: its ports and mounts are nobody else's, /run is empty, and whatever dies, the kernel ends
// every process and mount it left. There is no network but loopback in there, so Isolate is told what has to be
// downloaded or built beforehand.
//
//	func TestMain(m *testing.M) {
//		cluster.Isolate("./cmd/kritis")
//		os.Exit(m.Run())
//	}
//
//	node, err := cluster.StartNode(ctx, cluster.Options{RequiredPlugins: []string{"kritis"}})
//	registry, err := cluster.StartDistribution(ctx, dir, cluster.RegistryOptions{})
//	image, err := cluster.BusyboxImage("one")
//	digest, err := registry.Push(ctx, "team/app:v1", image)
//	container, err := node.CRI().RunAsKubelet(ctx, "default", registry.Host()+"/team/app@"+digest)
//
// A [Machine] is a place for processes with files and, if wanted, a network of their own: two nodes that shall not see each
// other are on two. Package kubernetes, below, makes a whole cluster of a node. Registries and processes also work outside [Isolate],
// without root. Whoever starts something closes or stops it, in reverse order; [Node.Close] says what was left behind.
// A wait ends with its context, or after 30 seconds.
package cluster
