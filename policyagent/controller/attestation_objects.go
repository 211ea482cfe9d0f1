package controller

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kritis-node/kritis-node/policyagent/api/v1beta1"
	"github.com/kritis-node/kritis-node/verifier"
)

// How long a source is not asked again about the same repository and digest: at first, and at most after answers that were
// no better. What is not attested yet may be so in seconds, and a source that fails may be repaired. What is attested may
// get another attestation; those who need that say so, and wait for v1beta1.LookInterval only.
const (
	firstPause                       = v1beta1.LookInterval
	longestIfFailed, longestIfNone   = 20 * time.Second, time.Minute
	firstPauseFound, longestIfFound  = 10 * time.Minute, time.Hour
	pauseNotCovered, maxPlausibleGap = 5 * time.Minute, 2 * time.Hour
)

// pause returns for how long an answer holds, given the one before it.
func pause(last *v1beta1.RepositoryAnswer, a v1beta1.RepositoryAnswer) time.Duration {
	if a.State == v1beta1.AnswerNotCovered {
		return pauseNotCovered
	}
	first, longest := firstPause, longestIfNone
	switch {
	case a.State == v1beta1.AnswerFailed:
		longest = longestIfFailed
	case a.Statements > 0:
		first, longest = firstPauseFound, longestIfFound
	}
	if last == nil || last.State != a.State || last.Statements != a.Statements {
		return first
	}
	return min(max(2*last.NextAt.Sub(last.ObservedAt.Time), first), longest)
}

// holds says whether an answer is not to be asked for again yet. One from the future is from a clock that was wrong.
func holds(a v1beta1.RepositoryAnswer, now time.Time, insufficient bool) bool {
	if age := now.Sub(a.ObservedAt.Time); insufficient && (age < 0 || age >= v1beta1.LookInterval) {
		return false
	}
	return now.Before(a.NextAt.Time) && a.NextAt.Sub(now) <= maxPlausibleGap
}

// keep writes what was found for a repository into the object, in the place of what was found before; beside it if the
// answer is not complete. It returns how many were found that it takes, and
// which it does not as refused.
func (f *fetching) keep(ctx context.Context, o *v1beta1.Attestation, repository string, found []verifier.Attestation, incomplete bool) (kept int, refused, err error) {
	manager := v1beta1.FetcherFor(repository)
	earlier := owned(o.ManagedFields, manager)
	if len(found) == 0 && (incomplete || len(earlier) == 0) {
		return 0, nil, nil
	}
	statements := []v1beta1.Statement{}
	add := func(s v1beta1.Statement) {
		if slices.ContainsFunc(statements, func(other v1beta1.Statement) bool { return other.ID == s.ID }) {
			return
		}
		if len(statements) == v1beta1.MaxStatements {
			refused = fmt.Errorf("there are more than %d attestations: remove old ones", v1beta1.MaxStatements)
			return
		}
		statements = append(statements, s)
	}
	for _, a := range found {
		s, err := v1beta1.StatementOf(a)
		if err != nil {
			refused = fmt.Errorf("an attestation (%s): %w", cmp.Or(a.Source, "of an unknown place"), err)
			continue
		}
		add(s)
	}
	kept = len(statements)
	if incomplete {
		for _, s := range o.Spec.Statements {
			if slices.Contains(earlier, s.ID) {
				add(s)
			}
		}
	}
	patch, err := json.Marshal(map[string]any{
		"apiVersion": v1beta1.APIVersion, "kind": v1beta1.KindAttestation,
		"metadata": map[string]any{"name": o.Name, "uid": o.UID}, // an object by that name that is another one was not asked for
		"spec":     map[string]any{"statements": statements},
	})
	if err != nil {
		return 0, nil, fmt.Errorf("encoding Attestation %s: %w", o.Name, err)
	}
	target := newObject(v1beta1.KindAttestation)
	target.SetName(o.Name)
	err = f.client.Patch(ctx, target, client.RawPatch(types.ApplyPatchType, patch), client.FieldOwner(manager), client.ForceOwnership)
	switch {
	case apierrors.IsInvalid(err), apierrors.IsRequestEntityTooLargeError(err):
		return 0, errors.Join(refused, fmt.Errorf("the object cannot take the attestations beside those of others: remove old ones: %w", err)), nil
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		f.log.DebugContext(ctx, "an Attestation went before it was answered", "name", o.Name, "error", err)
		return 0, refused, nil
	case err != nil:
		return 0, nil, fmt.Errorf("writing Attestation %s: %w", o.Name, err)
	}
	return kept, refused, nil
}

