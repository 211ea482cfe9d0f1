package cluster

import (
	"context"
	"errors"
	"os"
	"regexp"
	"strings"
)

// WaitNRI waits until an NRI plugin, by the name that it registers with or as "NN-name", is connected and has been synchronized. After
// a restart it looks at the log of the new containerd only.
func (n *Node) WaitNRI(ctx context.Context, plugin string) error {
	return Await(ctx, "NRI plugin "+plugin, func(context.Context) error {
		log, err := os.ReadFile(n.Containerd().LogFile())
		if err != nil {
			return err
		}
		return connected(string(log), plugin)
	})
}

// connected looks for the last word that containerd said about a plugin. It knows plugins as "NN-name" and logs
// "plugin \"NN-name\" connected and synchronized", later "connection to plugin \"NN-name\" closed".
func connected(log, plugin string) error {
	if start := strings.LastIndex(log, "starting containerd"); start >= 0 {
		log = log[start:]
	}
	last := func(event string) int {
		matches := regexp.MustCompile(`\\"([0-9]{2}-)?`+regexp.QuoteMeta(plugin)+`\\" `+event).FindAllStringIndex(log, -1)
		if matches == nil {
			return -1
		}
		return matches[len(matches)-1][0]
	}
	in, out := last("connected and synchronized"), last("closed")
	switch {
	case in < 0:
		return errors.New("it has not connected")
	case out > in:
		return errors.New("it is disconnected")
	}
	return nil
}
