package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// crowd is how many unknown images are to be started at once.
const crowd = 200

// TestBurst shows that unknown images, however many, cannot keep a known one from starting while nobody can be asked
// about them: the runtime asks about one container at a time, so what each may wait for adds up.
func TestBurst(t *testing.T) {
	// Two hundred containers at once are load enough for one machine.
	oneByOne(t, stack.Options{}, func(t *testing.T, o stack.Options) {
		s := startSite(t, o)
		known := s.pushSigned(t, "burst/known")
		expectStarts(t, s.run(t, prod, known))
		images := s.pushCrowd(t)
		check(t, s.Registry.Pause(t.Context()))

		pod, id := s.pod(t, prod, ""), s.pull(t, known)
		errs := make([]error, crowd)
		var begun, done sync.WaitGroup
		begun.Add(crowd)
		for i, reference := range images {
			done.Go(func() {
				begun.Done()
				_, errs[i] = s.runIn(t.Context(), pod, cluster.ContainerSpec{Name: fmt.Sprintf("unknown-%d", i), Image: reference, UserSpecifiedImage: reference})
			})
		}
		begun.Wait()
		begin := time.Now()
		_, err := s.runIn(t.Context(), pod, cluster.ContainerSpec{Name: "known", Image: id, UserSpecifiedImage: known})
		took := time.Since(begin)
		expectStarts(t, err)
		if took > recovery {
			t.Errorf("the known image took %s to start, allowed are %s", took, recovery)
		}
		done.Wait()
		t.Logf("the known image started after %s, the last unknown one was denied after %s", took.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
		for i, reference := range images {
			expectUnverified(t, errs[i], reference)
		}

		// Nothing stays behind: when the registry answers, they start, those included that nobody waited for.
		check(t, s.Registry.Resume())
		for _, reference := range []string{images[0], images[crowd/2], images[crowd-1]} {
			s.awaitStarts(t, prod, reference)
		}
	})
}

// pushCrowd pushes and pulls many images that differ in nothing but their configuration, and signs those that are to
// start in the end.
func (s *site) pushCrowd(t *testing.T) []string {
	t.Helper()
	base, err := cluster.BusyboxImage("crowd")
	check(t, err)
	images := make([]string, crowd)
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(4)
	for i := range images {
		group.Go(func() error {
			image, err := cluster.WithEnv(base, fmt.Sprintf("NUMBER=%d", i))
			if err != nil {
				return err
			}
			if images[i], err = stack.PushTo(ctx, s.Registry, fmt.Sprintf("burst/unknown-%d", i%10), image); err != nil {
				return err
			}
			_, err = s.Node.CRI().PullImage(ctx, images[i])
			return err
		})
	}
	check(t, group.Wait())
	for _, i := range []int{0, crowd / 2, crowd - 1} {
		check(t, s.Sign(t.Context(), s.team, images[i]))
	}
	if strings.Count(strings.Join(images, " "), "@") != crowd {
		t.Fatalf("some images are missing: %v", images)
	}
	return images
}
