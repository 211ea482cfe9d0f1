package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kritis-node/kritis-node/policyagent/attestations/acr"
	"github.com/kritis-node/kritis-node/verifier"
)

// probed is what probe acr saw.
type probed struct {
	Instance string          `json:"instance"`
	Region   string          `json:"region"`
	Resource string          `json:"resource"`
	Answer   json.RawMessage `json:"answer"`
}

func newProbeCommand(p program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "probe",
		Short: "show what an experimental source answers, for those who can tell what it should",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("say what to probe: probe acr REFERENCE")
		},
	}
	var out outputFlag
	var cloud cloudFlags
	var note, instance, region string
	of := &cobra.Command{
		Use:   "acr REFERENCE",
		Short: "show what Alibaba Cloud Container Registry has as attestations of an image",
		Long: `Ask ACR for the attestations of an image and print the answer as it came, without secrets and account numbers.

The action that is asked (ListMetadataOccurrences) is not documented: what this prints, of a real account, tells whether we
read it right.`,
		Example: p.lines("probe acr --alicloud-config alicloud.yaml acme-registry.cn-hangzhou.cr.aliyuncs.com/team/app@sha256:…"),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			var hosts []acr.Host
			if instance != "" || region != "" {
				host, _, _ := strings.Cut(args[0], "/")
				hosts = []acr.Host{{Host: host, Instance: instance, Region: region}}
			}
			r, err := probeACR(cmd.Context(), cloud, hosts, note, args[0])
			if err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), r, r.table)
		},
	}
	f := of.Flags()
	f.StringVar(&note, "note", "", "ask about one `note` only, such as namespaces/WITNESS; default: all")
	f.StringVar(&instance, "instance", "", "`name` of the instance, if the image's host is a custom domain")
	f.StringVar(&region, "region", "", "`region` of that instance")
	cloud.add(f)
	out.add(of)
	cmd.AddCommand(of)
	return cmd
}

func probeACR(ctx context.Context, cloud cloudFlags, hosts []acr.Host, note, image string) (probed, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ref, err := verifier.ParseReference(image)
	if err == nil && ref.Digest == "" {
		err = errors.New("attestations are of digests: name it as REPOSITORY@sha256:…")
	}
	if err != nil {
		return probed{}, fmt.Errorf("image %s: %w", image, err)
	}
	client, err := cloud.client()
	if err != nil {
		return probed{}, err
	}
	defer client.Close()
	r, err := acr.Probe(ctx, client, hosts, note, ref.Repository, ref.Digest)
	if err != nil {
		return probed{}, err
	}
	return probed{Instance: r.Instance.Name, Region: r.Instance.Region, Resource: r.Resource, Answer: r.Raw}, nil
}

func (r probed) table(w io.Writer) {
	fmt.Fprintf(w, "INSTANCE\t%s\nREGION\t%s\nRESOURCE\t%s\nANSWER\t(experimental: see docs/ack-unverified.md)\n%s\n", clean(r.Instance), clean(r.Region), clean(r.Resource), printable(r.Answer))
}

// printable leaves out of foreign JSON what a terminal would obey.
func printable(raw []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, strings.ToValidUTF8(string(raw), ""))
}
