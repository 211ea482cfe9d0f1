package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/api/events"
	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/kritis-node/kritis-node/test/cluster"
)

// The eyes. None of them asks the product, and each sees what another might miss.
const (
	eyeEvents  = "start events of containerd" // every start while containerd lives
	eyeTasks   = "tasks of containerd"        // what runs at the moment
	eyeProcess = "processes"                  // what runs at the moment, whoever started it
	eyeFile    = "files left by containers"   // what ran, while its layer is there
)

// allEyes are what must have seen something, else they saw nothing because they are blind.
var allEyes = []string{eyeEvents, eyeTasks, eyeProcess, eyeFile}

// containerNamespace is containerd's namespace of what CRI makes.
const containerNamespace = "k8s.io"

// eyes look for what must not run, all the time.
type eyes struct {
	node       *cluster.Node
	images     *images
	connection *grpc.ClientConn
	cancel     context.CancelFunc
	work       sync.WaitGroup

	mu   sync.Mutex
	good map[string]map[string]bool // what was seen of attested ones, by eye
	bad  map[string][]string        // who saw it, by container
	told map[string]bool            // those of bad that were told
}

func openEyes(node *cluster.Node, m *images) (*eyes, error) {
	connection, err := grpc.NewClient("unix://"+node.ContainerdSocket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	e := &eyes{node: node, images: m, connection: connection, cancel: cancel, good: map[string]map[string]bool{}, bad: map[string][]string{}, told: map[string]bool{}}
	for _, look := range []func(context.Context) error{e.followEvents, e.lookAtTasks, e.lookAtProcesses, e.lookAtFiles} {
		e.work.Go(func() { repeat(ctx, look) })
	}
	return e, nil
}

// repeat looks again and again. That an eye cannot see while containerd is down is no news: nothing starts then.
func repeat(ctx context.Context, look func(context.Context) error) {
	for ctx.Err() == nil {
		_ = look(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (e *eyes) close() error {
	e.cancel()
	e.work.Wait()
	return e.connection.Close()
}

// saw notes that a container runs, and whether it may.
func (e *eyes) saw(eye, container string, denied bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !denied {
		if e.good[eye] == nil {
			e.good[eye] = map[string]bool{}
		}
		e.good[eye][container] = true
		return
	}
	if !slices.Contains(e.bad[container], eye) {
		e.bad[container] = append(e.bad[container], eye)
	}
}

// count is how many unattested containers were seen to run, those twice that two eyes know by different names.
func (e *eyes) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.bad)
}

// violations are the unattested containers that were seen to run and were not told yet.
func (e *eyes) violations() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []string
	for _, container := range slices.Sorted(maps.Keys(e.bad)) {
		if e.told[container] {
			continue
		}
		e.told[container] = true
		all = append(all, fmt.Sprintf("unattested container %s ran: seen in %s", container, strings.Join(e.bad[container], ", ")))
	}
	return all
}

// blind returns an error if an eye has not even seen what may run.
func (e *eyes) blind() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var failures []error
	for _, eye := range allEyes {
		if len(e.good[eye]) == 0 {
			failures = append(failures, errors.New("nothing was seen in "+eye+": what it does not see is no evidence"))
		}
	}
	return errors.Join(failures...)
}

// counts is how many attested containers each eye saw.
func (e *eyes) counts() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var parts []string
	for _, eye := range allEyes {
		parts = append(parts, fmt.Sprintf("%d in %s", len(e.good[eye]), eye))
	}
	return strings.Join(parts, ", ")
}

// followEvents follows the starts of tasks, in all of containerd's namespaces.
func (e *eyes) followEvents(ctx context.Context) error {
	stream, err := eventsapi.NewEventsClient(e.connection).Subscribe(ctx, &eventsapi.SubscribeRequest{Filters: []string{`topic=="/tasks/start"`}})
	if err != nil {
		return err
	}
	for {
		envelope, err := stream.Recv()
		if err != nil {
			return err
		}
		started := &events.TaskStart{}
		if err := proto.Unmarshal(envelope.GetEvent().GetValue(), started); err != nil {
			return err
		}
		e.judge(ctx, eyeEvents, envelope.GetNamespace(), started.GetContainerID())
	}
}

func (e *eyes) lookAtTasks(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	tasks, err := tasksapi.NewTasksClient(e.connection).List(inNamespace(ctx, containerNamespace), &tasksapi.ListTasksRequest{})
	if err != nil {
		return err
	}
	for _, task := range tasks.GetTasks() {
		if task.GetPid() != 0 {
			e.judge(ctx, eyeTasks, containerNamespace, task.GetID())
		}
	}
	return nil
}

func inNamespace(ctx context.Context, namespace string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "containerd-namespace", namespace)
}

// judge looks by containerd's own record of a container whether it may run. Its image is what containerd itself says; the
// environment, which the image gave it, says the same in other words.
func (e *eyes) judge(ctx context.Context, eye, namespace, id string) {
	answer, err := containersapi.NewContainersClient(e.connection).Get(inNamespace(ctx, namespace), &containersapi.GetContainerRequest{ID: id})
	if err != nil {
		return // gone; the files it left tell
	}
	c := answer.GetContainer()
	_, digest, _ := strings.Cut(c.GetImage(), "@")
	spec := c.GetSpec().GetValue()
	denied := e.images.isDenied(c.GetImage()) || e.images.isDenied(digest) || bytes.Contains(spec, []byte(markVariable+"="+unattested))
	if denied || bytes.Contains(spec, []byte(markVariable+"="+attested)) {
		e.saw(eye, id, denied)
	}
}

// lookAtProcesses looks at every process of this run, which all are in one PID namespace.
func (e *eyes) lookAtProcesses(context.Context) error {
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return err
	}
	for _, file := range files {
		environment, _ := os.ReadFile(file) // what cannot be read has ended
		for _, mark := range []string{attested, unattested} {
			if bytes.Contains(environment, []byte(markVariable+"="+mark+"\x00")) {
				e.saw(eyeProcess, containerOf(filepath.Dir(file)), mark == unattested)
			}
		}
	}
	return nil
}

// containerID is how containerd names containers, and their cgroups after them.
var containerID = regexp.MustCompile("[0-9a-f]{64}")

// containerOf names the container of a process by its cgroups, or the process if they do not tell.
func containerOf(folder string) string {
	cgroups, _ := os.ReadFile(filepath.Join(folder, "cgroup"))
	if found := containerID.FindAllString(string(cgroups), -1); found != nil {
		return found[len(found)-1]
	}
	return "with process " + filepath.Base(folder)
}

// lookAtFiles looks at the layers that containers write to.
func (e *eyes) lookAtFiles(context.Context) error {
	files, err := filepath.Glob(filepath.Join(e.node.RootDir(), "io.containerd.snapshotter.v1.overlayfs", "snapshots", "*", "fs", markFile+"*"))
	for _, file := range files {
		layer := filepath.Base(filepath.Dir(filepath.Dir(file)))
		e.saw(eyeFile, "in layer "+layer, filepath.Base(file) == markFile+unattested)
	}
	return err
}
