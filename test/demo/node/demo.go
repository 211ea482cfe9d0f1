package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/stack"
)

type demo struct {
	stack *stack.Stack
	start time.Time
	wrong int
	// rows counts the rows of all tables.
	rows int
}

func (d *demo) say(format string, args ...any) {
	fmt.Printf("[%3ds] %s\n", int(time.Since(d.start).Seconds()), fmt.Sprintf(format, args...))
}

func (d *demo) run(ctx context.Context) error {
	d.say("starting a registry, containerd 2.4 that requires the plugin, the policy agent and the plugin")
	var err error
	if d.stack, err = stack.Start(ctx, stack.Options{}); err != nil {
		return err
	}
	built, err := d.prepare(ctx)
	if err != nil {
		return err
	}
	for _, part := range []func(context.Context, images) error{d.ordinary, d.agentKilled, d.registryHung, d.pluginGone} {
		if err := part(ctx, built); err != nil {
			return err
		}
	}
	if err := d.show(ctx, built); err != nil {
		return err
	}
	if d.wrong > 0 {
		return fmt.Errorf("%d of %d lines are not as they should be", d.wrong, d.rows)
	}
	return nil
}

// images are the references of the demo's images, by digest.
type images struct{ web, api, rogue, late string }

func (d *demo) prepare(ctx context.Context) (images, error) {
	d.say("building and pushing four tiny images")
	var i images
	for name, ref := range map[string]*string{"web": &i.web, "api": &i.api, "rogue": &i.rogue, "late": &i.late} {
		var err error
		if *ref, err = d.stack.Push(ctx, "demo/"+name); err != nil {
			return i, err
		}
	}
	key, err := d.stack.NewKey("team")
	if err != nil {
		return i, err
	}
	d.say("signing web and late with `kritis sign`, api with cosign, rogue not at all")
	err = errors.Join(d.stack.Sign(ctx, key, i.web), d.stack.Sign(ctx, key, i.late), d.stack.SignWithCosignBundle(ctx, key, i.api))
	if err != nil {
		return i, err
	}
	d.say("applying a policy: namespace prod requires the team's attestation; namespace sandbox has no policy")
	return i, d.stack.Require(ctx, "prod", key)
}

// row is one container that is to be started.
type row struct {
	what, namespace string
	// image is what runs, claimed what the client says that the user wrote; empty: the same.
	image, claimed string
	runs           bool
	// says has to be part of the denial.
	says string
}

// table starts the containers and prints what became of them.
func (d *demo) table(ctx context.Context, title string, rows ...row) {
	fmt.Printf("\n%s\n  %-46s %-8s %-8s %s\n", title, "CONTAINER", "SHOULD", "DID", "WHY")
	for _, r := range rows {
		err := d.try(ctx, r)
		ran := err == nil
		mark := " "
		if ran != r.runs || !ran && !strings.Contains(err.Error(), r.says) {
			mark = "!"
			d.wrong++
		}
		d.rows++
		fmt.Printf("%s %-46s %-8s %-8s %s\n", mark, r.what, verb(r.runs), verb(ran), d.reason(err))
	}
	fmt.Println()
}

func verb(runs bool) string {
	if runs {
		return "run"
	}
	return "not run"
}

// reason is the part of the runtime's error that is ours, without the digits that nobody reads.
func (d *demo) reason(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	if _, after, ok := strings.Cut(text, "reason: "); ok {
		text = after
	}
	text = strings.ReplaceAll(text, d.stack.Registry.Host(), "registry")
	for at := strings.Index(text, "sha256:"); at >= 0; {
		end := min(len(text), at+len("sha256:")+64)
		text = text[:at+len("sha256:")+6] + "…" + text[end:]
		next := strings.Index(text[at+8:], "sha256:")
		if next < 0 {
			break
		}
		at += 8 + next
	}
	return text
}

func (d *demo) try(ctx context.Context, r row) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cri := d.stack.Node.CRI()
	id, err := cri.ImageID(ctx, r.image)
	if err != nil {
		if id, err = cri.PullImage(ctx, r.image); err != nil {
			return err
		}
	}
	pod, err := cri.RunPod(ctx, cluster.PodSpec{Namespace: r.namespace})
	if err != nil {
		return err
	}
	claimed := r.claimed
	if claimed == "" {
		claimed = r.image
	}
	_, err = cri.Run(ctx, pod, cluster.ContainerSpec{Image: id, UserSpecifiedImage: claimed})
	return errors.Join(err, cri.RemovePod(ctx, pod))
}

