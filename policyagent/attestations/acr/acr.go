package acr

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kritis-node/kritis-node/policyagent/alicloud"
	"github.com/kritis-node/kritis-node/policyagent/attestations"
	"github.com/kritis-node/kritis-node/policyagent/attestations/statement"
	"github.com/kritis-node/kritis-node/verifier"
)

// maxNotes is how many notes are asked about one image: each is a call.
const maxNotes = 32

// notePrefix begins the notes that Security Center and ACR make; authorities may have others, which are not theirs.
const notePrefix = "namespaces/"

// Cloud is what the source needs of Alibaba Cloud. *alicloud.Client is one.
type Cloud interface {
	Instances(ctx context.Context, region string) ([]alicloud.Instance, error)
	Occurrences(ctx context.Context, instance alicloud.Instance, note, resourceURI string) ([]alicloud.Occurrence, error)
}

// Config says how attestations are looked for. Cloud and Notes are required.
type Config struct {
	Cloud Cloud
	// Hosts are those of custom domains.
	Hosts []Host
	// Notes returns the notes of the authorities that there are; of none: all attestations of an image are asked for.
	Notes func(context.Context) ([]string, error)
}

// Source finds attestations in ACR. It may be used concurrently.
type Source struct {
	cloud     Cloud
	notes     func(context.Context) ([]string, error)
	hosts     hosts
	instances *instances
}

var _ attestations.Source = (*Source)(nil)

// New returns a source, or everything that is wrong with its hosts.
func New(c Config) (*Source, error) {
	if c.Cloud == nil || c.Notes == nil {
		return nil, errors.New("attestations of ACR need a client of Alibaba Cloud and the notes of authorities")
	}
	h, err := newHosts(c.Hosts)
	if err != nil {
		return nil, err
	}
	return &Source{cloud: c.Cloud, notes: c.Notes, hosts: h, instances: newInstances(c.Cloud.Instances)}, nil
}

// Name returns "acr (experimental)".
func (s *Source) Name() string { return "acr (experimental)" }

// Covers says whether the repository is of an ACR Enterprise instance, by its host.
func (s *Source) Covers(repository string) bool {
	_, ok := s.hosts.place(repository)
	return ok
}

// Attestations returns what ACR has for the repository as it is named. Of hosts that are not ACR's there are none.
func (s *Source) Attestations(ctx context.Context, repository string, d verifier.Digest) ([]verifier.Attestation, error) {
	where, ok := s.hosts.place(repository)
	if !ok {
		return nil, nil
	}
	instance, err := s.instances.find(ctx, where)
	if err != nil {
		return nil, err
	}
	notes, err := s.wanted(ctx)
	if err != nil {
		return nil, err
	}
	var list attestations.List
	var failed []error
	for _, note := range notes {
		if failed = append(failed, s.ask(ctx, instance, note, repository, d, &list)); ctx.Err() != nil {
			break
		}
	}
	return list.Items(), oneLine(failed)
}

// wanted returns the notes to ask about; one that is empty asks about all.
func (s *Source) wanted(ctx context.Context) ([]string, error) {
	all, err := s.notes(ctx)
	if err != nil {
		return nil, fmt.Errorf("the notes of authorities are not known: %w", err)
	}
	var notes []string
	for _, n := range all {
		if strings.HasPrefix(n, notePrefix) && !slices.Contains(notes, n) {
			notes = append(notes, n)
		}
	}
	if len(notes) == 0 || len(notes) > maxNotes {
		return []string{""}, nil // one call for all is less than a call for each
	}
	return notes, nil
}

// ask adds the attestations of one note to the list.
func (s *Source) ask(ctx context.Context, instance alicloud.Instance, note, repository string, d verifier.Digest, list *attestations.List) error {
	found, err := s.cloud.Occurrences(ctx, instance, note, resourceURI(repository, d))
	if err != nil {
		err = fmt.Errorf("instance %s%s: %w", instance.Name, ofNote(note), err)
	}
	for _, o := range found {
		if o.ResourceURI != "" && !strings.HasSuffix(o.ResourceURI, "@"+string(d)) {
			continue // a server that does not filter must not fill the list with other images'
		}
		a := verifier.Attestation{Format: statement.Format(o.Payload), Payload: o.Payload, Source: "acr " + instance.Name + ofNote(o.NoteName)}
		for _, signature := range o.Signatures {
			a.Signatures = append(a.Signatures, verifier.Signature{KeyID: signature.KeyID, Value: signature.Value})
		}
		if limit := list.Add(a); limit != nil {
			return oneLine([]error{err, limit})
		}
	}
	return err
}

// resourceURI is how ACR calls an image.
func resourceURI(repository string, d verifier.Digest) string {
	return "https://" + repository + "@" + string(d)
}

func ofNote(note string) string {
	if note == "" {
		return ""
	}
	return ", note " + note
}

func oneLine(errs []error) error {
	var texts []string
	for _, err := range errs {
		if err != nil {
			texts = append(texts, strings.Join(strings.Fields(err.Error()), " "))
		}
	}
	if texts == nil {
		return nil
	}
	return errors.New(strings.Join(texts, "; "))
}
