package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kritis-node/kritis-node/plugin"
	"github.com/kritis-node/kritis-node/policyagent/kube"
	"github.com/kritis-node/kritis-node/policyagent/workstation"
)

// explainTimeout bounds all that is asked of a cluster and of registries.
const explainTimeout = 2 * time.Minute

type explainFlags struct {
	out                                outputFlag
	judge                              judgeFlags
	cluster                            *clusterFlags
	namespace, socket, reportNamespace string
}

func newExplainCommand(p program) *cobra.Command {
	f := explainFlags{socket: plugin.DefaultSocket}
	cmd := &cobra.Command{
		Use:   "explain -n NAMESPACE (REFERENCE | TYPE/NAME)",
		Short: "say what is decided on an image, or on all images of a pod or workload, and why",
		Long: `Say of an image what would be decided on it now: each policy, each authority, each attestation that was found, and which
check it passed or not. Nothing is started.

On a node the plugin is asked, which knows the content that is there. With a kubeconfig the policies of the cluster are taken,
registries and the cluster's objects of kind Attestation are asked, and the image may be those of an object: pod/NAME, deploy/NAME, and other kinds with a pod template
(KIND.GROUP/NAME). Of a pod its node's own words are shown, too. What a node's floor demands besides is known if it is named
with --floor.

Exit codes: 0 all are allowed, 1 one is denied, 2 could not tell or misuse.`,
		Example: p.lines("explain -n prod registry.example/app@sha256:…", "explain -n prod pod/app-7d4b9c-x2x1z", "explain -n prod deploy/app"),
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.out.check(); err != nil {
				return err
			}
			// As kubectl: "pod/NAME" or "pod NAME".
			text := strings.Join(args, "/")
			target, isObject := workstation.ParseTarget(text)
			onNode, socketNamed := f.cluster.onNode(f.socket), cmd.Flags().Changed("socket")
			switch {
			case socketNamed && f.cluster.flagged():
				return errors.New("the answer comes from one place: name either --socket or a cluster")
			case socketNamed && (isObject || len(args) == 2):
				return errors.New("the plugin of a node knows images, not objects: leave out --socket, or name an image")
			case onNode && (isObject || len(args) == 2) && !kube.HasKubeconfig():
				return fmt.Errorf("%s is an object of a cluster: name the cluster with --kubeconfig, or name an image", text)
			case onNode && !isObject && len(args) == 1:
				return explainOnNode(cmd, f, text)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), explainTimeout)
			defer cancel()
			server, namespace, err := f.cluster.server(f.namespace)
			if err != nil {
				return err
			}
			defer server.Close()
			if !isObject {
				if target, isObject, err = workstation.FindTarget(ctx, server, text); err != nil {
					return err
				}
			}
			switch {
			case isObject:
				return explainObject(ctx, cmd.OutOrStdout(), f, server, namespace, target)
			case len(args) == 2:
				return fmt.Errorf("%q is not a kind with a pod template: name an object as pod/NAME, deploy/NAME or KIND.GROUP/NAME", args[0])
			}
			return explainImage(ctx, cmd.OutOrStdout(), f, server, namespace, text)
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&f.namespace, "namespace", "n", "", "`namespace` of the pod; default: the context's, or default")
	fs.StringVar(&f.socket, "socket", f.socket, "the plugin's `socket`, on a node")
	fs.StringVar(&f.reportNamespace, "report-namespace", "", "`namespace` in which nodes report; default: it is found")
	f.cluster = newClusterFlags(cmd, p.kubectl)
	f.judge.add(fs)
	f.out.add(cmd)
	return cmd
}

func explainOnNode(cmd *cobra.Command, f explainFlags, image string) error {
	q := plugin.Question{Namespace: cmp.Or(f.namespace, "default"), Image: image, RuntimeHandler: f.judge.handler}
	var e plugin.Explanation
	if err := askPlugin(cmd.Context(), f.socket, http.MethodPost, "/v1/explain", q, &e); err != nil {
		return err
	}
	a := answer{Namespace: e.Namespace, Image: e.Image, Admitted: e.Admitted, Message: e.Message, Basis: e.Basis, Verdict: e.Verdict}
	if err := f.out.print(cmd.OutOrStdout(), a, a.table); err != nil {
		return err
	}
	return a.err()
}