func (d *demo) ordinary(ctx context.Context, i images) error {
	tag, _, _ := strings.Cut(i.web, "@")
	d.table(ctx, "Signed or not",
		row{what: "web, signed with kritis sign", namespace: "prod", image: i.web, runs: true},
		row{what: "api, signed with cosign", namespace: "prod", image: i.api, runs: true},
		row{what: "rogue, unsigned", namespace: "prod", image: i.rogue, says: "is not attested"},
		row{what: "web, named by tag", namespace: "prod", image: tag + ":v1", says: "is not attested"},
		row{what: "rogue, claimed to be web by the CRI client", namespace: "prod", image: i.rogue, claimed: i.web, says: "is not attested"},
		row{what: "rogue, where no policy asks", namespace: "sandbox", image: i.rogue, runs: true},
	)
	return nil
}

func (d *demo) agentKilled(ctx context.Context, i images) error {
	d.say("killing the policy agent")
	if err := d.stack.Agent.Kill(); err != nil {
		return err
	}
	d.table(ctx, "Without the policy agent",
		row{what: "web, known", namespace: "prod", image: i.web, runs: true},
		row{what: "rogue", namespace: "prod", image: i.rogue, says: "is not attested"},
		row{what: "late, never seen", namespace: "prod", image: i.late, says: "could not be verified"},
	)
	d.say("starting the policy agent again")
	return d.stack.StartAgent(ctx)
}

func (d *demo) registryHung(ctx context.Context, i images) error {
	d.say("stopping the registry in the middle of its work: it accepts connections and never answers")
	if err := d.stack.Registry.Pause(ctx); err != nil {
		return err
	}
	d.table(ctx, "While the registry hangs",
		row{what: "web, known", namespace: "prod", image: i.web, runs: true},
		row{what: "late, never seen", namespace: "prod", image: i.late, says: "could not be verified"},
	)
	d.say("the registry answers again")
	if err := d.stack.Registry.Resume(); err != nil {
		return err
	}
	// A kubelet tries again; so do we.
	err := cluster.Await(ctx, "late to start", func(ctx context.Context) error {
		return d.try(ctx, row{namespace: "prod", image: i.late})
	})
	d.table(ctx, "After that", row{what: "late, tried again", namespace: "prod", image: i.late, runs: true})
	return err
}

func (d *demo) pluginGone(ctx context.Context, i images) error {
	d.say("freezing the plugin")
	if err := d.stack.Plugin.Pause(ctx); err != nil {
		return err
	}
	d.table(ctx, "While the plugin is frozen", row{what: "rogue", namespace: "prod", image: i.rogue})
	d.say("killing the plugin")
	if err := d.stack.Plugin.Kill(); err != nil {
		return err
	}
	d.table(ctx, "Without the plugin", row{what: "rogue", namespace: "prod", image: i.rogue}, row{what: "web", namespace: "prod", image: i.web})
	d.say("starting the plugin again")
	if err := d.stack.StartPlugin(ctx); err != nil {
		return err
	}
	d.table(ctx, "After that", row{what: "web", namespace: "prod", image: i.web, runs: true}, row{what: "rogue", namespace: "prod", image: i.rogue, says: "is not attested"})
	return nil
}

// show prints what the user commands say.
func (d *demo) show(ctx context.Context, i images) error {
	for _, c := range []struct {
		code int
		args []string
	}{
		{1, []string{"explain", "--socket", d.stack.PluginSocket(), "-n", "prod", i.rogue}},
		{0, []string{"explain", "--socket", d.stack.PluginSocket(), "-n", "prod", i.api}},
		{0, []string{"status", "--socket", d.stack.PluginSocket()}},
	} {
		code, out, errOut, err := d.stack.Kritis(ctx, c.args...)
		if err != nil || code != c.code {
			return fmt.Errorf("kritis %s: exit code %d, want %d, %w: %s%s", c.args[0], code, c.code, err, out, errOut)
		}
		fmt.Printf("$ kritis %s\n%s\n", shorten(c.args), out)
	}
	return nil
}

// shorten leaves out the demo's own socket.
func shorten(args []string) string {
	var words []string
	for i := 0; i < len(args); i++ {
		if args[i] == "--socket" {
			i++
			continue
		}
		words = append(words, args[i])
	}
	return strings.Join(words, " ")
}
