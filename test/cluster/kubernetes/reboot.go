package kubernetes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// volatileFolder is where the product has its sockets.
const volatileFolder = "/run/kritis"

// Reboot does to the node what a loss of power does and starts it again: every process of the node ends at once,
// containers and what [Node.Run] started among them; its disk stays; its /run is emptied, or if the node is no machine
// [Options.Volatile]. Then containerd is started, services is called (unless nil) to start what a node starts before
// kubelet, then kubelet and kube-proxy. It returns when kubelet is well. The control plane, whose machine this is not,
// goes on, and may also be down. Until kubelet has told it, the API server thinks that nothing happened: see
// [Node.AwaitRebooted].
func (n *Node) Reboot(ctx context.Context, services func(context.Context) error) error {
	if err := n.powerOff(ctx); err != nil {
		return fmt.Errorf("rebooting %s: %w", n.name, err)
	}
	if err := n.powerOn(ctx, services); err != nil {
		return fmt.Errorf("rebooting %s: %w", n.name, err)
	}
	return nil
}

func (n *Node) powerOff(ctx context.Context) error {
	var failures []error
	for _, k := range []*component{n.kubelet, n.proxy} {
		failures = append(failures, k.crash())
	}
	for _, process := range n.running() {
		failures = append(failures, process.Kill())
	}
	failures = append(failures, n.runtime.Crash(ctx), n.killStarted(ctx))
	if n.index == 0 {
		failures = append(failures, forgetServices(ctx))
	}
	if n.machine != nil {
		return errors.Join(append(failures, n.machine.Halt(ctx))...)
	}
	failures = append(failures, unmountBelow(n.kubeletDir()), removePodNetworks())
	for _, folder := range append([]string{volatileFolder}, n.cluster.options.Volatile...) {
		failures = append(failures, os.RemoveAll(folder))
	}
	return errors.Join(failures...)
}

func (n *Node) powerOn(ctx context.Context, services func(context.Context) error) error {
	if n.machine != nil {
		if err := n.machine.Boot(ctx); err != nil {
			return err
		}
		if err := n.connect(ctx); err != nil {
			return err
		}
	} else if err := n.cluster.shelter.newBootID(); err != nil {
		return err
	}
	if _, err := n.runtime.MakeCgroup(); err != nil {
		return err
	}
	if err := n.runtime.StartContainerd(ctx); err != nil {
		return err
	}
	if services != nil {
		if err := services(ctx); err != nil {
			return fmt.Errorf("starting services: %w", err)
		}
	}
	// Without the API server it would wait for long, as it does on a node.
	if _, err := n.proxy.launch(ctx); err != nil {
		return err
	}
	return n.kubelet.start(ctx)
}

// AwaitRebooted waits until the API server knows the node as it is since the last reboot, and that it is ready.
func (n *Node) AwaitRebooted(ctx context.Context) error {
	bootID, err := n.bootID()
	if err != nil {
		return err
	}
	if err := n.cluster.await(ctx, "", "node/"+n.name, "jsonpath={.status.nodeInfo.bootID}="+bootID); err != nil {
		return err
	}
	return n.cluster.AwaitNode(ctx, n.name)
}

func (n *Node) bootID() (string, error) {
	if n.machine != nil {
		return n.machine.BootID(), nil
	}
	return n.cluster.shelter.readBootID()
}

// nodeVariable marks what [Node.Run] starts, and what that starts, where there is no machine to know it by.
const nodeVariable = "KRITIS_CLUSTER_NODE"

// killStarted ends what was started by what [Node.Run] started.
func (n *Node) killStarted(ctx context.Context) error {
	mark := []byte(nodeVariable + "=" + n.runtime.Dir() + "\x00")
	return cluster.Await(ctx, "the services of "+n.name+" to end", func(context.Context) error {
		files, err := filepath.Glob("/proc/[0-9]*/environ")
		if err != nil {
			return err
		}
		for _, file := range files {
			// What cannot be read has ended in the meantime.
			environment, _ := os.ReadFile(file)
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err != nil || !bytes.Contains(environment, mark) {
				continue
			}
			if killErr := unix.Kill(pid, unix.SIGKILL); killErr == nil {
				return fmt.Errorf("process %d is left", pid)
			}
		}
		return nil
	})
}

// removePodNetworks removes the network namespaces that containerd made for pods which are no more.
func removePodNetworks() error {
	names, err := filepath.Glob("/run/netns/cni-*")
	failures := []error{err}
	for _, name := range names {
		failures = append(failures, unix.Unmount(name, unix.MNT_DETACH), os.Remove(name))
	}
	return errors.Join(failures...)
}

// newBootID makes kubelet see a reboot.
func (s *shelter) newBootID() error {
	return os.WriteFile(s.bootID, []byte(cluster.NewBootID()+"\n"), 0o644)
}

func (s *shelter) readBootID() (string, error) {
	content, err := os.ReadFile(s.bootID)
	return string(bytes.TrimSpace(content)), err
}
