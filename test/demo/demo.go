package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/kritis-node/kritis-node/test/cluster"
	"github.com/kritis-node/kritis-node/test/cluster/kubernetes"
	"github.com/kritis-node/kritis-node/test/site"
)

// namespace is where policy is required, as in the documentation of kritis-validation-hook.
const namespace = "default"

// hookConfiguration is the name of the chart's ValidatingWebhookConfiguration.
const hookConfiguration = "kritis-validation-hook"

type demo struct {
	site  *site.Site
	start time.Time
	cases []outcome
	// signed and unsigned are references by digest, tag is the signed image's by tag.
	signed, unsigned, tag string
	// own is the product's image, signed, and ownCopy the same image in a repository for which nobody signed it.
	own, ownCopy string
}

func (d *demo) say(format string, args ...any) {
	fmt.Printf("[%3ds] %s\n", int(time.Since(d.start).Seconds()), fmt.Sprintf(format, args...))
}

func (d *demo) run(ctx context.Context) error {
	d.say("starting a Kubernetes: etcd, API server, controllers, and a node with containerd, kubelet and kube-proxy")
	var err error
	if d.site, err = site.Start(ctx, site.Options{Kubernetes: kubernetes.Options{Progress: func(line string) { d.say("  %s", line) }}}); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{d.install, d.guardOwn, d.sign, d.checks, d.bypasses, d.show} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return d.compare()
}

func (d *demo) install(ctx context.Context) error {
	if err := d.publish(ctx); err != nil {
		return err
	}
	d.say("installing the chart; nothing on the node's disk changes but its own folders")
	repository, digest, _ := strings.Cut(d.own, "@")
	d.typed("helm install kritis daemonset/chart --namespace kritis-system --create-namespace --set image.repository=" + repository + ",image.digest=" + digest)
	if err := d.site.Install(ctx, site.Values{"image": site.Values{"repository": repository, "digest": digest, "pullPolicy": "IfNotPresent"}}); err != nil {
		return err
	}
	return d.kubectl(ctx, "--namespace", site.Namespace, "get", "pods")
}

func (d *demo) sign(ctx context.Context) error {
	d.say("pushing two images; signing one of them; requiring the signature in namespace %s", namespace)
	var err error
	if d.signed, err = d.site.Push(ctx, "team/signed"); err != nil {
		return err
	}
	if d.unsigned, err = d.site.Push(ctx, "team/unsigned"); err != nil {
		return err
	}
	repository, _, _ := strings.Cut(d.signed, "@")
	d.tag = repository + ":v1"
	d.typed("kritis sign --key team.pem " + d.signed)
	if err := d.site.Sign(ctx, d.signed); err != nil {
		return err
	}
	d.typed("kubectl apply --filename policy.yaml")
	if err := d.site.Require(ctx, namespace); err != nil {
		return err
	}
	err = cluster.Await(ctx, "the policy's status", func(ctx context.Context) error {
		return d.site.AwaitObject(ctx, namespace, "genericattestationpolicy/team-signs", "condition=Ready")
	})
	if err != nil {
		return err
	}
	return d.kubectl(ctx, "--namespace", namespace, "get", "attestationauthorities,genericattestationpolicies")
}

// checks are the three that every user of kritis-validation-hook knows.
func (d *demo) checks(ctx context.Context) error {
	d.say("the three checks")
	for _, c := range []struct {
		name, image string
		does        does
	}{
		{"deployment by tag", d.tag, denied},
		{"deployment by unsigned digest", d.unsigned, denied},
		{"deployment by signed digest", d.signed, runs},
	} {
		name := map[does]string{denied: "not-sign", runs: "is-signed"}[c.does]
		args := []string{"--namespace", namespace, "create", "deployment", name, "--image=" + c.image, "--", "sleep", "1000"}
		d.typed("kubectl " + strings.Join(args, " "))
		stdout, stderr, code, err := d.site.Kubectl(ctx, args...)
		if err != nil {
			return err
		}
		d.printed(stdout + stderr)
		did, why := runs, ""
		if code != 0 {
			did, why = denied, ownWords(stderr)
		} else if err := d.site.AwaitDeployment(ctx, namespace, name); err != nil {
			return err
		}
		d.note(outcome{what: c.name, hook: c.does, should: c.does, did: did, why: why})
	}
	return nil
}

