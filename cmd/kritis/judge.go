package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/policyagent/alicloud/recheck"
	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/policyagent/attestations/folder"
	"github.com/kritis-node/kritis-node/policyagent/attestations/registry"
	"github.com/kritis-node/kritis-node/policyagent/kube"
	"github.com/kritis-node/kritis-node/policyagent/offnode"
	"github.com/kritis-node/kritis-node/verifier"
)

// judgeFlags say how images are judged off the node.
type judgeFlags struct {
	floor, attestationDir, platform, handler string
	registries                               registryFlags
	// askedOfController are the registries whose attestations the cluster's controller fetches.
	askedOfController []string
	// recorded, if set, remembers the attestations that were found.
	recorded *recheck.Recorded
}

func (j *judgeFlags) add(f *pflag.FlagSet) {
	j.addForPods(f)
	f.Lookup("platform").Usage = "`platform` of the node, for images of several; default: those of the cluster's nodes, or linux/" + runtime.GOARCH
	f.StringVar(&j.handler, "runtime-handler", "", "runtime `handler` of the pod")
}

// addForPods is add for commands that learn platform and handler from pods.
func (j *judgeFlags) addForPods(f *pflag.FlagSet) {
	f.StringVar(&j.floor, "floor", "", "`file` with the nodes' minimum policy")
	f.StringVar(&j.attestationDir, "attestation-dir", "", "`folder` with attestations, besides registries")
	f.StringVar(&j.platform, "platform", "", "`platform` of nodes that may not be read; default: linux/"+runtime.GOARCH)
	j.registries.addForUser(f)
	f.StringSliceVar(&j.askedOfController, "ask-controller", askedOfController(), "in a cluster, `hosts` of registries about whose images its nodes ask the controller: the value that they have")
}

// grounds are what is judged by, besides flags: the policies of a cluster or a folder, and who else has attestations.
type grounds struct {
	policies verifier.Document
	// platforms are those of the nodes, if known.
	platforms []string
	// server is that of the cluster, whose objects of kind Attestation count too; nil: there is no cluster.
	server *kube.Server
	// account has logins for registries; nil: there is none. Without a cluster it is asked for attestations, too.
	account *account
}

// judge decides on images as nodes would that run what registries hold now.
type judge struct {
	rules     verifier.Rules
	handler   string
	platforms []string
	registry  *registry.Source
	sources   []attestations.Source
	// told are the notes of sources about the image in question.
	told []string
}

// newJudge returns a judge. Problems in policies do not stop it: they attest, allow and satisfy nothing. Close it.
func newJudge(f judgeFlags, g grounds) (*judge, error) {
	j := &judge{handler: f.handler, platforms: g.platforms}
	switch {
	case f.platform != "":
		j.platforms = []string{f.platform}
	case len(g.platforms) == 0:
		j.platforms = []string{"linux/" + runtime.GOARCH}
	}
	j.rules.Cluster, _ = verifier.Compile(g.policies)
	if f.floor != "" {
		floor, text, err := plugin.LoadFloor(f.floor)
		if err == nil && text == "" {
			err = fmt.Errorf("floor file %s: %w", f.floor, errors.New("it does not exist or is empty"))
		}
		if err != nil {
			return nil, err
		}
		j.rules.Floor = floor
	}
	f.registries.useDefaults()
	cfg, err := f.registries.config()
	if err != nil {
		return nil, err
	}
	cfg.Further = joined(g.account.keychain())
	if j.registry, err = registry.New(cfg); err != nil {
		return nil, err
	}
	j.sources = []attestations.Source{j.registry}
	if err := j.addSources(f, g); err != nil {
		return nil, err
	}
	if f.recorded != nil {
		for i, s := range j.sources {
			j.sources[i] = f.recorded.Source(s)
		}
	}
	return j, nil
}

// addSources adds those besides the registry.
func (j *judge) addSources(f judgeFlags, g grounds) error {
	if f.attestationDir != "" {
		dir, err := folder.New(f.attestationDir)
		if err != nil {
			return err
		}
		j.sources = append(j.sources, dir)
	}
	switch {
	case g.server != nil:
		stored, err := kube.NewStoredAttestations(g.server, f.askedOfController, func(note string) { j.told = append(j.told, note) })
		if err != nil {
			return err
		}
		j.sources = append(j.sources, stored)
	case g.account != nil:
		kept, err := g.account.attestations(notesOf(g.policies))
		if err != nil {
			return err
		}
		j.sources = append(j.sources, patient{kept})
	}
	return nil
}

// acrPatience is how long a person's command waits for ACR: its client tries again as long as it may.
const acrPatience = 20 * time.Second

// patient is a source that is waited for so long.
type patient struct{ attestations.Source }

func (p patient) Attestations(ctx context.Context, repository string, d verifier.Digest) ([]verifier.Attestation, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, acrPatience, fmt.Errorf("no answer within %s", acrPatience))
	defer cancel()
	return p.Source.Attestations(ctx, repository, d)
}

// Close closes idle connections.
func (j *judge) Close() error { return j.registry.Close() }

func (j *judge) answer(ctx context.Context, namespace, image string) answer {
	j.told = nil
	req := verifier.Request{Namespace: namespace, Image: image, RuntimeHandler: j.handler, Now: time.Now()}
	v, platform := offnode.JudgeAll(ctx, j.rules, req, j.platforms, j.registry, j.sources...)
	a := answer{Namespace: namespace, Image: image, Admitted: v.Admits(), Verdict: v, Basis: "the registry, for " + platform}
	if v.Outcome == verifier.Allowed {
		a.Basis = "the registry, for " + strings.Join(j.platforms, ", ")
	} else {
		a.Message = verifier.Message(image, v)
		slices.Sort(j.told)
		a.Notes = slices.Compact(j.told)
	}
	return a
}

// judgeImage is one answer of a judge of its own.
func judgeImage(ctx context.Context, f judgeFlags, g grounds, namespace, image string) (answer, error) {
	j, err := newJudge(f, g)
	if err != nil {
		return answer{}, err
	}
	defer j.Close()
	return j.answer(ctx, namespace, image), nil
}

// worst is the exit code's error for several answers: one that is denied outweighs one that nobody can tell.
func worst(answers []answer) error {
	var errs error
	for _, a := range answers {
		switch err := a.err(); {
		case errors.Is(err, errDenied):
			return err
		case err != nil:
			errs = err
		}
	}
	return errs
}

// notes are lines that matter to whoever reads an answer, without being part of it.
func notes(w io.Writer, lines []string) {
	for _, line := range lines {
		fmt.Fprintf(w, "NOTE\t%s\n", clean(line))
	}
}
