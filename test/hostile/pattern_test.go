package hostile

import (
	"strings"
	"testing"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

// lookAlikes makes the node find images of hosts that resemble each other: the honest ones in the registry, the others in the
// second one, where the same repositories hold other content.
func (s *site) lookAlikes() error {
	for _, host := range []string{"registry.example", "docker.io"} {
		if err := s.TrustAt(host, s.Registry.Host()); err != nil {
			return err
		}
	}
	for _, host := range []string{"registry.example.evil.test", "evil-registry.example", "registry.example:5000", "docker.io.evil.test"} {
		if err := s.TrustAt(host, s.Referrers.Host()); err != nil {
			return err
		}
	}
	return nil
}

// testLookAlikes: a pattern covers names as they are written, from end to end, and nothing that resembles them.
func (s *site) testLookAlikes(t *testing.T) {
	for _, repository := range []string{"team/app", "team/app/sub", "team/sub/both-ends", "team/both-ends", "library/listed", "library/short", "library/bare"} {
		s.push(t, repository)
		_, err := stack.PushTo(t.Context(), s.Referrers, repository, s.image(t))
		check(t, err)
	}
	patterns := []string{"registry.example/team/app*", "registry.example/*/both*", "docker.io/library/listed*", "short*", "*bare*"}
	check(t, s.WritePolicies(t.Context(), "patterns.yaml", stack.Policy("patterns", "p", "", "nobody"), stack.Allowlist("patterns", patterns...)))
	honest := s.pull(t, "registry.example/team/app:v1")
	for _, row := range []struct {
		name, image string
		starts      bool
		// claimed: nobody can pull it; a client says that it is the honest one's name.
		claimed bool
	}{
		{name: "as it is meant", image: "registry.example/team/app:v1", starts: true},
		{name: "star inside and at the end", image: "registry.example/team/both-ends:v1", starts: true},
		{name: "Docker Hub in full", image: "docker.io/library/listed:v1", starts: true},
		{name: "Docker Hub in short", image: "short:v1", starts: true},
		{name: "star at both ends", image: "bare:v1", starts: true},

		{name: "host continued", image: "registry.example.evil.test/team/app:v1"},
		{name: "host continued at the star", image: "registry.example.evil.test/team/both-ends:v1"},
		{name: "host with more before", image: "evil-registry.example/team/app:v1"},
		{name: "host with a port", image: "registry.example:5000/team/app:v1"},
		{name: "path with more at the star's place", image: "registry.example/team/app/sub:v1"},
		{name: "path with more at the inner star's place", image: "registry.example/team/sub/both-ends:v1"},
		{name: "Docker Hub's name continued", image: "docker.io.evil.test/library/listed:v1"},
		{name: "star at both ends does not reach over a slash", image: "registry.example/library/bare:v1"},
		{name: "short form of a full pattern", image: "listed:v1"},
		{name: "half short form of a full pattern", image: "docker.io/listed:v1"},
		{name: "full form of a short pattern", image: "docker.io/library/short:v1"},

		{name: "upper case", image: "Registry.example/team/app:v1", claimed: true},
		{name: "upper case in the path", image: "registry.example/team/App:v1", claimed: true},
		{name: "trailing dot", image: "registry.example./team/app:v1", claimed: true},
		{name: "Cyrillic letter", image: "regіstry.example/team/app:v1", claimed: true},
		{name: "wide letters", image: "registry.example/team/app：v1", claimed: true},
		{name: "zero byte", image: "registry.example/team/app:v1\x00", claimed: true},
		{name: "space before", image: " registry.example/team/app:v1", claimed: true},
		{name: "line break", image: "registry.example/team/app:v1\n", claimed: true},
		{name: "scheme", image: "https://registry.example/team/app:v1", claimed: true},
		{name: "way up", image: "registry.example/team/../team/app:v1", claimed: true},
		{name: "user", image: "registry.example@evil.test/team/app:v1", claimed: true},
		{name: "name of 4 KiB", image: "registry.example/team/app" + strings.Repeat("a", 4<<10), claimed: true},
		{name: "pattern itself", image: "registry.example/team/app*", claimed: true},
		{name: "other tag", image: "registry.example/team/app:v2", claimed: true},
		{name: "digest of other content", image: "registry.example/team/app@sha256:" + strings.Repeat("a", 64), claimed: true},
		{name: "digest with sha512", image: "registry.example/team/app@sha512:" + strings.Repeat("a", 128), claimed: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			id := honest
			if !row.claimed {
				id = s.pull(t, row.image)
			}
			err := s.runIn(t, s.pod(t, "patterns"), cluster.ContainerSpec{Image: id, UserSpecifiedImage: row.image})
			if row.starts {
				expectStarts(t, err)
			} else {
				expectError(t, err)
			}
		})
	}
}