// bypasses never ask a webhook.
func (d *demo) bypasses(ctx context.Context) error {
	d.say("a static pod: kubelet starts it from a file, no API server is asked")
	pod := fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: static, namespace: %s}\nspec:\n  containers:\n  - {name: main, image: %q, args: [sleep, \"1000\"]}\n", namespace, d.unsigned)
	if err := os.WriteFile(filepath.Join(d.site.StaticPodDir(), "static.yaml"), []byte(pod), 0o644); err != nil {
		return err
	}
	d.keptOut(ctx, "static pod", "static-"+d.site.NodeName())

	d.say("a direct call to containerd, as crictl makes it; then one that claims to run the signed image")
	d.note(d.call(ctx, "direct CRI call", cluster.ContainerSpec{UserSpecifiedImage: d.unsigned}))
	d.note(d.call(ctx, "direct CRI call, name forged", cluster.ContainerSpec{UserSpecifiedImage: d.signed}))

	d.say("the webhook is deleted by somebody who may")
	d.typed("kubectl delete validatingwebhookconfiguration " + hookConfiguration)
	if _, err := d.site.KubectlOutput(ctx, "delete", "validatingwebhookconfiguration", hookConfiguration); err != nil {
		return err
	}
	d.typed("kubectl run sneaked --image=" + d.unsigned)
	err := cluster.Await(ctx, "the API server to forget the webhook", func(ctx context.Context) error {
		_, err := d.site.KubectlOutput(ctx, "--namespace", namespace, "run", "sneaked", "--image="+d.unsigned, "--", "sleep", "1000")
		return err
	})
	if err != nil {
		return err
	}
	d.keptOut(ctx, "webhook deleted", "sneaked")
	return nil
}

// keptOut waits until a pod tells that it may not run.
func (d *demo) keptOut(ctx context.Context, what, pod string) {
	o := outcome{what: what, hook: runs, should: keptOut, did: keptOut}
	if err := d.site.AwaitDenied(ctx, namespace, pod, d.unsigned); err != nil {
		o.did, o.why = runs, err.Error()
	} else {
		o.why = "image " + d.unsigned + " is not attested"
	}
	d.note(o)
}

// call creates a container of the unsigned image at the runtime.
func (d *demo) call(ctx context.Context, what string, spec cluster.ContainerSpec) outcome {
	o := outcome{what: what, hook: runs, should: keptOut}
	cri := d.site.Node().CRI()
	id, err := cri.PullImage(ctx, d.unsigned)
	if err != nil {
		o.why = err.Error()
		return o
	}
	pod, err := cri.RunPod(ctx, cluster.PodSpec{Namespace: namespace})
	if err != nil {
		o.why = err.Error()
		return o
	}
	spec.Image = id
	o.did = runs
	if _, err = cri.Run(ctx, pod, spec); err != nil {
		o.why = ownWords(err.Error())
		if strings.Contains(o.why, "is not attested") {
			o.did = keptOut
		}
	}
	if err := cri.RemovePod(ctx, pod); err != nil {
		d.say("removing the pod: %v", err)
	}
	return o
}

// show prints what people see afterwards.
func (d *demo) show(ctx context.Context) error {
	d.say("what people see")
	err := errors.Join(
		d.kubectl(ctx, "--namespace", namespace, "get", "pods"),
		d.kubectl(ctx, "--namespace", namespace, "get", "events", "--field-selector", "reason=FailedKritisAdmission"),
		d.kubectl(ctx, "--namespace", "kube-system", "get", "events", "--field-selector", "reason=FailedKritisAdmission"),
	)
	if err != nil {
		return err
	}
	// kubectl finds the program under this name in PATH and runs it just so.
	plugin := filepath.Join(d.site.Dir(), "kubectl-kritis")
	if err := os.Symlink(d.site.Program, plugin); err != nil {
		return err
	}
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"explain", "pod/sneaked", "--namespace", namespace}, 1},
		{[]string{"status"}, 1}, // best effort: containerd was not told to require the plugin
	} {
		args := c.args
		if c.args[0] == "explain" {
			args = append(args, "--registry-config", d.site.RegistryConfig())
		}
		d.typed("kubectl kritis " + strings.Join(c.args, " "))
		cmd := exec.CommandContext(ctx, plugin, args...)
		cmd.Env = append(os.Environ(), d.site.KubectlEnv()...)
		output, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			return err
		}
		d.printed(string(output))
		if code := cmd.ProcessState.ExitCode(); code != c.code {
			return fmt.Errorf("kubectl kritis %s: exit code %d, want %d", c.args[0], code, c.code)
		}
	}
	return nil
}
