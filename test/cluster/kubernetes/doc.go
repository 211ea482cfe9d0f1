// Package kubernetes starts and stops a real Kubernetes for tests and demonstrations: etcd, API server, controller
// manager, scheduler, and on a node of [cluster] kubelet and kube-proxy. Pods have a network, Services and webhooks
// work, RBAC and the Node authorizer are on, and kubectl behaves as users see it. There is no DNS in the cluster, no
// host ports, and nothing beyond the node can be reached.
//
//	func TestMain(m *testing.M) {
//		cluster.Isolate("kubernetes")
//		os.Exit(m.Run())
//	}
//
//	kube, err := kubernetes.Start(ctx, kubernetes.Options{})
//	err = kube.ImportImage(ctx, "kritis.test/app:1", image)
//	stdout, stderr, code, err := kube.Kubectl(ctx, "create", "deployment", "app", "--image=kritis.test/app:1")
//	err = kube.AwaitDeployment(ctx, "default", "app")
//
// With two nodes, or if asked for with one ([Options.Machines]), each node is a [cluster.Machine]: what pods mount of it,
// and what is started there by [Node.Run], meets a /run, /var/lib and /etc of that node only, containerd's sockets and
// configuration where its packages put them. The first node has the program's network, which is also the control
// plane's; the second one has its own, routed. [Node.Reboot] does to a node what a loss of power does.
//
//	kube, err := kubernetes.Start(ctx, kubernetes.Options{Nodes: 2})
//	node := kube.Nodes()[1]
//	agent, err := node.Run(ctx, cluster.Command{Path: program, Args: args, Log: log}, nil)
//	snapshot, err := os.ReadFile(node.Path("/var/lib/kritis/policy.json"))
//	err = node.Reboot(ctx, func(ctx context.Context) error { … }) // starts services again, before kubelet
//	err = node.AwaitRebooted(ctx)
//
// The control plane runs as processes, not as pods: what a node denies cannot lock anybody out of it. Ports and
// addresses are those of any cluster, because the network is the program's own; therefore one cluster can run at a
// time. What kubelet would change on the host, its kernel settings and folders in /var, it gets copies of.
//
// Whoever starts a cluster closes it. A wait ends with its context, or after two minutes.
package kubernetes
