package main

import (
	"context"
	"strings"

	"github.com/kritis-node/kritis-node/test/site"
)

// publish pushes the product's own image and signs it, as a release is.
func (d *demo) publish(ctx context.Context) error {
	d.say("our own image: pushed, and signed like any other; a copy of it in another repository is not")
	var err error
	if d.own, err = d.site.PushOwn(ctx, "kritis-node"); err != nil {
		return err
	}
	if d.ownCopy, err = d.site.PushOwn(ctx, "copy/kritis-node"); err != nil {
		return err
	}
	repository, _, _ := strings.Cut(d.own, "@")
	d.typed("make image PUSH=" + repository + ":v1")
	d.typed("kritis sign --key release.pem " + d.own)
	return d.site.Sign(ctx, d.own)
}

// guardOwn lets the product judge itself: its namespace requires the signature from now on. The webhook does not judge that
// namespace, so the node does.
func (d *demo) guardOwn(ctx context.Context) error {
	d.say("requiring the signature in namespace %s too; restarting our own webhook under that policy, then starting the copy", site.Namespace)
	if err := d.site.Require(ctx, site.Namespace); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"rollout", "restart", "deployment/kritis-webhook"},
		{"rollout", "status", "deployment/kritis-webhook", "--timeout=2m"},
	} {
		if err := d.kubectl(ctx, append([]string{"--namespace", site.Namespace}, args...)...); err != nil {
			return err
		}
	}
	d.say("our own image, signed: admitted by our own policy")
	if err := d.kubectl(ctx, "--namespace", site.Namespace, "run", "copy", "--image="+d.ownCopy, "--restart=Never", "--", "version"); err != nil {
		return err
	}
	if err := d.site.AwaitDenied(ctx, site.Namespace, "copy", d.ownCopy); err != nil {
		return err
	}
	d.say("the same image where nobody signed it: kept out by the node: image %s is not attested", d.short(d.ownCopy))
	return d.kubectl(ctx, "--namespace", site.Namespace, "delete", "pod", "copy")
}