// explanation is the answer for an object.
type explanation struct {
	workstation.Subject
	Images []imageExplanation `json:"images"`
	// Enforcement is how a pod's node enforces.
	Enforcement *workstation.Node `json:"enforcement,omitempty"`
	Notes       []string          `json:"notes,omitempty"`
}

type imageExplanation struct {
	// Place is "container app", say; State what the node says of it.
	Place string `json:"place"`
	State string `json:"state,omitempty"`
	answer
}

func explainImage(ctx context.Context, out io.Writer, f explainFlags, server *kube.Server, namespace, image string) error {
	policies, err := namespacePolicies(ctx, server, namespace)
	if err != nil {
		return err
	}
	// Who may not read nodes gets the answer for this machine's platform, and is told which.
	platforms, _ := workstation.Platforms(ctx, server, "")
	a, err := judgeImage(ctx, f.judge, grounds{policies: policies.Document, platforms: platforms, server: server}, namespace, image)
	if err != nil {
		return err
	}
	a.Notes = append(policyNotes(policies), a.Notes...)
	if err := f.out.print(out, a, a.table); err != nil {
		return err
	}
	return a.err()
}

func explainObject(ctx context.Context, out io.Writer, f explainFlags, server *kube.Server, namespace string, target workstation.Target) error {
	policies, err := namespacePolicies(ctx, server, namespace)
	if err != nil {
		return err
	}
	var e explanation
	if e.Subject, err = workstation.ReadSubject(ctx, server, namespace, target); err != nil {
		return err
	}
	platforms, _ := workstation.Platforms(ctx, server, e.Node)
	j, err := newJudge(f.judge, grounds{policies: policies.Document, platforms: platforms, server: server})
	if err != nil {
		return err
	}
	defer j.Close()
	e.Notes = append(policyNotes(policies), e.Untold...)
	if e.Node != "" {
		node, err := workstation.ReadNode(ctx, server, f.reportNamespace, e.Node, time.Now())
		if err == nil {
			e.Enforcement = &node
		} else {
			e.Notes = append(e.Notes, "how its node enforces is unknown: "+err.Error())
		}
	}
	var answers []answer
	known := map[string]answer{}
	for _, image := range e.Subject.Images {
		a, ok := known[image.Image]
		if !ok {
			a = j.answer(ctx, namespace, image.Image)
			known[image.Image] = a
		}
		answers = append(answers, a)
		e.Images = append(e.Images, imageExplanation{image.Place, image.State, a})
	}
	if err := f.out.print(out, e, func(w io.Writer) { e.table(w, time.Now()) }); err != nil {
		return err
	}
	return worst(answers)
}

func (e explanation) table(w io.Writer, now time.Time) {
	fmt.Fprintf(w, "%s\t%s/%s\n", e.Kind, e.Namespace, e.Name)
	if n := e.Enforcement; n != nil {
		fmt.Fprintf(w, "NODE\t%s: %s%s\n", clean(n.Name), n.Mode, gapCodes(n.Gaps))
	} else if e.Node != "" {
		fmt.Fprintf(w, "NODE\t%s\n", clean(e.Node))
	}
	notes(w, e.Notes)
	for _, image := range e.Images {
		fmt.Fprintf(w, "\nPLACE\t%s\n", clean(image.Place))
		if image.State != "" {
			fmt.Fprintf(w, "STATE\t%s\n", clean(image.State))
		}
		image.table(w)
	}
	if len(e.Held) > 0 {
		fmt.Fprint(w, "\nPOD\tNODE\tPLACE\tSTATE\n")
		for _, h := range e.Held {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", clean(h.Pod), clean(cmp.Or(h.Node, "-")), clean(h.Place), clean(h.State))
		}
	}
	if len(e.Said) > 0 {
		fmt.Fprint(w, "\nWHEN\tTIMES\tWHAT\tTEXT\n")
		for _, s := range e.Said {
			when := "now"
			if !s.At.IsZero() {
				when = age(s.At, now)
			}
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", when, max(s.Count, 1), clean(s.What), clean(s.Text))
		}
	}
}
