package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/kritis-node/kritis-node/policyagent/impact"
	"github.com/kritis-node/kritis-node/policyagent/kube"
	"github.com/kritis-node/kritis-node/policyagent/policydir"
	"github.com/kritis-node/kritis-node/verifier"
)

// maxParallel is how many images may be looked at at once: registries serve others, too.
const maxParallel = 16

type reportFlags struct {
	out                 outputFlag
	judge               judgeFlags
	logins              loginFlags
	cluster             *clusterFlags
	namespace, selector string
	all, ended          bool
	policyDir           string
	policyFiles         []string
	everywhere          bool
	ignoreCluster       bool
	parallel            int
	timeout             time.Duration
}

func newReportCommand(p program) *cobra.Command {
	var f reportFlags
	cmd := &cobra.Command{
		Use:   "report [-n NAMESPACE]",
		Short: "say what would happen to the images that run in a cluster if enforcement were switched on",
		Long: `Read what the pods of a cluster run, and say of each image what would become of it if it were started anew under enforcement:
whether it is attested, by which authority, under which policy; and what would be denied, and why. Dry run is taken for off.
Nothing is written to the cluster.

Policies are the cluster's. With --policy or --policy-dir, objects are tried as if they had been applied; with --everywhere
they are tried in all namespaces that have no policy, too. Without a policy nothing is denied in a namespace.

With -o yaml, what is printed is the AdmissionAllowlist objects that would let the denied images run, for kubectl apply. Read
them first: each entry is an image that runs without attestation.

Exit codes: 0 all would be allowed, 1 something would be denied, 2 could not tell or misuse.`,
		Example: p.lines("report", "report -n prod --policy new-policy.yaml", "report --policy team.yaml --everywhere --ignore-cluster-policies", "report -o yaml > allow.yaml"),
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fs := cmd.Flags()
	fs.StringVarP(&f.namespace, "namespace", "n", "", "report on this `namespace` only")
	fs.BoolVarP(&f.all, "all-namespaces", "A", false, "report on all namespaces; so it is without -n")
	fs.StringVarP(&f.selector, "selector", "l", "", "report on pods with these `labels`, as app=web,tier!=test")
	fs.BoolVar(&f.ended, "include-ended", false, "take in pods that have succeeded or failed")
	fs.StringArrayVar(&f.policyFiles, "policy", nil, "try the objects of this `file`; - is standard input; may be repeated")
	fs.StringVar(&f.policyDir, "policy-dir", "", "try the objects of this `folder`")
	fs.BoolVar(&f.everywhere, "everywhere", false, "try the policies of --policy and --policy-dir in all namespaces without a policy, too")
	fs.BoolVar(&f.ignoreCluster, "ignore-cluster-policies", false, "try the objects of --policy and --policy-dir in place of the cluster's")
	fs.IntVar(&f.parallel, "parallel", 4, fmt.Sprintf("how many images are looked at at once, at most %d", maxParallel))
	fs.DurationVar(&f.timeout, "timeout", 10*time.Minute, "what is not known after this time is \"could not tell\"")
	f.cluster = newClusterFlags(cmd, p.kubectl)
	f.judge.addForPods(fs)
	f.logins.add(fs)
	f.out.add(cmd)
	fs.Lookup("output").Usage = "table, json, or yaml: allow-lists for kubectl apply"
	return cmd
}

func (f *reportFlags) check() error {
	tried := f.policyDir != "" || len(f.policyFiles) > 0
	switch {
	case f.out.format != formatObject && f.out.check() != nil:
		return fmt.Errorf("--output is %q, must be table, json or yaml", f.out.format)
	case f.all && f.namespace != "":
		return errors.New("-A and -n contradict each other: leave one out")
	case f.everywhere && !tried:
		return errors.New("--everywhere needs policies to try: name some with --policy or --policy-dir")
	case f.ignoreCluster && !tried:
		return errors.New("--ignore-cluster-policies needs others: name some with --policy or --policy-dir")
	case f.parallel < 1 || f.parallel > maxParallel:
		return fmt.Errorf("--parallel is %d, must be 1 to %d", f.parallel, maxParallel)
	case f.timeout <= 0:
		return fmt.Errorf("--timeout is %s, must be more than nothing", f.timeout)
	}
	return nil
}

func (f *reportFlags) run(cmd *cobra.Command) error {
	if err := f.check(); err != nil {
		return err
	}
	tried, err := f.tried(cmd.InOrStdin())
	if err != nil {
		return err
	}
	account, err := f.logins.open()
	if err != nil {
		return err
	}
	defer account.Close()
	server, _, err := f.cluster.server(f.namespace)
	if err != nil {
		return err
	}
	defer server.Close()
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), f.timeout, errors.New("no time was left: give more with --timeout, or report on less with -n"))
	defer cancel()
	progress := newProgress(cmd.ErrOrStderr(), time.Now())
	defer progress.end()
	r, err := f.report(ctx, server, account, tried, progress)
	if err == nil && cmd.Context().Err() != nil {
		err = errors.New("interrupted")
	}
	if err != nil {
		return err
	}
	progress.end()
	if f.out.format == formatObject {
		text, err := impact.YAML(r.Allowlists, r.Images)
		if err != nil {
			return err
		}
		if _, err := cmd.OutOrStdout().Write(text); err != nil {
			return err
		}
	} else if err := f.out.print(cmd.OutOrStdout(), r, r.table); err != nil {
		return err
	}
	switch {
	case r.Outcomes.Denied > 0:
		return errDenied
	case r.Outcomes.CouldNotTell > 0:
		return errUntold
	}
	return nil
}