// owned returns the IDs of the statements that a field manager applied.
func owned(fields []metav1.ManagedFieldsEntry, manager string) []string {
	var ids []string
	for _, e := range fields {
		if e.Manager == manager && e.Subresource == "" {
			ids = append(ids, statementIDs(e)...)
		}
	}
	return ids
}

// statementIDs returns the IDs of the statements in one entry.
// https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
func statementIDs(e metav1.ManagedFieldsEntry) []string {
	var tree struct {
		Spec struct {
			Statements map[string]json.RawMessage `json:"f:statements"`
		} `json:"f:spec"`
	}
	if e.FieldsV1 == nil || json.Unmarshal(e.FieldsV1.GetRawBytes(), &tree) != nil {
		return nil
	}
	var ids []string
	for k := range tree.Spec.Statements {
		var key struct {
			ID string `json:"id"`
		}
		if text, ok := strings.CutPrefix(k, "k:"); ok && json.Unmarshal([]byte(text), &key) == nil {
			ids = append(ids, key.ID)
		}
	}
	return ids
}

// foreign says whether an object has statements that somebody else wrote: those cannot be had again.
func foreign(fields []metav1.ManagedFieldsEntry) bool {
	return slices.ContainsFunc(fields, func(e metav1.ManagedFieldsEntry) bool {
		return !v1beta1.IsProductManager(e.Manager) && len(statementIDs(e)) > 0
	})
}

// expire takes back questions that nobody has asked for long, and deletes an object of which nothing else is left.
func (f *fetching) expire(ctx context.Context, o *v1beta1.Attestation) (reconcile.Result, error) {
	if o.Labels[v1beta1.LabelAsked] != v1beta1.LabelAskedValue {
		return reconcile.Result{}, nil // nobody ever asked
	}
	now := time.Now()
	var old []string
	for _, w := range o.Spec.Wanted {
		asked := w.AskedAt.Time
		if a := answerOf(o, w.Repository); a != nil && (asked.After(now.Add(time.Hour)) || asked.Before(a.ObservedAt.Time)) {
			asked = a.ObservedAt.Time // whoever asked has a clock that is wrong
		}
		if now.Sub(asked) > keptFor {
			old = append(old, w.Repository)
		}
	}
	if len(o.Spec.Wanted) > 0 && len(old) == 0 {
		return reconcile.Result{RequeueAfter: lookAgain}, nil
	}
	// What is true now, and by whom it was written.
	o, err := f.read(ctx, f.live, o.Name)
	if err != nil || o == nil {
		return reconcile.Result{}, err
	}
	if len(old) == len(o.Spec.Wanted) && !foreign(o.ManagedFields) {
		target := newObject(v1beta1.KindAttestation)
		target.SetName(o.Name)
		// Not if somebody asks meanwhile.
		err := f.client.Delete(ctx, target, client.Preconditions{UID: &o.UID, ResourceVersion: &o.ResourceVersion})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return reconcile.Result{}, fmt.Errorf("deleting Attestation %s: %w", o.Name, err)
		}
		f.log.InfoContext(ctx, "an Attestation that nobody asks for is deleted", "name", o.Name)
		return reconcile.Result{RequeueAfter: lookAgain}, nil
	}
	for _, repository := range old {
		if err := f.forget(ctx, o, repository); err != nil {
			return reconcile.Result{}, err
		}
	}
	return reconcile.Result{RequeueAfter: lookAgain}, nil
}

// forget takes a question back, and what was found for it.
func (f *fetching) forget(ctx context.Context, o *v1beta1.Attestation, repository string) error {
	for _, manager := range []string{v1beta1.AskerFor(repository), v1beta1.FetcherFor(repository)} {
		if !slices.ContainsFunc(o.ManagedFields, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == manager }) {
			continue
		}
		patch, err := json.Marshal(map[string]any{
			"apiVersion": v1beta1.APIVersion, "kind": v1beta1.KindAttestation,
			"metadata": map[string]any{"name": o.Name, "uid": o.UID},
		})
		if err != nil {
			return fmt.Errorf("encoding Attestation %s: %w", o.Name, err)
		}
		target := newObject(v1beta1.KindAttestation)
		target.SetName(o.Name)
		err = f.client.Patch(ctx, target, client.RawPatch(types.ApplyPatchType, patch), client.FieldOwner(manager), client.ForceOwnership)
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("taking a question about %s back from Attestation %s: %w", repository, o.Name, err)
		}
	}
	return nil
}