// tried are the objects to try.
func (f *reportFlags) tried(in io.Reader) (verifier.Document, error) {
	var all verifier.Document
	if f.policyDir != "" {
		document, err := policydir.Load(f.policyDir)
		if err != nil {
			return all, err
		}
		all = document
	}
	for _, name := range f.policyFiles {
		c, err := readPolicyFile(name, in)
		if err != nil {
			return all, err
		}
		all = impact.Applied(all, c)
	}
	return all, nil
}

func readPolicyFile(name string, in io.Reader) (verifier.Document, error) {
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return verifier.Document{}, fmt.Errorf("reading policies: %w", err)
		}
		defer file.Close()
		in = file
	}
	const most = 16 << 20
	data, err := io.ReadAll(io.LimitReader(in, most))
	if err != nil {
		return verifier.Document{}, fmt.Errorf("reading policies: %w", err)
	}
	c, err := policydir.Parse(name, data)
	return c.Document, err
}

// report makes the report.
func (f *reportFlags) report(ctx context.Context, server *kube.Server, account *account, tried verifier.Document, progress *progress) (report, error) {
	var read kube.Read
	var err error
	if f.namespace != "" {
		read, err = namespacePolicies(ctx, server, f.namespace)
	} else {
		read, err = kube.ReadPolicies(ctx, server, "")
	}
	if err != nil {
		return report{}, err
	}
	inventory, err := impact.ReadRunning(ctx, server, impact.Scope{Namespace: f.namespace, Selector: f.selector, Ended: f.ended, Platform: f.judge.platform},
		func(pods int) { progress.say("%d pods read", pods) })
	if err != nil {
		return report{}, err
	}
	cluster := read.Document
	if f.ignoreCluster {
		read.Document, read.Problems, read.Missing = verifier.Document{}, nil, nil
	}
	read.Document = impact.Enforced(impact.Applied(read.Document, tried))
	if f.everywhere {
		spread, err := impact.Spread(impact.Enforced(tried), impact.Without(read.Document, inventory.Running))
		if err != nil {
			return report{}, err
		}
		read.Document = impact.Applied(read.Document, spread)
	}
	judges, done, err := f.judges(grounds{policies: read.Document, server: server, account: account})
	defer done()
	if err != nil {
		return report{}, err
	}
	now := time.Now()
	images, err := impact.Assess(ctx, inventory.Running, judges, now, func(n int) {
		progress.say("%d of %d images judged", n, len(inventory.Running))
	})
	if err != nil {
		return report{}, err
	}
	lists := impact.Allow(images, read.Document, judges[0].Rules.Floor, cluster, now)
	r := newReport(images, read.Document, lists, inventory)
	r.Notes = append(policyNotes(read), r.Notes...)
	return r, nil
}

// judges returns as many as images are looked at at once, and what closes them.
func (f *reportFlags) judges(g grounds) ([]*impact.Judge, func(), error) {
	var own []*judge
	done := func() {
		for _, j := range own {
			j.Close()
		}
	}
	var all []*impact.Judge
	for range f.parallel {
		j, err := newJudge(f.judge, g)
		if err != nil {
			return nil, done, err
		}
		own = append(own, j)
		all = append(all, &impact.Judge{Rules: j.rules, Resolver: j.registry, Sources: j.sources, Told: func() []string {
			told := j.told
			j.told = nil
			return told
		}})
	}
	return all, done, nil
}
